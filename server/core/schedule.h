// Rates that change with the step, in closed form (never by recursion, which would gather rounding): the
// value of step t is the base value x factor(t), t counted from 0 for the first update. Schedules are data,
// like rules. Pure.
//
//   ASSIGN_OR_RETURN(const Schedule cosine, Schedule::Make(spec, "spec.outer.schedules.lr"));
//   lr = 0.7 * cosine.FactorAt(outer_steps);
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "server/core/spec.h"

namespace stepback {

struct ScheduleParameter {
  std::string_view name;
  double default_value = 0;  // when not `required`
  double min = 0;
  double max = 0;
  bool integer = false;
  bool required = false;
};

struct ScheduleInfo {
  std::string_view name;
  std::string_view doc;
  std::span<const ScheduleParameter> parameters;
  double (*factor)(const double* values, uint64_t step);
  double (*largest)(const double* values);  // the largest factor there is
};

std::span<const ScheduleInfo> Schedules();

class Schedule {
 public:
  // INVALID_ARGUMENT on an unknown name or parameter, a missing one, or one out of bounds.
  static absl::StatusOr<Schedule> Make(const RuleSpec::Schedule& spec, const std::string& field);

  double FactorAt(uint64_t step) const { return info_->factor(values_.data(), step); }
  double LargestFactor() const { return info_->largest(values_.data()); }

 private:
  const ScheduleInfo* info_ = nullptr;
  std::vector<double> values_;  // in the order of info_->parameters
};

}  // namespace stepback
