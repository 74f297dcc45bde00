// Named numbers of things that are data (schedules, staleness weights): a table of names with bounds, and a
// specification's map read against it. Pure.
#pragma once

#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace stepback {

struct ParameterInfo {
  std::string_view name;
  double default_value = 0;  // when not `required`
  double min = 0;
  double max = 0;
  bool integer = false;
  bool required = false;
  bool min_open = false;  // `min` itself is out of bounds
};

// The values in the order of `parameters`, defaults filled in. INVALID_ARGUMENT on an unknown name, a missing
// value, or one out of bounds; `owner` ("schedule 'cosine'") and `field` ("spec.outer.schedules.lr") are for
// the message.
absl::StatusOr<std::vector<double>> ReadParameters(std::span<const ParameterInfo> parameters,
                                                   const std::map<std::string, double>& given,
                                                   const std::string& owner, const std::string& field);

}  // namespace stepback
