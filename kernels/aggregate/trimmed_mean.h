// Per element the mean without the b = floor(beta n) lowest and the b highest values.
#pragma once

#include "kernels/aggregate/aggregator.h"

namespace stepback::kernels {

struct TrimmedMean {
  static constexpr std::string_view kName = "trimmed_mean";
  static constexpr std::string_view kCitation =
      "Yin et al. 2018 (Byzantine-robust distributed learning), definition 2";
  static constexpr std::array<HyperInfo, 1> kHypers = {{
      {"beta", 0.2, 0, 0.5, "share dropped at each side: floor(beta n) of n values", false, true},
  }};
  using Values = HyperValues<TrimmedMean>;

  // beta < 1/2 leaves something, also where the product rounds up.
  static Ranks Keep(Values h, size_t count) {
    const auto share = static_cast<size_t>(h["beta"] * static_cast<double>(count));
    const size_t dropped = std::min(share, (count - 1) / 2);
    return {dropped, count - 2 * dropped};
  }
};

}  // namespace stepback::kernels
