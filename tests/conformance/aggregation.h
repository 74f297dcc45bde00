// One aggregation as plain host data, and a second implementation of every aggregator to compare with, bit
// for bit. Contributions come as a Scenario's workers (scenario.h).
//
//   Aggregated a = AggregateOn(*backend, &executor, s, {"krum", {{"f", 1}}}), b = ReferenceAggregate(s, ...);
#pragma once

#include <map>
#include <string>
#include <vector>

#include "kernels/aggregator_info.h"
#include "tests/conformance/scenario.h"

namespace stepback::kernels::testing {

struct AggregatorCase {
  std::string name;
  std::map<std::string, double> named = {};  // the others have their defaults

  const AggregatorInfo& info() const { return *FindAggregator(name); }
  std::vector<double> hypers() const;
};

struct Aggregated {
  Status status = Status::kOk;
  Floats sum;  // arena layout; elements that the aggregation does not write are 0
  std::vector<double> shares;
};

Aggregated AggregateOn(Backend& backend, Executor* executor, const Scenario& s,
                       const AggregatorCase& aggregator);
Aggregated ReferenceAggregate(const Scenario& s, const AggregatorCase& aggregator);

// A round of `workers` contributions to some tensors. `whole`: every worker has every tensor.
Scenario RandomRound(std::mt19937& random, size_t workers, bool whole);
// One trained tensor, f32, weight 1.
Scenario RoundOf(const std::vector<Floats>& contributions);

}  // namespace stepback::kernels::testing
