// Krum chooses n - 2 f contributions, one after another, each out of those that are left; then per element
// the mean of the n - 4 f chosen values that lie closest to their median. The last choices are among few, so up
// to f attackers may be chosen; the second step is what bounds them.
#pragma once

#include "kernels/aggregate/krum_score.h"

namespace stepback::kernels {

struct Bulyan {
  static constexpr std::string_view kName = "bulyan";
  static constexpr std::string_view kCitation =
      "El Mhamdi et al. 2018 (The hidden vulnerability of distributed learning in Byzantium), section 4";
  static constexpr std::array<HyperInfo, 1> kHypers = {{
      {"f", 1, 0, 63, "attackers tolerated; a round needs 4 f + 3 contributions", false, false, true},
  }};
  static constexpr AggregatorInput kInput = AggregatorInput::kDistances;
  using Values = HyperValues<Bulyan>;

  static uint64_t Least(Values h) { return 4 * static_cast<uint64_t>(h["f"]) + 3; }

  static void Choose(Values h, const Measures& measures, std::span<double> shares) {
    const auto f = static_cast<size_t>(h["f"]);
    std::vector<size_t> left = AllOf(measures);
    std::fill(shares.begin(), shares.end(), 0.0);
    for (size_t taken = 0; taken == 0 || taken + 2 * f < measures.count; ++taken) {
      const size_t best = ByKrumScore(measures, left, KrumNeighbours(left.size(), f)).front();
      shares[best] = 1;
      std::erase(left, best);
    }
  }

  // The values closest to the median are neighbours in order: whichever end is farther away goes, the upper
  // one when both are equally far.
  static float Combine(Values h, const float* sorted, size_t count) {
    const auto f = static_cast<size_t>(h["f"]);
    const double median = MedianOfSorted(sorted, count);
    size_t first = 0, last = count;
    for (size_t dropped = 0; dropped < 2 * f && last - first > 1; ++dropped) {
      const bool lower = median - double{sorted[first]} > double{sorted[last - 1]} - median;
      lower ? ++first : --last;
    }
    double sum = 0;
    for (size_t i = first; i < last; ++i) sum += double{sorted[i]};
    return static_cast<float>(sum / static_cast<double>(last - first));
  }
};

}  // namespace stepback::kernels
