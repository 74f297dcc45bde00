// Per element the middle value; of an even number the mean of the two middle ones.
#pragma once

#include "kernels/aggregate/aggregator.h"

namespace stepback::kernels {

struct CoordinateMedian {
  static constexpr std::string_view kName = "coordinate_median";
  static constexpr std::string_view kCitation =
      "Yin et al. 2018 (Byzantine-robust distributed learning), definition 1";
  static constexpr std::array<HyperInfo, 0> kHypers = {};
  using Values = HyperValues<CoordinateMedian>;

  static Ranks Keep(Values, size_t count) { return {(count - 1) / 2, 2 - count % 2}; }
};

}  // namespace stepback::kernels
