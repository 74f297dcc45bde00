// Lion: the sign of an interpolated moment, with decoupled weight decay.
#pragma once

#include "kernels/rule.h"

namespace stepback::kernels {

struct Lion {
  static constexpr std::string_view kName = "lion";
  static constexpr std::string_view kCitation = "Chen et al. 2023, algorithm 2";
  static constexpr std::array<SlotInfo, 1> kSlots = {{{"exp_avg", 0.0f, true}}};
  static constexpr std::array<HyperInfo, 4> kHypers = {{
      {"lr", 1e-4, 0, kFloatMax, "learning rate: the length of every step"},
      {"beta1", 0.9, 0, 1, "share of the moment in the direction", false, true},
      {"beta2", 0.99, 0, 1, "decay of the moment", false, true},
      {"weight_decay", 0, 0, kFloatMax, "decoupled: the weights shrink by lr x weight_decay first"},
  }};
  using Values = HyperValues<Lion>;

  struct Scalars {
    float neg_lr, beta1, beta1_rest, beta2, beta2_rest, keep;
  };
  static Scalars Prepare(Values h, int64_t /*step*/, double* /*carry*/) {
    return {float(-h["lr"]),   float(h["beta1"]),     float(1 - h["beta1"]),
            float(h["beta2"]), float(1 - h["beta2"]), float(1 - h["lr"] * h["weight_decay"])};
  }

  // w *= 1 - lr lambda; w -= lr sign(beta1 m + (1 - beta1) g), sign(0) = 0; m = beta2 m + (1 - beta2) g.
  // Every operation commutes with a scaling by a power of two, so the weights do not change a bit under one.
  PS_HD static void Step(const Scalars& s, float g, float& w, float& m) {
    const float direction = Fma(s.beta1, m, s.beta1_rest * g);
    const float sign = (direction > 0.0f ? 1.0f : 0.0f) - (direction < 0.0f ? 1.0f : 0.0f);
    w = Fma(s.neg_lr, sign, s.keep * w);
    m = Fma(s.beta2, m, s.beta2_rest * g);
  }
};

}  // namespace stepback::kernels
