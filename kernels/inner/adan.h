// Adan with proximal or decoupled weight decay, as the authors' code (sail-sg/Adan). Its betas are one minus
// the paper's.
#pragma once

#include <cmath>

#include "kernels/rule.h"

namespace stepback::kernels {

struct Adan {
  static constexpr std::string_view kName = "adan";
  static constexpr std::string_view kCitation = "Xie et al. 2022, algorithm 1";
  static constexpr std::array<SlotInfo, 4> kSlots = {{
      {"exp_avg", 0.0f, true},
      {"exp_avg_diff", 0.0f, true},
      {"exp_avg_sq", 0.0f, false},
      {"previous_gradient", 0.0f, false},
  }};
  static constexpr std::array<HyperInfo, 7> kHypers = {{
      {"lr", 1e-3, 0, kFloatMax, "learning rate"},
      {"beta1", 0.98, 0, 1, "decay of the first moment", false, true},
      {"beta2", 0.92, 0, 1, "decay of the moment of gradient differences, and their weight", false, true},
      {"beta3", 0.99, 0, 1, "decay of the second moment", false, true},
      {"eps", 1e-8, 0, kFloatMax, "added to the root of the second moment"},
      {"weight_decay", 0, 0, kFloatMax, "the weights are divided by 1 + lr x weight_decay after the step"},
      {"no_prox", 0, 0, 1, "1: they are multiplied by 1 - lr x weight_decay before it", false, false, true},
  }};
  static constexpr int kCarry = 3;  // beta1^t, beta2^t, beta3^t
  using Values = HyperValues<Adan>;

  struct Scalars {
    float neg_step_size;       // -lr / (1 - beta1^t)
    float neg_diff_step_size;  // -lr beta2 / (1 - beta2^t)
    float inverse_root;        // 1 / sqrt(1 - beta3^t)
    float has_previous;        // 0 on the first step, where the difference is zero
    float beta1_rest;
    float beta2, beta2_rest;
    float beta3, beta3_rest;
    float eps;
    float keep;     // no_prox: 1 - lr * lambda
    float divisor;  // prox: 1 + lr * lambda
  };

  static Scalars Prepare(Values h, int64_t step, double* carry) {
    carry[0] *= h["beta1"];
    carry[1] *= h["beta2"];
    carry[2] *= h["beta3"];
    const double decay = h["lr"] * h["weight_decay"];
    const bool prox = h["no_prox"] == 0;
    return {float(-h["lr"] / (1 - carry[0])),
            float(-h["lr"] * h["beta2"] / (1 - carry[1])),
            float(1 / std::sqrt(1 - carry[2])),
            float(step > 1 ? 1 : 0),
            float(1 - h["beta1"]),
            float(h["beta2"]),
            float(1 - h["beta2"]),
            float(h["beta3"]),
            float(1 - h["beta3"]),
            float(h["eps"]),
            float(prox ? 1 : 1 - decay),
            float(prox ? 1 + decay : 1)};
  }

  // d = g - g_previous; m = lerp(m, g, 1 - beta1); v = lerp(v, d, 1 - beta2);
  // n = beta3 n + (1 - beta3) (g + beta2 d)^2; w -= lr (m / (1 - beta1^t) + beta2 v / (1 - beta2^t))
  // / (sqrt(n) / sqrt(1 - beta3^t) + eps), with the decay before or after
  PS_HD static void Step(const Scalars& s, float g, float& w, float& m, float& v, float& n, float& previous) {
    const float d = s.has_previous * (g - previous);
    m = Lerp(m, g, s.beta1_rest);
    v = Lerp(v, d, s.beta2_rest);
    const float ahead = Fma(s.beta2, d, g);
    n = Fma(s.beta3_rest, ahead * ahead, s.beta3 * n);
    const float step = Fma(s.neg_diff_step_size, v, s.neg_step_size * m);
    w = Fma(s.keep, w, step / Fma(Sqrt(n), s.inverse_root, s.eps)) / s.divisor;
    previous = g;
  }
};

}  // namespace stepback::kernels
