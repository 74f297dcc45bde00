// NAdam with the momentum schedule and coupled or decoupled weight decay, as torch.optim.NAdam of 2.x. (Its
// single-tensor path of 1.12 and 1.13 multiplied mu_t in twice; that is not followed.)
#pragma once

#include <cmath>

#include "kernels/power.h"
#include "kernels/rule.h"

namespace stepback::kernels {

struct NAdam {
  static constexpr std::string_view kName = "nadam";
  static constexpr std::string_view kCitation = "torch.optim.NAdam; Dozat 2016, algorithm 8";
  static constexpr std::array<SlotInfo, 2> kSlots = {{
      {"exp_avg", 0.0f, true},
      {"exp_avg_sq", 0.0f, false},
  }};
  static constexpr std::array<HyperInfo, 7> kHypers = {{
      {"lr", 2e-3, 0, kFloatMax, "learning rate"},
      {"beta1", 0.9, 0, 1, "decay of the first moment", false, true},
      {"beta2", 0.999, 0, 1, "decay of the second moment", false, true},
      {"eps", 1e-8, 0, kFloatMax, "added to the root of the second moment"},
      {"weight_decay", 0, 0, kFloatMax, "L2 penalty, or the decoupled decay"},
      {"momentum_decay", 4e-3, 0, kFloatMax, "psi: mu_t = beta1 (1 - 0.96^(t psi) / 2)"},
      {"decoupled_weight_decay", 0, 0, 1, "1: the weights shrink by lr x weight_decay instead", false, false,
       true},
  }};
  static constexpr int kCarry = 2;  // the product of mu_1..mu_t, beta2^t
  using Values = HyperValues<NAdam>;

  struct Scalars {
    float neg_gradient_rate;  // -lr (1 - mu_t) / (1 - mu_1..mu_t)
    float neg_moment_rate;    // -lr mu_t+1 / (1 - mu_1..mu_t+1)
    float inverse_root;       // 1 / sqrt(1 - beta2^t)
    float beta1_rest;
    float beta2, beta2_rest;
    float eps;
    float l2;    // coupled decay: joins the gradient
    float keep;  // decoupled decay: 1 - lr * lambda
  };
  static constexpr int kCurvatureSlot = 1;  // v, without its bias
  PS_HD static float CurvatureScale(const Scalars& s) { return s.inverse_root * s.inverse_root; }

  static double Momentum(Values h, double t) {
    return h["beta1"] * (1 - 0.5 * Power(0.96, t * h["momentum_decay"]));
  }

  static Scalars Prepare(Values h, int64_t step, double* carry) {
    const double now = Momentum(h, double(step)), next = Momentum(h, double(step) + 1);
    carry[0] *= now;
    carry[1] *= h["beta2"];
    const bool decoupled = h["decoupled_weight_decay"] != 0;
    return {float(-h["lr"] * (1 - now) / (1 - carry[0])),
            float(-h["lr"] * next / (1 - carry[0] * next)),
            float(1 / std::sqrt(1 - carry[1])),
            float(1 - h["beta1"]),
            float(h["beta2"]),
            float(1 - h["beta2"]),
            float(h["eps"]),
            float(decoupled ? 0 : h["weight_decay"]),
            float(decoupled ? 1 - h["lr"] * h["weight_decay"] : 1)};
  }

  // g += lambda w | w *= 1 - lr lambda; m = lerp(m, g, 1 - beta1); v = beta2 v + (1 - beta2) g^2;
  // w -= lr [(1 - mu_t) / (1 - P_t) g + mu_t+1 / (1 - P_t+1) m] / (sqrt(v / (1 - beta2^t)) + eps)
  PS_HD static void Step(const Scalars& s, float g, float& w, float& m, float& v) {
    g = Fma(s.l2, w, g);
    m = Lerp(m, g, s.beta1_rest);
    v = Fma(s.beta2_rest, g * g, s.beta2 * v);
    const float ahead = Fma(s.neg_moment_rate, m, s.neg_gradient_rate * g);
    w = Fma(s.keep, w, ahead / Fma(Sqrt(v), s.inverse_root, s.eps));
  }
};

}  // namespace stepback::kernels
