// The one contribution that lies closest to its n - f - 2 nearest neighbours.
#pragma once

#include "kernels/aggregate/krum_score.h"

namespace stepback::kernels {

struct Krum {
  static constexpr std::string_view kName = "krum";
  static constexpr std::string_view kCitation =
      "Blanchard et al. 2017 (Machine learning with adversaries), section 4";
  static constexpr std::array<HyperInfo, 1> kHypers = {{
      {"f", 1, 0, kAttackersMax, "attackers tolerated; a round needs 2 f + 3 contributions", false, false,
       true},
  }};
  static constexpr AggregatorInput kInput = AggregatorInput::kDistances;
  using Values = HyperValues<Krum>;

  static uint64_t Least(Values h) { return 2 * static_cast<uint64_t>(h["f"]) + 3; }
  static void Choose(Values h, const Measures& measures, std::span<double> shares) {
    const size_t neighbours = KrumNeighbours(measures.count, static_cast<size_t>(h["f"]));
    std::fill(shares.begin(), shares.end(), 0.0);
    shares[ByKrumScore(measures, AllOf(measures), neighbours).front()] = 1;
  }
};

}  // namespace stepback::kernels
