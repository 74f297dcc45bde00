// The mean of the m contributions with the lowest Krum scores.
#pragma once

#include "kernels/aggregate/krum_score.h"

namespace stepback::kernels {

struct MultiKrum {
  static constexpr std::string_view kName = "multi_krum";
  static constexpr std::string_view kCitation =
      "Blanchard et al. 2017 (Machine learning with adversaries), section 5 (m-Krum)";
  static constexpr std::array<HyperInfo, 2> kHypers = {{
      {"f", 1, 0, kAttackersMax, "attackers tolerated; a round needs 2 f + 3 contributions", false, false,
       true},
      {"m", 0, 0, double{kComparedContributionsMax},
       "contributions averaged; 0: n - f. A round needs m + f contributions", false, false, true},
  }};
  static constexpr AggregatorInput kInput = AggregatorInput::kDistances;
  using Values = HyperValues<MultiKrum>;

  static uint64_t Least(Values h) {
    const auto f = static_cast<uint64_t>(h["f"]), m = static_cast<uint64_t>(h["m"]);
    return std::max(2 * f + 3, m + f);
  }
  static void Choose(Values h, const Measures& measures, std::span<double> shares) {
    const auto f = static_cast<size_t>(h["f"]), m = static_cast<size_t>(h["m"]);
    const size_t honest = measures.count > f ? measures.count - f : 1;
    const size_t taken = std::min(m > 0 ? m : honest, measures.count);
    const auto order = ByKrumScore(measures, AllOf(measures), KrumNeighbours(measures.count, f));
    std::fill(shares.begin(), shares.end(), 0.0);
    for (size_t i = 0; i < taken; ++i) shares[order[i]] = 1;
  }
};

}  // namespace stepback::kernels
