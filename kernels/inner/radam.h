// RAdam with coupled or decoupled weight decay, as torch.optim.RAdam (rectified where rho_t > 5; eps beside
// the raw root, not the bias-corrected one).
#pragma once

#include <cmath>

#include "kernels/rule.h"

namespace stepback::kernels {

struct RAdam {
  static constexpr std::string_view kName = "radam";
  static constexpr std::string_view kCitation = "torch.optim.RAdam; Liu et al. 2020, algorithm 2";
  static constexpr std::array<SlotInfo, 2> kSlots = {{
      {"exp_avg", 0.0f, true},
      {"exp_avg_sq", 0.0f, false},
  }};
  static constexpr std::array<HyperInfo, 6> kHypers = {{
      {"lr", 1e-3, 0, kFloatMax, "learning rate"},
      {"beta1", 0.9, 0, 1, "decay of the first moment", false, true},
      {"beta2", 0.999, 0, 1, "decay of the second moment", false, true},
      {"eps", 1e-8, 0, kFloatMax, "added to the root of the second moment"},
      {"weight_decay", 0, 0, kFloatMax, "L2 penalty, or the decoupled decay"},
      {"decoupled_weight_decay", 0, 0, 1, "1: the weights shrink by lr x weight_decay instead", false, false,
       true},
  }};
  static constexpr int kCarry = 2;  // beta1^t, beta2^t
  using Values = HyperValues<RAdam>;

  struct Scalars {
    float neg_step_size;  // -lr / (1 - beta1^t)
    float rectified;      // 1: divide by the root, 0: not yet
    float rate;           // r_t sqrt(1 - beta2^t)
    float beta1_rest;
    float beta2, beta2_rest;
    float eps;
    float l2;    // coupled decay: joins the gradient
    float keep;  // decoupled decay: 1 - lr * lambda
  };

  // r_t of the approximated moving average's length `rho`, 0 while that is 5 or less.
  static double Rectification(double rho, double rho_inf) {
    if (!(rho > 5)) return 0;
    return std::sqrt((rho - 4) * (rho - 2) * rho_inf / ((rho_inf - 4) * (rho_inf - 2) * rho));
  }

  static Scalars Prepare(Values h, int64_t step, double* carry) {
    carry[0] *= h["beta1"];
    carry[1] *= h["beta2"];
    const double rho_inf = 2 / (1 - h["beta2"]) - 1;
    const double rho = rho_inf - 2 * double(step) * carry[1] / (1 - carry[1]);
    const double rectification = Rectification(rho, rho_inf);
    const bool decoupled = h["decoupled_weight_decay"] != 0;
    return {float(-h["lr"] / (1 - carry[0])),
            float(rectification > 0 ? 1 : 0),
            float(rectification * std::sqrt(1 - carry[1])),
            float(1 - h["beta1"]),
            float(h["beta2"]),
            float(1 - h["beta2"]),
            float(h["eps"]),
            float(decoupled ? 0 : h["weight_decay"]),
            float(decoupled ? 1 - h["lr"] * h["weight_decay"] : 1)};
  }

  // g += lambda w | w *= 1 - lr lambda; m = lerp(m, g, 1 - beta1); v = beta2 v + (1 - beta2) g^2;
  // w -= lr m / (1 - beta1^t) (rho_t > 5 ? r_t sqrt(1 - beta2^t) / (sqrt(v) + eps) : 1)
  PS_HD static void Step(const Scalars& s, float g, float& w, float& m, float& v) {
    g = Fma(s.l2, w, g);
    m = Lerp(m, g, s.beta1_rest);
    v = Fma(s.beta2_rest, g * g, s.beta2 * v);
    const float adaptive = s.rate / (Sqrt(v) + s.eps);
    w = Fma(s.neg_step_size, m * (s.rectified != 0.0f ? adaptive : 1.0f), s.keep * w);
  }
};

}  // namespace stepback::kernels
