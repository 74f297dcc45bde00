// Stochastic weight averaging: the mean of the slow weights after every `period`-th sync from `start` on.
// Batch-normalisation statistics of the average are the client's to recompute.
#pragma once

#include "kernels/average/mix.h"

namespace stepback::kernels {

struct Swa {
  static constexpr std::string_view kName = "swa";
  static constexpr std::string_view kCitation = "Izmailov et al. 2018, algorithm 1";
  static constexpr std::array<SlotInfo, 0> kSlots = {};
  static constexpr std::array<HyperInfo, 2> kHypers = {{
      {"start", 1, 1, 1e15, "first sync whose slow weights are sampled", false, false, true},
      {"period", 1, 1, 1e15, "syncs from one sample to the next (the cycle length c)", false, false, true},
  }};
  using Values = HyperValues<Swa>;

  static bool Samples(Values h, int64_t sync) {
    const int64_t since = sync - int64_t(h["start"]);
    return since >= 0 && since % int64_t(h["period"]) == 0;
  }

  using Scalars = Share;
  static Scalars Prepare(Values /*h*/, int64_t sample, double* /*carry*/) {
    return {float(1.0 / double(sample))};
  }

  PS_HD static void Step(const Scalars& s, float x, float& average) { MixIn(s, x, average); }
};

}  // namespace stepback::kernels
