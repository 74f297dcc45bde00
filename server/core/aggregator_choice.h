// The aggregator of a model with its hyperparameters: the specification's names and numbers turned into the
// dense values that kernels read, checked against the aggregator's own table and against what rounds it can
// work in. Immutable; nothing here names an aggregator but "mean", which is none.
//
//   ASSIGN_OR_RETURN(AggregatorChoice aggregator, AggregatorChoice::Make(spec.rounds.aggregator));
//   if (aggregator.robust() && round.effective() < aggregator.least()) ...
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/aggregator_info.h"
#include "server/core/spec.h"

namespace stepback {

class AggregatorChoice {
 public:
  // INVALID_ARGUMENT naming field, value and bound, or the nearest known name.
  static absl::StatusOr<AggregatorChoice> Make(const RuleSpec& spec);

  const kernels::AggregatorInfo& info() const { return *info_; }
  kernels::HyperSpan hypers() const { return hypers_; }
  // More than the mean: contributions stay staged until the round closes.
  bool robust() const { return info_->robust(); }
  // Contributions that a round needs.
  uint64_t least() const { return info_->least(hypers_); }
  // "aggregator 'krum' with f = 1"
  std::string Describe() const;

 private:
  const kernels::AggregatorInfo* info_ = nullptr;
  std::vector<double> hypers_;
};

// Whether the rounds of a model suit its aggregator: one cohort of equally weighted, staged contributions
// that cannot be too few. INVALID_ARGUMENT naming field, value and bound.
absl::Status CheckAggregator(const RoundSpec& rounds);

// Whether the aggregator compares whole contributions, so that a push must hold every tensor.
bool ComparesContributions(const RoundSpec& rounds);

}  // namespace stepback
