#include "server/core/rule_choice.h"

#include <fmt/format.h>

#include <cmath>
#include <unordered_map>

#include "server/base/status_macros.h"
#include "server/core/field_error.h"
#include "server/core/nearest_name.h"

namespace stepback {
namespace {

using kernels::HyperInfo;
using kernels::RuleInfo;
using kernels::RuleKind;

std::span<const RuleInfo> RulesOf(RuleKind kind) {
  switch (kind) {
    case RuleKind::kInner:
      return kernels::InnerRules();
    case RuleKind::kOuter:
      return kernels::OuterRules();
    case RuleKind::kAverage:
      break;
  }
  return kernels::AverageRules();
}

std::string_view NameOf(RuleKind kind) {
  switch (kind) {
    case RuleKind::kInner:
      return "inner rule";
    case RuleKind::kOuter:
      return "outer rule";
    case RuleKind::kAverage:
      break;
  }
  return "average";
}

const RuleInfo* Find(RuleKind kind, std::string_view name) {
  for (const RuleInfo& rule : RulesOf(kind)) {
    if (rule.name == name) return &rule;
  }
  return nullptr;
}

absl::Status UnknownRule(RuleKind kind, const std::string& name, const std::string& field) {
  std::vector<std::string_view> names;
  for (const RuleInfo& rule : RulesOf(kind)) names.push_back(rule.name);
  if (kind != RuleKind::kAverage) names.push_back(kNoRule);
  return FieldError(field + ".name", fmt::format("'{}' is no {}; did you mean '{}'?", Clip(name, 64),
                                                 NameOf(kind), NearestName(name, names)));
}

absl::Status UnknownHyper(const RuleInfo& rule, const std::string& name, const std::string& field) {
  std::vector<std::string_view> names;
  for (const HyperInfo& hyper : rule.hypers) names.push_back(hyper.name);
  return FieldError(field, fmt::format("is no hyperparameter of rule '{}'; did you mean '{}'?", rule.name,
                                       NearestName(name, names)));
}

bool InBounds(const HyperInfo& hyper, double value) {
  const bool above = hyper.min_open ? value > hyper.min : value >= hyper.min;
  const bool below = hyper.max_open ? value < hyper.max : value <= hyper.max;
  return above && below && (!hyper.integer || value == std::floor(value));
}

// Rates may follow a schedule; flags, decays and epsilons may not.
bool MayBeScheduled(const std::string& name) { return name == "lr" || name == "alpha" || name == "inner_lr"; }

// Owner of each tensor: index of the group that names it.
absl::StatusOr<std::vector<int>> GroupOfTensors(const ModelSpec& spec) {
  std::unordered_map<std::string_view, size_t> tensors;
  for (size_t t = 0; t < spec.tensors.size(); ++t) tensors.emplace(spec.tensors[t].name, t);
  std::vector<int> group_of(spec.tensors.size(), -1);
  for (size_t g = 0; g < spec.groups.size(); ++g) {
    const std::string field = fmt::format("spec.groups[{}].tensors", g);
    for (const std::string& name : spec.groups[g].tensors) {
      const auto found = tensors.find(name);
      if (found == tensors.end())
        return FieldError(field, fmt::format("names '{}', which is no tensor", name));
      if (spec.tensors[found->second].role != Role::kTrained) {
        return FieldError(field, fmt::format("names '{}', which is not TRAINED", name));
      }
      int& group = group_of[found->second];
      if (group >= 0) {
        return FieldError(
            field, fmt::format("names '{}', which is in group '{}' already", name, spec.groups[group].name));
      }
      group = static_cast<int>(g);
    }
  }
  return group_of;
}

}  // namespace

absl::StatusOr<RuleChoice> RuleChoice::Make(const RuleSpec& spec, RuleKind kind, double lr_scale,
                                            const std::string& field) {
  RuleChoice choice;
  choice.info_ = Find(kind, spec.name);
  if (choice.info_ == nullptr) return UnknownRule(kind, spec.name, field);
  if (!spec.options.empty()) {
    return FieldError(fmt::format("{}.options.{}", field, spec.options.begin()->first),
                      fmt::format("is no option of rule '{}': it has none", spec.name));
  }
  RETURN_IF_ERROR(choice.SetValues(spec, field));
  RETURN_IF_ERROR(choice.ScaleRate(lr_scale, field));
  RETURN_IF_ERROR(choice.SetSchedules(spec, field));
  return choice;
}

absl::Status RuleChoice::SetValues(const RuleSpec& spec, const std::string& field) {
  for (const HyperInfo& hyper : info_->hypers) hypers_.push_back(hyper.default_value);
  for (const auto& [name, value] : spec.values) {
    const std::string path = fmt::format("{}.values.{}", field, name);
    const int index = kernels::HyperIndex(*info_, name);
    if (index < 0) return UnknownHyper(*info_, name, path);
    RETURN_IF_ERROR(CheckBounds(index, value, path));
    hypers_[index] = value;
  }
  char error[256] = "";
  if (info_->check == nullptr || info_->check(hypers_, error, sizeof error)) return absl::OkStatus();
  return FieldError(field, fmt::format("(rule '{}'): {}", info_->name, error));
}

absl::Status RuleChoice::ScaleRate(double lr_scale, const std::string& field) {
  if (lr_scale == 1) return absl::OkStatus();
  const int rate = kernels::HyperIndex(*info_, "lr");
  if (rate < 0)
    return FieldError(field, fmt::format("(rule '{}') has no lr that lr_scale could scale", info_->name));
  hypers_[rate] *= lr_scale;
  return CheckBounds(rate, hypers_[rate], field + ".values.lr times lr_scale");
}

absl::Status RuleChoice::SetSchedules(const RuleSpec& spec, const std::string& field) {
  for (const auto& [name, schedule_spec] : spec.schedules) {
    const std::string path = fmt::format("{}.schedules.{}", field, name);
    const int index = kernels::HyperIndex(*info_, name);
    if (index < 0) return UnknownHyper(*info_, name, path);
    if (!MayBeScheduled(name))
      return FieldError(path, "cannot follow a schedule; only lr, alpha and inner_lr can");
    ASSIGN_OR_RETURN(Schedule schedule, Schedule::Make(schedule_spec, path));
    RETURN_IF_ERROR(CheckBounds(index, hypers_[index] * schedule.LargestFactor(), path + " at its largest"));
    RETURN_IF_ERROR(
        CheckBounds(index, hypers_[index] * schedule.SmallestFactor(), path + " at its smallest"));
    schedules_.push_back({index, std::move(schedule)});
  }
  return absl::OkStatus();
}

absl::Status RuleChoice::CheckBounds(int hyper, double value, const std::string& field) const {
  const HyperInfo& info = info_->hypers[hyper];
  if (InBounds(info, value)) return absl::OkStatus();
  return FieldError(
      field, fmt::format("is {}, expected {} in {}{}, {}{}", value, info.integer ? "an integer" : "a number",
                         info.min_open ? '(' : '[', info.min, info.max, info.max_open ? ')' : ']'));
}

std::vector<double> RuleChoice::HypersAt(uint64_t step) const {
  std::vector<double> hypers = hypers_;
  for (const ScheduledHyper& scheduled : schedules_)
    hypers[scheduled.hyper] *= scheduled.schedule.FactorAt(step);
  return hypers;
}

namespace {

// Whether the field says "none"; with hyperparameters that would be a mistake.
absl::StatusOr<bool> IsNone(const RuleSpec& rule, const std::string& field) {
  if (rule.name != kNoRule) return false;
  if (rule.values.empty() && rule.options.empty() && rule.schedules.empty()) return true;
  return FieldError(field, "is 'none' and yet has hyperparameters");
}

// Adds the inner rule to the table; its index, or -1 for "none".
absl::StatusOr<int> AddInner(const RuleSpec& rule, double lr_scale, const std::string& field,
                             RuleTable* table) {
  ASSIGN_OR_RETURN(const bool none, IsNone(rule, field));
  if (none) return -1;
  ASSIGN_OR_RETURN(RuleChoice choice, RuleChoice::Make(rule, RuleKind::kInner, lr_scale, field));
  table->inner.push_back(std::move(choice));
  return static_cast<int>(table->inner.size()) - 1;
}

// Rules that work on matrices refuse other tensors in words of their own.
absl::Status CheckShape(const ModelSpec& spec, size_t tensor, const RuleTable& table) {
  const int choice = table.inner_of[tensor];
  if (choice < 0) return absl::OkStatus();
  const RuleInfo& rule = table.inner[choice].info();
  const TensorSpec& of = spec.tensors[tensor];
  char error[256] = "";
  if (rule.applies == nullptr || rule.applies(of.shape, error, sizeof error)) return absl::OkStatus();
  return FieldError(fmt::format("spec.tensors[{}]", tensor),
                    fmt::format("'{}' has shape [{}], but its inner rule '{}' {}", of.name,
                                fmt::join(of.shape, ", "), rule.name, error));
}

absl::Status ChooseInner(const ModelSpec& spec, const std::vector<int>& group_of, RuleTable* table) {
  ASSIGN_OR_RETURN(const int own, AddInner(spec.inner, 1, "spec.inner", table));
  std::vector<int> of_group;
  for (const GroupSpec& group : spec.groups) {
    const std::string field = fmt::format("spec.groups[{}].inner", of_group.size());
    ASSIGN_OR_RETURN(const int index,
                     AddInner(group.inner.value_or(spec.inner), group.lr_scale, field, table));
    of_group.push_back(index);
  }
  for (size_t t = 0; t < spec.tensors.size(); ++t) {
    if (spec.tensors[t].role != Role::kTrained) continue;
    table->inner_of[t] = group_of[t] >= 0 ? of_group[group_of[t]] : own;
    RETURN_IF_ERROR(CheckShape(spec, t, *table));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<RuleTable> RuleTable::Make(const ModelSpec& spec) {
  RuleTable table;
  ASSIGN_OR_RETURN(const bool no_outer, IsNone(spec.outer, "spec.outer"));
  if (!no_outer) {
    ASSIGN_OR_RETURN(table.outer, RuleChoice::Make(spec.outer, RuleKind::kOuter, 1, "spec.outer"));
  }
  for (const AverageSpec& average : spec.averages) {
    const std::string field = fmt::format("spec.averages[{}].rule", table.averages.size());
    ASSIGN_OR_RETURN(RuleChoice choice, RuleChoice::Make(average.rule, RuleKind::kAverage, 1, field));
    table.averages.push_back(std::move(choice));
  }
  ASSIGN_OR_RETURN(const std::vector<int> group_of, GroupOfTensors(spec));
  table.inner_of.assign(spec.tensors.size(), -1);
  if (spec.mode == Mode::kGradient) RETURN_IF_ERROR(ChooseInner(spec, group_of, &table));
  return table;
}

}  // namespace stepback
