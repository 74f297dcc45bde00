// A rule with the hyperparameters of one model or group: the specification's names and numbers turned into
// the dense values that kernels read, checked against the rule's own table. Immutable; nothing here names a
// rule.
//
//   ASSIGN_OR_RETURN(RuleChoice rule, RuleChoice::Make(spec.outer, kernels::RuleKind::kOuter, 1,
//   "spec.outer")); const std::vector<double> hypers = rule.HypersAt(outer_steps);   // schedules and
//   lr_scale applied
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/rule_info.h"
#include "server/core/layout.h"
#include "server/core/schedule.h"
#include "server/core/spec.h"

namespace stepback {

inline constexpr std::string_view kNoRule = "none";

class RuleChoice {
 public:
  // INVALID_ARGUMENT naming field, value and bound (or the nearest known name). `lr_scale` multiplies "lr".
  static absl::StatusOr<RuleChoice> Make(const RuleSpec& spec, kernels::RuleKind kind, double lr_scale,
                                         const std::string& field);

  const kernels::RuleInfo& info() const { return *info_; }
  uint32_t used_slots() const { return info_->used_slots(hypers_); }
  // Values of step `step` (from 0), in the order of info().hypers.
  std::vector<double> HypersAt(uint64_t step) const;
  bool scheduled() const { return !schedules_.empty(); }

 private:
  struct ScheduledHyper {
    int hyper = 0;
    Schedule schedule;
  };

  absl::Status SetValues(const RuleSpec& spec, const std::string& field);
  absl::Status SetSchedules(const RuleSpec& spec, const std::string& field);
  absl::Status ScaleRate(double lr_scale, const std::string& field);
  absl::Status CheckBounds(int hyper, double value, const std::string& field) const;

  const kernels::RuleInfo* info_ = nullptr;
  std::vector<double> hypers_;
  std::vector<ScheduledHyper> schedules_;
};

// The rules of a model: which one each tensor's inner step uses, the outer one, and the averages.
struct RuleTable {
  // INVALID_ARGUMENT as RuleChoice::Make; also on groups that name an unknown, shared or not trained tensor,
  // and on trained tensors of a shape that their inner rule does not work on.
  static absl::StatusOr<RuleTable> Make(const ModelSpec& spec);

  std::vector<RuleChoice> inner;
  std::vector<int> inner_of;  // per tensor: index into `inner`, -1: none
  std::optional<RuleChoice> outer;
  std::vector<RuleChoice> averages;  // parallel to ModelSpec::averages
};

}  // namespace stepback
