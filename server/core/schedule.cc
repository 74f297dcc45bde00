#include "server/core/schedule.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "server/base/status_macros.h"
#include "server/core/field_error.h"
#include "server/core/nearest_name.h"

namespace stepback {
namespace {

constexpr double kMaxSteps = 1e15;

constexpr ScheduleParameter kStep[] = {
    {.name = "step_size", .min = 1, .max = kMaxSteps, .integer = true, .required = true},
    {.name = "gamma", .default_value = 0.1, .min = 0, .max = 1},
};
constexpr ScheduleParameter kExponential[] = {{.name = "gamma", .min = 0, .max = 1, .required = true}};
constexpr ScheduleParameter kLinear[] = {
    {.name = "start_factor", .default_value = 1.0 / 3, .min = 0, .max = 1},
    {.name = "end_factor", .default_value = 1, .min = 0, .max = 1},
    {.name = "steps", .default_value = 5, .min = 1, .max = kMaxSteps, .integer = true},
};
constexpr ScheduleParameter kCosine[] = {
    {.name = "steps", .min = 1, .max = kMaxSteps, .integer = true, .required = true},
    {.name = "min_factor", .default_value = 0, .min = 0, .max = 1},
};

double One(const double*) { return 1; }
double Constant(const double*, uint64_t) { return 1; }
double Step(const double* v, uint64_t t) { return std::pow(v[1], std::floor(static_cast<double>(t) / v[0])); }
double Exponential(const double* v, uint64_t t) { return std::pow(v[0], static_cast<double>(t)); }
double Linear(const double* v, uint64_t t) {
  return v[0] + (v[1] - v[0]) * std::min(static_cast<double>(t), v[2]) / v[2];
}
double LinearLargest(const double* v) { return std::max(v[0], v[1]); }
// Stays at the minimum after `steps` (torch's own form rises again).
double Cosine(const double* v, uint64_t t) {
  const double share = std::min(static_cast<double>(t), v[0]) / v[0];
  return v[1] + (1 - v[1]) * (1 + std::cos(std::numbers::pi * share)) / 2;
}

constexpr ScheduleInfo kSchedules[] = {
    {"constant", "factor 1", {}, Constant, One},
    {"cosine", "from 1 to min_factor along half a cosine of `steps` steps, then min_factor", kCosine, Cosine,
     One},
    {"exponential", "gamma^t", kExponential, Exponential, One},
    {"linear", "from start_factor to end_factor in `steps` steps, then end_factor", kLinear, Linear,
     LinearLargest},
    {"step", "gamma^floor(t / step_size)", kStep, Step, One},
};

const ScheduleInfo* Find(std::string_view name) {
  for (const ScheduleInfo& info : kSchedules) {
    if (info.name == name) return &info;
  }
  return nullptr;
}

absl::Status Unknown(const std::string& field, const std::string& name) {
  std::vector<std::string_view> names;
  for (const ScheduleInfo& info : kSchedules) names.push_back(info.name);
  return FieldError(field + ".name", fmt::format("'{}' is no schedule; did you mean '{}'?", Clip(name, 64),
                                                 NearestName(name, names)));
}

absl::Status CheckNames(const ScheduleInfo& info, const RuleSpec::Schedule& spec, const std::string& field) {
  for (const auto& [name, value] : spec.values) {
    const auto has_name = [&name = name](const ScheduleParameter& p) { return p.name == name; };
    if (std::any_of(info.parameters.begin(), info.parameters.end(), has_name)) continue;
    return FieldError(field + ".values." + name, fmt::format("is no parameter of schedule '{}'", spec.name));
  }
  return absl::OkStatus();
}

absl::StatusOr<double> ValueOf(const ScheduleParameter& parameter, const RuleSpec::Schedule& spec,
                               const std::string& field) {
  const std::string path = field + ".values." + std::string(parameter.name);
  const auto given = spec.values.find(std::string(parameter.name));
  if (given == spec.values.end()) {
    if (parameter.required)
      return FieldError(path, fmt::format("is missing; schedule '{}' needs it", spec.name));
    return parameter.default_value;
  }
  const double value = given->second;
  if (!(value >= parameter.min && value <= parameter.max) ||
      (parameter.integer && value != std::floor(value))) {
    return FieldError(
        path, fmt::format("is {}, expected {} in [{}, {}]", value,
                          parameter.integer ? "an integer" : "a number", parameter.min, parameter.max));
  }
  return value;
}

}  // namespace

std::span<const ScheduleInfo> Schedules() { return kSchedules; }

absl::StatusOr<Schedule> Schedule::Make(const RuleSpec::Schedule& spec, const std::string& field) {
  Schedule schedule;
  schedule.info_ = Find(spec.name);
  if (schedule.info_ == nullptr) return Unknown(field, spec.name);
  RETURN_IF_ERROR(CheckNames(*schedule.info_, spec, field));
  for (const ScheduleParameter& parameter : schedule.info_->parameters) {
    ASSIGN_OR_RETURN(const double value, ValueOf(parameter, spec, field));
    schedule.values_.push_back(value);
  }
  return schedule;
}

}  // namespace stepback
