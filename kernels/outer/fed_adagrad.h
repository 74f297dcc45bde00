// FedAdagrad: the second moment is the sum of all squared deltas, v += delta^2 from v_0 = tau^2.
#pragma once

#include "kernels/outer/fed_opt_step.h"

namespace stepback::kernels {

struct FedAdagrad : FedOptStep {
  static constexpr std::string_view kName = "fed_adagrad";
  static constexpr std::string_view kCitation = "Reddi et al. 2021, algorithm 2 (FedAdagrad)";
  static constexpr std::array<HyperInfo, 3> kHypers = {{
      {"lr", 0.1, 0, kFloatMax, "outer learning rate"},
      {"beta1", 0, 0, 1, "decay of the first moment; 0 keeps none", false, true},
      {"tau", 1e-3, 0, kFloatMax, "adaptivity: added to the root; the second moment starts at its square",
       true},
  }};
  using Values = HyperValues<FedAdagrad>;

  static uint32_t UsedSlots(Values h) { return FirstMomentSlot(h) | 0b10; }
  static Scalars Prepare(Values h, int64_t step, double* /*carry*/) {
    return FedOptStep::Prepare(h, /*beta2=*/1, h["lr"], step);
  }

  PS_HD static void Step(const Scalars& s, float delta, float& w, float& m, float& v) {
    v = Fma(delta, delta, v + s.second_start);
    Move(s, delta, w, m, v);
  }
};

}  // namespace stepback::kernels
