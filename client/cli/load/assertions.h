// Bounds on the figures of a load: "p99<0.5s", "errors==0", "throughput>=100".
#pragma once

#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace stepback::cli::load {

struct Assertion {
  std::string text, name, comparison;
  double bound = 0;
};

// Comma-separated; INVALID_ARGUMENT names the part that is wrong.
absl::StatusOr<std::vector<Assertion>> ParseAssertions(const std::vector<std::string>& texts);
// FAILED_PRECONDITION with every assertion that does not hold and the value seen.
absl::Status CheckAssertions(const std::vector<Assertion>& assertions,
                             const std::map<std::string, double>& figures);

}  // namespace stepback::cli::load
