// Blockwise model-update filtering with classical block momentum: s = eta s + zeta delta; phi -= s.
#pragma once

#include "kernels/rule.h"

namespace stepback::kernels {

struct BmufCbm {
  static constexpr std::string_view kName = "bmuf_cbm";
  static constexpr std::string_view kCitation = "Chen and Huo 2016 (BMUF, classical block momentum)";
  static constexpr std::array<SlotInfo, 1> kSlots = {{{"smoothed", 0.0f, true}}};
  static constexpr std::array<HyperInfo, 2> kHypers = {{
      {"lr", 1, 0, kFloatMax, "block learning rate zeta: share of the mean delta that enters"},
      {"momentum", 0.875, 0, 1, "block momentum eta; 0 keeps no state", false, true},
  }};
  using Values = HyperValues<BmufCbm>;

  struct Scalars {
    float lr, momentum;
  };
  static uint32_t UsedSlots(Values h) { return h["momentum"] != 0 ? 1 : 0; }
  static Scalars Prepare(Values h, int64_t /*step*/, double* /*carry*/) {
    return {float(h["lr"]), float(h["momentum"])};
  }

  PS_HD static void Step(const Scalars& s, float delta, float& w, float& smoothed) {
    smoothed = Fma(s.momentum, smoothed, s.lr * delta);
    w = w - smoothed;
  }
};

}  // namespace stepback::kernels
