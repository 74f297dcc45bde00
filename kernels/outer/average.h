// Average of the workers' weights: phi -= alpha x mean delta. alpha = 1 is FedAvg and local SGD.
#pragma once

#include "kernels/rule.h"

namespace stepback::kernels {

struct Average {
  static constexpr std::string_view kName = "average";
  static constexpr std::string_view kCitation = "McMahan et al. 2017, algorithm 1; Stich 2019, algorithm 1";
  static constexpr std::array<SlotInfo, 0> kSlots = {};
  static constexpr std::array<HyperInfo, 1> kHypers = {{
      {"alpha", 1, 0, 1, "share of the mean delta that is applied"},
  }};
  using Values = HyperValues<Average>;

  struct Scalars {
    float neg_alpha;
  };
  static Scalars Prepare(Values h, int64_t /*step*/, double* /*carry*/) { return {float(-h["alpha"])}; }

  PS_HD static void Step(const Scalars& s, float delta, float& w) { w = Fma(s.neg_alpha, delta, w); }
};

}  // namespace stepback::kernels
