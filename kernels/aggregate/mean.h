// The mean of all contributions: what a model has that names no aggregator. One attacker moves it anywhere.
#pragma once

#include "kernels/aggregate/aggregator.h"

namespace stepback::kernels {

struct Mean {
  static constexpr std::string_view kName = "mean";
  static constexpr std::string_view kCitation = "McMahan et al. 2017 (FedAvg), algorithm 1";
  static constexpr std::array<HyperInfo, 0> kHypers = {};
  using Values = HyperValues<Mean>;
};

}  // namespace stepback::kernels
