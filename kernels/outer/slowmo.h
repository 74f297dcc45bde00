// SlowMo: momentum in units of the inner learning rate gamma, u = beta u + delta / gamma; phi -= alpha gamma
// u. While gamma is constant this is heavy ball at rate alpha; when it changes, the momentum keeps its
// direction and the step its scale.
#pragma once

#include "kernels/rule.h"

namespace stepback::kernels {

struct SlowMo {
  static constexpr std::string_view kName = "slowmo";
  static constexpr std::string_view kCitation = "Wang et al. 2020 (SlowMo), algorithm 1";
  static constexpr std::array<SlotInfo, 1> kSlots = {{{"slow_momentum", 0.0f, true}}};
  static constexpr std::array<HyperInfo, 3> kHypers = {{
      {"lr", 1, 0, kFloatMax, "slow learning rate alpha"},
      {"momentum", 0.5, 0, 1, "slow momentum beta; 0 keeps none", false, true},
      {"inner_lr", 1, 0, kFloatMax,
       "gamma, the workers' present learning rate; give it their schedule, counted in outer steps", true},
  }};
  using Values = HyperValues<SlowMo>;

  struct Scalars {
    float neg_rate, momentum, inverse_gamma;
  };
  static uint32_t UsedSlots(Values h) { return h["momentum"] != 0 ? 1 : 0; }
  static Scalars Prepare(Values h, int64_t /*step*/, double* /*carry*/) {
    return {float(-h["lr"] * h["inner_lr"]), float(h["momentum"]), float(1 / h["inner_lr"])};
  }

  PS_HD static void Step(const Scalars& s, float delta, float& w, float& u) {
    u = Fma(s.momentum, u, s.inverse_gamma * delta);
    w = Fma(s.neg_rate, u, w);
  }
};

}  // namespace stepback::kernels
