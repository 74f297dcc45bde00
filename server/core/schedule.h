// Rates that change with the step, in closed form (never by recursion, which would gather rounding): the
// value of step t is the base value x factor(t), t counted from 0 for the first update. Schedules are data,
// like rules. Pure.
//
// Every schedule may begin with a linear warm-up of `warmup` updates, (t + 1) / warmup; with warmup_start = 1
// it is t / warmup, so that the first update moves nothing (optax). The schedule's own t counts from its end,
// except where its words say otherwise.
//
//   ASSIGN_OR_RETURN(const Schedule cosine, Schedule::Make(spec, "spec.outer.schedules.lr"));
//   lr = 0.7 * cosine.FactorAt(outer_steps);
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "server/core/schedule_info.h"
#include "server/core/spec.h"

namespace stepback {

// By name, ascending.
std::span<const ScheduleInfo> Schedules();
// Parameters that every schedule has besides its own: "warmup", "warmup_start".
std::span<const ParameterInfo> WarmupParameters();

class Schedule {
 public:
  // INVALID_ARGUMENT on an unknown name or parameter, a missing one, or one out of bounds.
  static absl::StatusOr<Schedule> Make(const RuleSpec::Schedule& spec, const std::string& field);

  double FactorAt(uint64_t step) const;
  double LargestFactor() const;
  double SmallestFactor() const;

 private:
  const ScheduleInfo* info_ = nullptr;
  std::vector<double> values_;  // the schedule's own, then the warm-up's
  uint64_t warmup_ = 0;
  bool starts_at_zero_ = false;
};

}  // namespace stepback
