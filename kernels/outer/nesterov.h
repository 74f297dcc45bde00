// Outer step of DiLoCo: Nesterov momentum on the mean delta, b = mu b + delta; phi -= lr (delta + mu b).
#pragma once

#include "kernels/rule.h"

namespace stepback::kernels {

struct Nesterov {
  static constexpr std::string_view kName = "nesterov";
  static constexpr std::string_view kCitation =
      "Douillard et al. 2023 (DiLoCo), algorithm 1; Sutskever et al. 2013";
  static constexpr std::array<SlotInfo, 1> kSlots = {{{"velocity", 0.0f, true}}};
  static constexpr std::array<HyperInfo, 2> kHypers = {{
      {"lr", 0.7, 0, kFloatMax, "outer learning rate"},
      {"momentum", 0.9, 0, 1, "outer momentum; 0 keeps no velocity", false, true},
  }};
  using Values = HyperValues<Nesterov>;

  struct Scalars {
    float neg_lr, momentum;
  };
  static uint32_t UsedSlots(Values h) { return h["momentum"] != 0 ? 1 : 0; }
  static Scalars Prepare(Values h, int64_t /*step*/, double* /*carry*/) {
    return {float(-h["lr"]), float(h["momentum"])};
  }

  PS_HD static void Step(const Scalars& s, float delta, float& w, float& velocity) {
    velocity = Fma(s.momentum, velocity, delta);
    w = Fma(s.neg_lr, Fma(s.momentum, velocity, delta), w);
  }
};

}  // namespace stepback::kernels
