// FedYogi: FedAdam with a second moment that shrinks additively, v -= (1 - beta2) delta^2 sign(v - delta^2).
#pragma once

#include "kernels/outer/fed_opt_step.h"

namespace stepback::kernels {

struct FedYogi : FedOptStep {
  static constexpr std::string_view kName = "fed_yogi";
  static constexpr std::string_view kCitation =
      "Reddi et al. 2021, algorithm 2 (FedYogi); Zaheer et al. 2018";
  static constexpr std::array<HyperInfo, 4> kHypers = {{
      {"lr", 0.01, 0, kFloatMax, "outer learning rate"},
      {"beta1", 0.9, 0, 1, "decay of the first moment; 0 keeps none", false, true},
      {"beta2", 0.99, 0, 1, "1 - beta2 is the share of delta^2 that the second moment moves by", false, true},
      {"tau", 1e-3, 0, kFloatMax, "adaptivity: added to the root; the second moment starts at its square",
       true},
  }};
  using Values = HyperValues<FedYogi>;

  static uint32_t UsedSlots(Values h) { return FirstMomentSlot(h) | 0b10; }
  static Scalars Prepare(Values h, int64_t step, double* /*carry*/) {
    return FedOptStep::Prepare(h, h["beta2"], h["lr"], step);
  }

  // v > delta^2 when it shrinks, so it never falls below 0.
  PS_HD static void Step(const Scalars& s, float delta, float& w, float& m, float& v) {
    const float square = delta * delta, before = v + s.second_start;
    const float sign = float(before > square) - float(before < square);
    v = Fma(-s.beta2_rest * sign, square, before);
    Move(s, delta, w, m, v);
  }
};

}  // namespace stepback::kernels
