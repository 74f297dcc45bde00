// Generalised primal averaging around AdamW: trainers get y, evaluators the exponential average x. With
// mu_x = 0 it is adamw, bit for bit.
#pragma once

#include <cmath>

#include "kernels/inner/primal_averaging.h"

namespace stepback::kernels {

struct Gpa {
  static constexpr std::string_view kName = "gpa";
  static constexpr std::string_view kCitation =
      "Defazio et al. 2025 (Smoothing DiLoCo with Primal Averaging, arXiv 2512.17131), GPA-AdamW";
  static constexpr std::array<SlotInfo, 4> kSlots = {{
      {"x", 0.0f, false, true},
      {"z", 0.0f, false, true},
      {"exp_avg", 0.0f, true},
      {"exp_avg_sq", 0.0f, false},
  }};
  static constexpr int kEvalSlot = 0;
  static constexpr std::array<HyperInfo, 7> kHypers = {{
      {"lr", 1e-3, 0, kFloatMax, "learning rate of AdamW"},
      {"mu_x", 0.9967, 0, 1, "what the average x keeps of itself; 0.9^(1/H) smooths over H steps"},
      {"mu_y", 0.7, 0, 1, "where trainers stand: 0 at z, 1 at the average x"},
      {"beta1", 0.9, 0, 1, "decay of the first moment", false, true},
      {"beta2", 0.999, 0, 1, "decay of the second moment", false, true},
      {"eps", 1e-8, 0, kFloatMax, "added to the root of the second moment"},
      {"weight_decay", 0, 0, kFloatMax, "decoupled: z shrinks by lr x weight_decay first"},
  }};
  static constexpr int kCarry = 2;  // beta1^t, beta2^t
  using Values = HyperValues<Gpa>;

  struct Scalars {
    float neg_step_size;  // -lr / (1 - beta1^t)
    float inverse_root;   // 1 / sqrt(1 - beta2^t)
    float beta1_rest;
    float beta2, beta2_rest;
    float eps;
    float keep;   // 1 - lr * lambda
    float share;  // 1 - mu_x
    float mu_y;
  };
  static Scalars Prepare(Values h, int64_t /*step*/, double* carry) {
    carry[0] *= h["beta1"];
    carry[1] *= h["beta2"];
    return {float(-h["lr"] / (1 - carry[0])),
            float(1 / std::sqrt(1 - carry[1])),
            float(1 - h["beta1"]),
            float(h["beta2"]),
            float(1 - h["beta2"]),
            float(h["eps"]),
            float(1 - h["lr"] * h["weight_decay"]),
            float(1 - h["mu_x"]),
            float(h["mu_y"])};
  }

  // AdamW on z with the gradient at y; x = mu_x x + (1 - mu_x) z; y = mu_y x + (1 - mu_y) z
  PS_HD static void Step(const Scalars& s, float g, float& y, float& x, float& z, float& m, float& v) {
    m = Lerp(m, g, s.beta1_rest);
    v = Fma(s.beta2_rest, g * g, s.beta2 * v);
    const float root = Fma(Sqrt(v), s.inverse_root, s.eps);
    z = Fma(s.neg_step_size, m / root, s.keep * z);
    AveragePrimal(z, s.share, s.mu_y, x, y);
  }
};

}  // namespace stepback::kernels
