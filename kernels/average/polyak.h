// Polyak-Ruppert: the mean of the slow weights of every sync from a start on, x_N = x_{N-1} + (x - x_{N-1}) /
// N.
#pragma once

#include "kernels/average/mix.h"

namespace stepback::kernels {

struct Polyak {
  static constexpr std::string_view kName = "polyak";
  static constexpr std::string_view kCitation = "Polyak and Juditsky 1992, equation 2; Ruppert 1988";
  static constexpr std::array<SlotInfo, 0> kSlots = {};
  static constexpr std::array<HyperInfo, 1> kHypers = {{
      {"start", 1, 1, 1e15, "first sync whose slow weights are sampled", false, false, true},
  }};
  using Values = HyperValues<Polyak>;

  static bool Samples(Values h, int64_t sync) { return double(sync) >= h["start"]; }

  using Scalars = Share;
  static Scalars Prepare(Values /*h*/, int64_t sample, double* /*carry*/) {
    return {float(1.0 / double(sample))};
  }

  PS_HD static void Step(const Scalars& s, float x, float& average) { MixIn(s, x, average); }
};

}  // namespace stepback::kernels
