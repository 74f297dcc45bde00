// The mean of the contributions, each scaled down to the median norm of the round where its own is larger.
// Stops contributions that are too large, not those that point the wrong way.
#pragma once

#include <cmath>

#include "kernels/aggregate/aggregator.h"

namespace stepback::kernels {

struct MedianNormClip {
  static constexpr std::string_view kName = "median_norm_clip";
  static constexpr std::string_view kCitation =
      "Sun et al. 2019 (Can you really backdoor federated learning?), norm thresholding; threshold: the "
      "median norm";
  static constexpr std::array<HyperInfo, 0> kHypers = {};
  static constexpr AggregatorInput kInput = AggregatorInput::kNorms;
  using Values = HyperValues<MedianNormClip>;

  static void Choose(Values, const Measures& measures, std::span<double> shares) {
    std::vector<double> norms;
    for (const double square : measures.norms_sq) norms.push_back(std::sqrt(square));
    std::vector<double> sorted = norms;
    std::sort(sorted.begin(), sorted.end());
    const double median = MedianOfSorted(sorted.data(), sorted.size());
    for (size_t i = 0; i < norms.size(); ++i) shares[i] = norms[i] > median ? median / norms[i] : 1;
  }
};

}  // namespace stepback::kernels
