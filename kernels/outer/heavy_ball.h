// Heavy-ball momentum on the mean delta (FedAvgM): b = mu b + delta; phi -= lr b.
#pragma once

#include "kernels/rule.h"

namespace stepback::kernels {

struct HeavyBall {
  static constexpr std::string_view kName = "heavy_ball";
  static constexpr std::string_view kCitation = "Polyak 1964; Hsu et al. 2019 (FedAvgM)";
  static constexpr std::array<SlotInfo, 1> kSlots = {{{"velocity", 0.0f, true}}};
  static constexpr std::array<HyperInfo, 2> kHypers = {{
      {"lr", 1, 0, kFloatMax, "outer learning rate"},
      {"momentum", 0.9, 0, 1, "outer momentum; 0 keeps no velocity", false, true},
  }};
  using Values = HyperValues<HeavyBall>;

  struct Scalars {
    float neg_lr, momentum;
  };
  static uint32_t UsedSlots(Values h) { return h["momentum"] != 0 ? 1 : 0; }
  static Scalars Prepare(Values h, int64_t /*step*/, double* /*carry*/) {
    return {float(-h["lr"]), float(h["momentum"])};
  }

  PS_HD static void Step(const Scalars& s, float delta, float& w, float& velocity) {
    velocity = Fma(s.momentum, velocity, delta);
    w = Fma(s.neg_lr, velocity, w);
  }
};

}  // namespace stepback::kernels
