#include "server/core/settings.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <set>
#include <string_view>

#include "server/base/status_macros.h"
#include "server/core/field_error.h"
#include "server/core/nearest_name.h"
#include "server/core/spec_check.h"

namespace stepback {
namespace {

constexpr std::string_view kAggregatorPath = "rounds.aggregator.";

// Bounds are ValidateSpec's business; this only makes sure that the number fits the field.
template <typename Integer>
absl::Status SetInteger(const std::string& path, double value, Integer* field) {
  const double max =
      std::min(static_cast<double>(std::numeric_limits<Integer>::max()), 9007199254740992.0);  // 2^53
  if (!(value >= 0 && value <= max) || value != std::floor(value)) {
    return FieldError(path, fmt::format("is {}, expected an integer in 0..{}", value, max));
  }
  *field = static_cast<Integer>(value);
  return absl::OkStatus();
}

absl::Status SetNumber(double value, double* field) {
  *field = value;
  return absl::OkStatus();
}

absl::Status SetFlag(const std::string& path, double value, bool* field) {
  if (value != 0 && value != 1) return FieldError(path, fmt::format("is {}, expected 0 or 1", value));
  *field = value == 1;
  return absl::OkStatus();
}

struct Setting {
  std::string_view path;
  absl::Status (*set)(ModelSpec* spec, const std::string& path, double value);
};

constexpr Setting kSettings[] = {
    {"sync_period",
     [](ModelSpec* s, const std::string& p, double v) { return SetInteger(p, v, &s->sync_period); }},
    {"lease_seconds",
     [](ModelSpec* s, const std::string&, double v) { return SetNumber(v, &s->lease_seconds); }},
    {"snapshot_interval_seconds",
     [](ModelSpec* s, const std::string&, double v) { return SetNumber(v, &s->snapshot_interval_seconds); }},
    {"finish_after_steps",
     [](ModelSpec* s, const std::string& p, double v) { return SetInteger(p, v, &s->finish_after_steps); }},
    {"finish_after_samples",
     [](ModelSpec* s, const std::string& p, double v) { return SetInteger(p, v, &s->finish_after_samples); }},
    {"rounds.quorum",
     [](ModelSpec* s, const std::string& p, double v) { return SetInteger(p, v, &s->rounds.quorum); }},
    {"rounds.deadline_seconds",
     [](ModelSpec* s, const std::string&, double v) { return SetNumber(v, &s->rounds.deadline_seconds); }},
    {"rounds.max_staleness", [](ModelSpec* s, const std::string& p,
                                double v) { return SetInteger(p, v, &s->rounds.max_staleness.emplace()); }},
    {"rounds.buffer_pushes",
     [](ModelSpec* s, const std::string& p, double v) { return SetInteger(p, v, &s->rounds.buffer_pushes); }},
    {"rounds.staleness_exponent",
     [](ModelSpec* s, const std::string&, double v) { return SetNumber(v, &s->rounds.staleness_exponent); }},
    {"rounds.grace_seconds",
     [](ModelSpec* s, const std::string&, double v) { return SetNumber(v, &s->rounds.grace_seconds); }},
    {"rounds.grace_factor",
     [](ModelSpec* s, const std::string&, double v) { return SetNumber(v, &s->rounds.grace_factor); }},
    {"rounds.dynamic_local_steps", [](ModelSpec* s, const std::string& p,
                                      double v) { return SetFlag(p, v, &s->rounds.dynamic_local_steps); }},
    {"fragments.overlap_steps", [](ModelSpec* s, const std::string& p,
                                   double v) { return SetInteger(p, v, &s->fragments.overlap_steps); }},
    {"fragments.mixing",
     [](ModelSpec* s, const std::string&, double v) { return SetNumber(v, &s->fragments.mixing.emplace()); }},
    {"quarantine.after",
     [](ModelSpec* s, const std::string& p, double v) { return SetInteger(p, v, &s->quarantine.after); }},
    {"quarantine.seconds",
     [](ModelSpec* s, const std::string&, double v) { return SetNumber(v, &s->quarantine.seconds); }},
    {"clip.value", [](ModelSpec* s, const std::string&, double v) { return SetNumber(v, &s->clip.value); }},
    {"clip.tensor_norm",
     [](ModelSpec* s, const std::string&, double v) { return SetNumber(v, &s->clip.tensor_norm); }},
    {"clip.global_norm",
     [](ModelSpec* s, const std::string&, double v) { return SetNumber(v, &s->clip.global_norm); }},
    {"clip.contribution_norm",
     [](ModelSpec* s, const std::string&, double v) { return SetNumber(v, &s->clip.contribution_norm); }},
};

absl::Status UnknownPath(const std::string& path) {
  std::vector<std::string_view> known = {"inner.lr", "outer.lr", "groups.NAME.lr", "groups.NAME.lr_scale",
                                         "averages.NAME.HYPER"};
  for (const Setting& setting : kSettings) known.push_back(setting.path);
  return FieldError(
      path, fmt::format("is no setting that can change; did you mean '{}'?", NearestName(path, known)));
}

// "averages.<name>.<hyper>"; as for groups, the name may have dots.
absl::Status SetInAverage(ModelSpec* spec, const std::string& path, double value) {
  const size_t begin = path.find('.') + 1, end = path.rfind('.');
  if (end < begin) return UnknownPath(path);
  const std::string name = path.substr(begin, end - begin);
  for (AverageSpec& average : spec->averages) {
    if (average.name != name) continue;
    average.rule.values[path.substr(end + 1)] = value;
    return absl::OkStatus();
  }
  return FieldError(path, fmt::format("names average '{}', which the model has not", name));
}

// "groups.<name>.<hyper>"; the name may have dots, the hyperparameter has none.
absl::Status SetInGroup(ModelSpec* spec, const std::string& path, double value) {
  const size_t begin = path.find('.') + 1, end = path.rfind('.');
  if (end < begin) return UnknownPath(path);
  const std::string name = path.substr(begin, end - begin), hyper = path.substr(end + 1);
  for (GroupSpec& group : spec->groups) {
    if (group.name != name) continue;
    if (hyper == "lr_scale") return SetNumber(value, &group.lr_scale);
    if (spec->mode == Mode::kDelta) return FieldError(path, "is the workers' own in DELTA mode");
    if (!group.inner.has_value()) group.inner = spec->inner;  // from now on the group has a rule of its own
    group.inner->values[hyper] = value;
    return absl::OkStatus();
  }
  return FieldError(path, fmt::format("names group '{}', which the model has not", name));
}

// "schedules.<hyper>.<parameter>" of a rule.
absl::Status SetInSchedule(RuleSpec* rule, const std::string& path, const std::string& rest, double value) {
  const size_t begin = rest.find('.') + 1, end = rest.rfind('.');
  const std::string hyper = end > begin ? rest.substr(begin, end - begin) : "";
  const auto schedule = rule->schedules.find(hyper);
  if (schedule == rule->schedules.end())
    return FieldError(path, "names no schedule of rule '" + rule->name + "'");
  schedule->second.values[rest.substr(end + 1)] = value;
  return absl::OkStatus();
}

absl::Status SetInPeriodSchedule(ModelSpec* spec, const std::string& path, double value) {
  if (!spec->sync_period_schedule.has_value())
    return FieldError(path, "is set, but the model has no such schedule");
  spec->sync_period_schedule->values[path.substr(path.find('.') + 1)] = value;
  return absl::OkStatus();
}

absl::Status SetInStaleness(ModelSpec* spec, const std::string& path, double value) {
  if (spec->rounds.staleness.name.empty())
    return FieldError(path, "is set, but the model has no staleness function");
  spec->rounds.staleness.values[path.substr(path.rfind('.') + 1)] = value;
  return absl::OkStatus();
}

absl::Status SetHyper(ModelSpec* spec, const std::string& path, double value) {
  const std::string hyper = path.substr(path.find('.') + 1);
  const bool inner = path.starts_with("inner.");
  if (inner && spec->mode == Mode::kDelta) return FieldError(path, "is the workers' own in DELTA mode");
  RuleSpec& rule = inner ? spec->inner : spec->outer;
  if (rule.name == "none") return FieldError(path, "is set, but the model has no such rule");
  if (hyper.starts_with("schedules.")) return SetInSchedule(&rule, path, hyper, value);
  rule.values[hyper] = value;
  return absl::OkStatus();
}

absl::Status SetAggregator(ModelSpec* spec, const std::string& path, double value) {
  spec->rounds.aggregator.values[path.substr(kAggregatorPath.size())] = value;
  return absl::OkStatus();
}

absl::Status Set(ModelSpec* spec, const std::string& path, double value) {
  const auto setting = std::find_if(std::begin(kSettings), std::end(kSettings),
                                    [&](const Setting& s) { return s.path == path; });
  if (setting != std::end(kSettings)) return setting->set(spec, path, value);
  if (path.starts_with("sync_period_schedule.")) return SetInPeriodSchedule(spec, path, value);
  if (path.starts_with("rounds.staleness.")) return SetInStaleness(spec, path, value);
  if (path.starts_with("groups.")) return SetInGroup(spec, path, value);
  if (path.starts_with("averages.")) return SetInAverage(spec, path, value);
  if (path.starts_with(kAggregatorPath)) return SetAggregator(spec, path, value);
  if (path.starts_with("inner.") || path.starts_with("outer.")) return SetHyper(spec, path, value);
  return UnknownPath(path);
}

}  // namespace

absl::StatusOr<std::shared_ptr<const ModelSpec>> WithSettings(
    const ModelSpec& spec, const std::vector<std::pair<std::string, double>>& values) {
  auto changed = std::make_shared<ModelSpec>(spec);
  std::set<std::string_view> seen;
  for (const auto& [path, value] : values) {
    if (!seen.insert(path).second) return FieldError(path, "is given twice");
    RETURN_IF_ERROR(Set(changed.get(), path, value));
  }
  RETURN_IF_ERROR(ValidateSpec(*changed));
  return changed;
}

}  // namespace stepback
