// Conditions on a load run, for scripts: "p99<0.5s,errors==0,sent>=1e9". Pure.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "client/cli/load/load_result.h"

namespace stepback::cli {

struct Assertion {
  std::string text;        // as given
  std::string metric;      // p50, p90, p95, p99, p999, mean, max (seconds); errors, requests, resyncs; rate
                           // (requests/s); sent, received (payload bytes/s)
  std::string comparison;  // < <= > >= == !=
  double bound = 0;
};

absl::StatusOr<std::vector<Assertion>> ParseAssertions(const std::string& text);
double MetricOf(const LoadResult& result, const std::string& metric);
bool Holds(const Assertion& assertion, double actual);

}  // namespace stepback::cli
