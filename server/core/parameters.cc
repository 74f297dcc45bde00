#include "server/core/parameters.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "server/base/status_macros.h"
#include "server/core/field_error.h"
#include "server/core/nearest_name.h"

namespace stepback {
namespace {

absl::Status CheckNames(std::span<const ParameterInfo> parameters, const std::map<std::string, double>& given,
                        const std::string& owner, const std::string& field) {
  std::vector<std::string_view> names;
  for (const ParameterInfo& parameter : parameters) names.push_back(parameter.name);
  for (const auto& [name, value] : given) {
    if (std::find(names.begin(), names.end(), name) != names.end()) continue;
    const std::string hint =
        names.empty() ? "it has none" : fmt::format("did you mean '{}'?", NearestName(name, names));
    return FieldError(field + ".values." + name, fmt::format("is no parameter of {}; {}", owner, hint));
  }
  return absl::OkStatus();
}

bool InBounds(const ParameterInfo& parameter, double value) {
  const bool above = parameter.min_open ? value > parameter.min : value >= parameter.min;
  return above && value <= parameter.max && (!parameter.integer || value == std::floor(value));
}

absl::StatusOr<double> ValueOf(const ParameterInfo& parameter, const std::map<std::string, double>& given,
                               const std::string& owner, const std::string& field) {
  const std::string path = field + ".values." + std::string(parameter.name);
  const auto value = given.find(std::string(parameter.name));
  if (value == given.end()) {
    if (parameter.required) return FieldError(path, fmt::format("is missing; {} needs it", owner));
    return parameter.default_value;
  }
  if (InBounds(parameter, value->second)) return value->second;
  return FieldError(path, fmt::format("is {}, expected {} in {}{}, {}]", value->second,
                                      parameter.integer ? "an integer" : "a number",
                                      parameter.min_open ? '(' : '[', parameter.min, parameter.max));
}

}  // namespace

absl::StatusOr<std::vector<double>> ReadParameters(std::span<const ParameterInfo> parameters,
                                                   const std::map<std::string, double>& given,
                                                   const std::string& owner, const std::string& field) {
  RETURN_IF_ERROR(CheckNames(parameters, given, owner, field));
  std::vector<double> values;
  for (const ParameterInfo& parameter : parameters) {
    ASSIGN_OR_RETURN(const double value, ValueOf(parameter, given, owner, field));
    values.push_back(value);
  }
  return values;
}

}  // namespace stepback
