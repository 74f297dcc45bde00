#include "server/core/schedule.h"

#include <fmt/format.h>

#include <algorithm>

#include "server/base/status_macros.h"
#include "server/core/field_error.h"
#include "server/core/nearest_name.h"

namespace stepback {
namespace {

constexpr ParameterInfo kWarmup[] = {
    {.name = "warmup", .default_value = 0, .min = 0, .max = kMaxScheduleSteps, .integer = true},
    {.name = "warmup_start", .default_value = 0, .min = 0, .max = 1, .integer = true},
};

std::vector<ScheduleInfo> AllSchedules() {
  std::vector<ScheduleInfo> all;
  for (const auto& family : {DecaySchedules(), AnnealSchedules()})
    all.insert(all.end(), family.begin(), family.end());
  std::sort(all.begin(), all.end(),
            [](const ScheduleInfo& a, const ScheduleInfo& b) { return a.name < b.name; });
  return all;
}

const ScheduleInfo* FindSchedule(std::string_view name) {
  for (const ScheduleInfo& info : Schedules()) {
    if (info.name == name) return &info;
  }
  return nullptr;
}

absl::Status UnknownSchedule(const std::string& field, const std::string& name) {
  std::vector<std::string_view> names;
  for (const ScheduleInfo& info : Schedules()) names.push_back(info.name);
  return FieldError(field + ".name", fmt::format("'{}' is no schedule; did you mean '{}'?", Clip(name, 64),
                                                 NearestName(name, names)));
}

std::vector<ParameterInfo> ParametersOf(const ScheduleInfo& info) {
  std::vector<ParameterInfo> parameters(info.parameters.begin(), info.parameters.end());
  parameters.insert(parameters.end(), std::begin(kWarmup), std::end(kWarmup));
  return parameters;
}

}  // namespace

std::span<const ScheduleInfo> Schedules() {
  static const std::vector<ScheduleInfo> kAll = AllSchedules();
  return kAll;
}

std::span<const ParameterInfo> WarmupParameters() { return kWarmup; }

absl::StatusOr<Schedule> Schedule::Make(const RuleSpec::Schedule& spec, const std::string& field) {
  Schedule schedule;
  schedule.info_ = FindSchedule(spec.name);
  if (schedule.info_ == nullptr) return UnknownSchedule(field, spec.name);
  const ScheduleInfo& info = *schedule.info_;
  ASSIGN_OR_RETURN(schedule.values_, ReadParameters(ParametersOf(info), spec.values,
                                                    fmt::format("schedule '{}'", info.name), field));
  schedule.warmup_ = static_cast<uint64_t>(schedule.values_[info.parameters.size()]);
  schedule.starts_at_zero_ = schedule.values_[info.parameters.size() + 1] != 0;
  if (info.check == nullptr) return schedule;
  const std::string wrong = info.check(schedule.values_.data(), static_cast<double>(schedule.warmup_));
  if (!wrong.empty()) return FieldError(field + ".values", "(schedule '" + spec.name + "'): " + wrong);
  return schedule;
}

double Schedule::FactorAt(uint64_t step) const {
  if (step >= warmup_) return info_->factor(values_.data(), {.step = step, .warmup = warmup_});
  return (static_cast<double>(step) + (starts_at_zero_ ? 0 : 1)) / static_cast<double>(warmup_);
}

double Schedule::LargestFactor() const { return info_->largest(values_.data()); }

double Schedule::SmallestFactor() const {
  const double own = info_->smallest(values_.data());
  return warmup_ > 0 ? std::min(own, FactorAt(0)) : own;
}

}  // namespace stepback
