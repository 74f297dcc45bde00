// FedAdam: Adam on the mean delta, v = beta2 v + (1 - beta2) delta^2 from v_0 = tau^2.
#pragma once

#include "kernels/outer/fed_opt_step.h"

namespace stepback::kernels {

struct FedAdam : FedOptStep {
  static constexpr std::string_view kName = "fed_adam";
  static constexpr std::string_view kCitation = "Reddi et al. 2021, algorithm 2 (FedAdam)";
  static constexpr int kCarry = 2;  // beta1^t, beta2^t
  static constexpr std::array<HyperInfo, 5> kHypers = {{
      {"lr", 0.1, 0, kFloatMax, "outer learning rate"},
      {"beta1", 0.9, 0, 1, "decay of the first moment; 0 keeps none", false, true},
      {"beta2", 0.99, 0, 1, "decay of the second moment", false, true},
      {"tau", 1e-3, 0, kFloatMax, "adaptivity: added to the root; the second moment starts at its square",
       true},
      {"bias_correction", 0, 0, 1, "1: lr x sqrt(1 - beta2^t) / (1 - beta1^t), as Adam; the paper has 0",
       false, false, true},
  }};
  using Values = HyperValues<FedAdam>;

  static uint32_t UsedSlots(Values h) { return FirstMomentSlot(h) | 0b10; }
  static Scalars Prepare(Values h, int64_t step, double* carry) {
    carry[0] *= h["beta1"];
    carry[1] *= h["beta2"];
    const double correction = std::sqrt(1 - carry[1]) / (1 - carry[0]);
    return FedOptStep::Prepare(h, h["beta2"], h["bias_correction"] != 0 ? h["lr"] * correction : h["lr"],
                               step);
  }

  PS_HD static void Step(const Scalars& s, float delta, float& w, float& m, float& v) {
    v = Fma(s.beta2_rest, delta * delta, s.beta2 * (v + s.second_start));
    Move(s, delta, w, m, v);
  }
};

}  // namespace stepback::kernels
