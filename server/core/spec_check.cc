#include "server/core/spec_check.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <unordered_set>

#include "server/base/errors.h"
#include "server/base/status_macros.h"
#include "server/core/aggregator_choice.h"
#include "server/core/eval_slot.h"
#include "server/core/field_error.h"
#include "server/core/merge_check.h"
#include "server/core/rule_choice.h"
#include "server/core/schedule.h"
#include "server/core/staleness_weight.h"
#include "server/core/wire_layout.h"

namespace stepback {
namespace {

constexpr size_t kMaxNameBytes = 128;
constexpr size_t kMaxAverageNameBytes = 64;
constexpr size_t kMaxGroups = 65536;
constexpr size_t kMaxLabels = 64;
constexpr size_t kMaxLabelBytes = 256;
constexpr size_t kMaxDescriptionBytes = 4096;
constexpr double kMaxSeconds = 31'536'000;  // a year
constexpr uint64_t kMinStagingBytes = uint64_t{64} << 20;

bool IsAlphanumeric(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

absl::Status CheckName(const std::string& name, const std::string& field) {
  const auto allowed = [](char c) { return IsAlphanumeric(c) || c == '.' || c == '_' || c == '-'; };
  const bool valid = !name.empty() && name.size() <= kMaxNameBytes && IsAlphanumeric(name[0]) &&
                     std::all_of(name.begin(), name.end(), allowed);
  if (valid) return absl::OkStatus();
  return FieldError(
      field, fmt::format("is '{}' ({} bytes), expected 1..{} of [A-Za-z0-9._-], a letter or digit first",
                         name.substr(0, kMaxNameBytes), name.size(), kMaxNameBytes));
}

template <typename Number>
absl::Status CheckRange(const std::string& field, Number value, Number min, Number max) {
  if (value >= min && value <= max) return absl::OkStatus();
  return FieldError(field, fmt::format("is {}, expected {}..{}", value, min, max));
}

template <typename Enum>
absl::Status CheckEnum(const std::string& field, Enum value, Enum first, Enum last) {
  return CheckRange(field, static_cast<int>(value), static_cast<int>(first), static_cast<int>(last));
}

absl::Status CheckGroups(const ModelSpec& spec) {
  RETURN_IF_ERROR(CheckRange("the number of spec.groups", spec.groups.size(), size_t{0}, kMaxGroups));
  std::unordered_set<std::string> names;
  for (size_t g = 0; g < spec.groups.size(); ++g) {
    const GroupSpec& group = spec.groups[g];
    const std::string field = fmt::format("spec.groups[{}]", g);
    RETURN_IF_ERROR(CheckName(group.name, field + ".name"));
    if (group.name == "default")
      return FieldError(field + ".name", "is 'default', the name of the tensors of no group");
    if (!names.insert(group.name).second) {
      return FieldError(field + ".name", fmt::format("'{}' is there twice", group.name));
    }
    if (!(group.lr_scale > 0 && group.lr_scale <= 1e6)) {
      return FieldError(field + ".lr_scale", fmt::format("is {}, expected (0, 1e6]", group.lr_scale));
    }
    if (spec.mode == Mode::kDelta && group.inner.has_value()) {
      return FieldError(field + ".inner", "is set in DELTA mode, where the workers own the inner optimizer");
    }
  }
  return absl::OkStatus();
}

bool IsAverageName(const std::string& name) {
  const auto allowed = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '.' || c == '-';
  };
  return !name.empty() && name.size() <= kMaxAverageNameBytes &&
         std::all_of(name.begin(), name.end(), allowed);
}

absl::Status CheckAverages(const ModelSpec& spec) {
  const std::vector<AverageSpec>& averages = spec.averages;
  RETURN_IF_ERROR(
      CheckRange("the number of spec.averages", averages.size(), size_t{0}, size_t{kMaxAverages}));
  std::unordered_set<std::string> names;
  for (size_t i = 0; i < averages.size(); ++i) {
    const std::string& name = averages[i].name;
    const std::string field = fmt::format("spec.averages[{}].name", i);
    if (!IsAverageName(name)) {
      return FieldError(field, fmt::format("is '{}' ({} bytes), expected 1..{} of [a-z0-9_.-]",
                                           Clip(name, 64), name.size(), kMaxAverageNameBytes));
    }
    if (!names.insert(name).second) return FieldError(field, fmt::format("'{}' is there twice", name));
    const kernels::RuleInfo* const rule = kernels::FindAverageRule(averages[i].rule.name);
    if (rule != nullptr && rule->keeps_deltas && spec.outer.name == kNoRule) {
      return FieldError(
          fmt::format("spec.averages[{}].rule", i),
          fmt::format("is '{}', which looks at outer steps, and there is no outer rule", rule->name));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckMode(const ModelSpec& spec) {
  RETURN_IF_ERROR(CheckEnum("spec.mode", spec.mode, Mode::kGradient, Mode::kDelta));
  if (spec.mode == Mode::kGradient) return CheckRange("spec.sync_period", spec.sync_period, 1u, UINT32_MAX);
  if (spec.inner != RuleSpec()) {
    return FieldError("spec.inner", "is set in DELTA mode, where the workers own the inner optimizer");
  }
  if (spec.outer.name == kNoRule)
    return FieldError("spec.outer", "is 'none' in DELTA mode, which is one outer step per round");
  return absl::OkStatus();
}

// In delta mode the policy is only told to the workers.
absl::Status CheckInnerState(const ModelSpec& spec) {
  const std::string field = "spec.inner_state";
  RETURN_IF_ERROR(CheckEnum(field, spec.inner_state, InnerState::kKeep, InnerState::kPullback));
  if (spec.mode == Mode::kDelta || spec.inner_state == InnerState::kKeep) return absl::OkStatus();
  if (spec.outer.name == kNoRule)
    return FieldError(field, "must be KEEP without an outer rule: there are no syncs");
  const kernels::RuleInfo* outer = kernels::FindOuterRule(spec.outer.name);
  if (spec.inner_state == InnerState::kPullback && outer != nullptr &&
      kernels::HyperIndex(*outer, "alpha") < 0) {
    return FieldError(
        field, fmt::format("PULLBACK mixes by the outer rule's alpha, which '{}' has not", outer->name));
  }
  return absl::OkStatus();
}

absl::Status CheckGrace(const RoundSpec& rounds) {
  RETURN_IF_ERROR(CheckRange("spec.rounds.grace_seconds", rounds.grace_seconds, 0.0, kMaxSeconds));
  RETURN_IF_ERROR(CheckRange("spec.rounds.grace_factor", rounds.grace_factor, 0.0, 100.0));
  if (rounds.grace_seconds == 0 && rounds.grace_factor == 0) return absl::OkStatus();
  const std::string field =
      rounds.grace_seconds > 0 ? "spec.rounds.grace_seconds" : "spec.rounds.grace_factor";
  if (rounds.policy != RoundPolicy::kSync)
    return FieldError(field, "is set, but only a SYNC round has a grace window");
  if (rounds.grace_factor == 0 || rounds.quorum >= 2) return absl::OkStatus();
  return FieldError(
      "spec.rounds.grace_factor",
      fmt::format("is {} with quorum 1, expected quorum at least 2: one contribution takes no time",
                  rounds.grace_factor));
}

absl::Status CheckStaleness(const RoundSpec& rounds) {
  RETURN_IF_ERROR(CheckRange("spec.rounds.staleness_exponent", rounds.staleness_exponent, 0.0, 10.0));
  RETURN_IF_ERROR(StalenessWeight::Make(rounds, "spec.rounds").status());
  if (rounds.policy != RoundPolicy::kSync || rounds.staleness.name.empty()) return absl::OkStatus();
  return FieldError("spec.rounds.staleness", "is set, but a SYNC round weighs all its pushes alike");
}

// In a sync round all workers push at the round's pace, so the server cannot tell them apart.
absl::Status CheckLocalSteps(const ModelSpec& spec) {
  const std::string field = "spec.rounds.dynamic_local_steps";
  if (!spec.rounds.dynamic_local_steps) return absl::OkStatus();
  if (spec.mode != Mode::kDelta)
    return FieldError(field, "is set in GRADIENT mode, where every push is one step");
  if (spec.rounds.policy == RoundPolicy::kSync) {
    return FieldError(field, "is set in SYNC rounds, where every worker pushes at the round's pace");
  }
  if (spec.sync_period > 0) return absl::OkStatus();
  return FieldError(field, "needs spec.sync_period, the H of the fastest worker, expected at least 1");
}

absl::Status CheckPeriodSchedule(const ModelSpec& spec) {
  if (!spec.sync_period_schedule.has_value()) return absl::OkStatus();
  const std::string field = "spec.sync_period_schedule";
  RETURN_IF_ERROR(Schedule::Make(*spec.sync_period_schedule, field).status());
  if (spec.sync_period > 0) return absl::OkStatus();
  return FieldError(field, "is set without spec.sync_period, which it multiplies, expected at least 1");
}

absl::Status CheckOffsets(const ModelSpec& spec) {
  for (size_t p = 0; p < spec.fragments.parts.size(); ++p) {
    const std::optional<uint32_t> offset = spec.fragments.parts[p].offset;
    if (!offset.has_value() || *offset < spec.sync_period) continue;
    return FieldError(
        fmt::format("spec.fragments.parts[{}].offset", p),
        fmt::format("is {}, expected less than spec.sync_period, which is {}", *offset, spec.sync_period));
  }
  return absl::OkStatus();
}

// An extrapolation is of whole weights from one sync to the next.
absl::Status CheckFragmentAverages(const ModelSpec& spec) {
  for (size_t i = 0; i < spec.averages.size(); ++i) {
    const kernels::RuleInfo* const rule = kernels::FindAverageRule(spec.averages[i].rule.name);
    if (rule == nullptr || rule->history == nullptr) continue;
    return FieldError(
        fmt::format("spec.averages[{}].rule", i),
        fmt::format("is '{}', which looks at syncs of the whole model, and the model has fragments",
                    rule->name));
  }
  return absl::OkStatus();
}

absl::Status CheckFragments(const ModelSpec& spec) {
  const FragmentSpec& fragments = spec.fragments;
  if (!fragments.any()) {
    return fragments == FragmentSpec() ? absl::OkStatus()
                                       : FieldError("spec.fragments", "has neither count nor parts");
  }
  if (spec.mode != Mode::kDelta)
    return FieldError("spec.fragments", "is set in GRADIENT mode, where the server syncs the whole model");
  RETURN_IF_ERROR(CheckRange("spec.fragments.mixing", fragments.mixing.value_or(0), 0.0, 1.0));
  RETURN_IF_ERROR(CheckOffsets(spec));
  RETURN_IF_ERROR(CheckFragmentAverages(spec));
  const uint64_t size = fragments.parts.empty() ? fragments.count : fragments.parts.size();
  if (fragments.overlap_steps == 0 || fragments.overlap_steps * size < spec.sync_period)
    return absl::OkStatus();
  return FieldError(
      "spec.fragments.overlap_steps",
      fmt::format("is {} with {} fragments, expected less than spec.sync_period / fragments = {} / {}",
                  fragments.overlap_steps, size, spec.sync_period, size));
}

absl::Status CheckOrdered(const RoundSpec& rounds) {
  if (rounds.reduction != Reduction::kOrdered) return absl::OkStatus();
  if (rounds.policy == RoundPolicy::kSync && rounds.quorum > rounds.max_workers) {
    return FieldError("spec.rounds.quorum", fmt::format("is {}, above max_workers {} of an ORDERED round",
                                                        rounds.quorum, rounds.max_workers));
  }
  if (rounds.policy == RoundPolicy::kBuffered && rounds.buffer_pushes > rounds.max_workers) {
    return FieldError("spec.rounds.buffer_pushes",
                      fmt::format("is {}, above max_workers {} of an ORDERED round", rounds.buffer_pushes,
                                  rounds.max_workers));
  }
  return absl::OkStatus();
}

absl::Status CheckRounds(const RoundSpec& rounds) {
  RETURN_IF_ERROR(CheckEnum("spec.rounds.policy", rounds.policy, RoundPolicy::kSync, RoundPolicy::kBuffered));
  RETURN_IF_ERROR(
      CheckEnum("spec.rounds.reduction", rounds.reduction, Reduction::kRunning, Reduction::kOrdered));
  RETURN_IF_ERROR(
      CheckEnum("spec.rounds.accumulate", rounds.accumulate, AccumulateType::kF32, AccumulateType::kF64));
  RETURN_IF_ERROR(
      CheckEnum("spec.rounds.weighting", rounds.weighting, Weighting::kEqual, Weighting::kSamples));
  RETURN_IF_ERROR(CheckRange("spec.rounds.quorum", rounds.quorum, 1u, 65536u));
  RETURN_IF_ERROR(CheckRange("spec.rounds.deadline_seconds", rounds.deadline_seconds, 0.0, kMaxSeconds));
  RETURN_IF_ERROR(CheckRange("spec.rounds.buffer_pushes", rounds.buffer_pushes, 1u, 65536u));
  RETURN_IF_ERROR(CheckRange("spec.rounds.max_workers", rounds.max_workers, 1u, 4096u));
  RETURN_IF_ERROR(CheckStaleness(rounds));
  RETURN_IF_ERROR(CheckGrace(rounds));
  RETURN_IF_ERROR(CheckOrdered(rounds));
  return CheckAggregator(rounds);
}

absl::Status CheckClip(const ClipSpec& clip) {
  const std::pair<const char*, double> bounds[] = {{"value", clip.value},
                                                   {"tensor_norm", clip.tensor_norm},
                                                   {"global_norm", clip.global_norm},
                                                   {"contribution_norm", clip.contribution_norm}};
  for (const auto& [name, bound] : bounds) {
    if (bound >= 0 && std::isfinite(bound)) continue;
    return FieldError(fmt::format("spec.clip.{}", name),
                      fmt::format("is {}, expected a finite number of at least 0 (0: no bound)", bound));
  }
  return absl::OkStatus();
}

absl::Status CheckDurability(const ModelSpec& spec) {
  RETURN_IF_ERROR(
      CheckEnum("spec.durability", spec.durability, Durability::kVolatile, Durability::kReplicated));
  if (!(spec.expected_push_bytes_per_s >= 0 && std::isfinite(spec.expected_push_bytes_per_s))) {
    return FieldError("spec.expected_push_bytes_per_s",
                      fmt::format("is {}, expected a finite number of at least 0 (0: not said)",
                                  spec.expected_push_bytes_per_s));
  }
  if (spec.durability != Durability::kReplicated) return absl::OkStatus();
  return WithField(Error(absl::StatusCode::kUnimplemented, "DURABILITY_NOT_SUPPORTED",
                         "spec.durability REPLICATED is reserved for a later version; use PUSH, ROUND or VOLATILE"),
                   "spec.durability");
}

absl::Status CheckLimits(const ModelSpec& spec) {
  RETURN_IF_ERROR(
      CheckRange("spec.snapshot_interval_seconds", spec.snapshot_interval_seconds, 0.0, kMaxSeconds));
  RETURN_IF_ERROR(CheckRange("spec.lease_seconds", spec.lease_seconds, 1.0, 86400.0));
  RETURN_IF_ERROR(CheckRange("spec.quarantine.after", spec.quarantine.after, 0u, 1000u));
  RETURN_IF_ERROR(CheckRange("spec.quarantine.seconds", spec.quarantine.seconds, 1.0, 86400.0));
  RETURN_IF_ERROR(CheckRange("spec.max_live_versions", spec.max_live_versions, 2u, 64u));
  RETURN_IF_ERROR(
      CheckRange("the size of spec.description", spec.description.size(), size_t{0}, kMaxDescriptionBytes));
  RETURN_IF_ERROR(CheckRange("the number of spec.labels", spec.labels.size(), size_t{0}, kMaxLabels));
  for (const auto& [key, value] : spec.labels) {
    RETURN_IF_ERROR(CheckRange("the size of a key of spec.labels", key.size(), size_t{1}, kMaxLabelBytes));
    RETURN_IF_ERROR(CheckRange("the size of spec.labels." + key, value.size(), size_t{0}, kMaxLabelBytes));
  }
  return absl::OkStatus();
}

// Bytes of a push of every tensor in the widest wire form.
absl::StatusOr<uint64_t> LargestPushBytes(const Layout& layout) {
  uint64_t largest = 0;
  for (const kernels::CodecInfo& codec : kernels::Codecs()) {
    ASSIGN_OR_RETURN(const WireLayout wire, WireLayout::Make(layout, codec, Direction::kPush, {}, {}));
    largest = std::max(largest, wire.total_bytes());
  }
  return largest;
}

template <typename Number>
void DefaultTo(Number value, Number* field) {
  if (*field == 0) *field = value;
}

}  // namespace

absl::Status ValidateSpec(const ModelSpec& spec) {
  RETURN_IF_ERROR(CheckName(spec.name, "spec.name"));
  RETURN_IF_ERROR(Layout::Make(spec.tensors, spec.fragments).status());
  RETURN_IF_ERROR(CheckMode(spec));
  RETURN_IF_ERROR(CheckFragments(spec));
  RETURN_IF_ERROR(CheckGroups(spec));
  RETURN_IF_ERROR(CheckAverages(spec));
  ASSIGN_OR_RETURN(const RuleTable rules, RuleTable::Make(spec));
  RETURN_IF_ERROR(CheckEvalSlot(spec));
  RETURN_IF_ERROR(CheckInnerState(spec));
  RETURN_IF_ERROR(CheckRounds(spec.rounds));
  RETURN_IF_ERROR(CheckLocalSteps(spec));
  RETURN_IF_ERROR(CheckPeriodSchedule(spec));
  RETURN_IF_ERROR(CheckClip(spec.clip));
  RETURN_IF_ERROR(CheckMerge(spec, rules));
  RETURN_IF_ERROR(CheckDurability(spec));
  return CheckLimits(spec);
}

ModelSpec WithDefaults(ModelSpec spec) {
  const bool gradient = spec.mode == Mode::kGradient;
  if (gradient && spec.inner.name.empty()) spec.inner.name = "sgd";
  // An inner rule that averages by itself goes with no slow weights.
  const std::string_view outer = !gradient ? "nesterov" : EvalSlotOf(spec) >= 0 ? kNoRule : "lookahead";
  if (spec.outer.name.empty()) spec.outer.name = outer;
  if (gradient) DefaultTo(5u, &spec.sync_period);
  DefaultTo(1u, &spec.rounds.quorum);
  DefaultTo(10u, &spec.rounds.buffer_pushes);
  DefaultTo(64u, &spec.rounds.max_workers);
  if (spec.rounds.aggregator.name.empty()) spec.rounds.aggregator.name = "mean";
  if (CompensatesDelay(spec.rounds)) DefaultTo(kHistoryVersionsDefault, &spec.rounds.history_versions);
  DefaultTo(60.0, &spec.lease_seconds);
  DefaultTo(60.0, &spec.quarantine.seconds);
  DefaultTo(4u, &spec.max_live_versions);
  for (GroupSpec& group : spec.groups) DefaultTo(1.0, &group.lr_scale);
  return spec;
}

absl::StatusOr<uint64_t> StagingBudget(const ModelSpec& spec, const Layout& layout) {
  ASSIGN_OR_RETURN(const uint64_t push, LargestPushBytes(layout));
  const bool ordered = spec.rounds.reduction == Reduction::kOrdered;
  const uint64_t least = ordered ? push * spec.rounds.max_workers : push;
  // Room for pushes that arrive while others are folded.
  if (spec.staging_bytes == 0) return std::max(kMinStagingBytes, least + 3 * push);
  if (spec.staging_bytes >= least) return spec.staging_bytes;
  return FieldError("spec.staging_bytes",
                    fmt::format("is {}, expected at least {} ({} x {} bytes of one push)", spec.staging_bytes,
                                least, ordered ? spec.rounds.max_workers : 1, push));
}

bool SameDefinition(const ModelSpec& a, const ModelSpec& b) { return WithDefaults(a) == WithDefaults(b); }

}  // namespace stepback
