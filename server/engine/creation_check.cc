#include "server/engine/creation_check.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <functional>
#include <numeric>
#include <utility>
#include <vector>

#include "server/base/errors.h"
#include "server/base/status_macros.h"
#include "server/core/averages.h"
#include "server/core/rule_choice.h"
#include "server/core/spec_check.h"
#include "server/core/wire_layout.h"

namespace stepback {
namespace {

// State arrays of one version: weights, slots, caches.
uint64_t CountArrays(const ModelSpec& spec, const RuleTable& rules) {
  uint32_t inner = 0;
  uint64_t caches = 0;
  for (const RuleChoice& rule : rules.inner) inner |= rule.used_slots();
  for (const RuleChoice& rule : rules.inner) {
    if (spec.inner_state != InnerState::kPullback) break;
    for (size_t i = 0; i < rule.info().slots.size(); ++i) {
      caches += (rule.used_slots() >> i & 1) != 0 && rule.info().slots[i].first_moment ? 1 : 0;
    }
  }
  const uint64_t fast = spec.mode == Mode::kGradient && rules.outer ? 1 : 0;
  const uint64_t outer = rules.outer ? std::popcount(rules.outer->used_slots()) : 0;
  return 1 + fast + std::popcount(inner) + outer + std::min<uint64_t>(caches, kernels::kMaxSlots);
}

// Copies and workspaces of the tensors that a commit may step as a whole at one time: of the largest ones.
uint64_t WholeTensorBytes(const ModelSpec& spec, const Layout& layout, const RuleTable& rules) {
  std::vector<uint64_t> bytes;
  for (size_t t = 0; t < spec.tensors.size(); ++t) {
    const int choice = rules.inner_of[t];
    if (choice < 0 || !rules.inner[choice].info().whole_tensor) continue;
    const int arrays = 2 + std::popcount(rules.inner[choice].used_slots());
    bytes.push_back(arrays * layout.tensors()[t].arena_floats * sizeof(float) +
                    rules.inner[choice].info().workspace(spec.tensors[t].shape));
  }
  std::sort(bytes.begin(), bytes.end(), std::greater<>());
  bytes.resize(std::min(bytes.size(), kernels::kWholeTensorsAtOnce));
  return std::accumulate(bytes.begin(), bytes.end(), uint64_t{0});
}

// The memory law (decisions 5): two of every array, the accumulator, and what delay compensation looks back
// at.
absl::StatusOr<uint64_t> EstimateStateBytes(const ModelSpec& spec, const Layout& layout) {
  ASSIGN_OR_RETURN(const RuleTable rules, RuleTable::Make(spec));
  const uint64_t arena_bytes = layout.arena_floats() * sizeof(float);
  const uint64_t sums = spec.rounds.accumulate == AccumulateType::kF64 ? 2 : 1;
  const uint64_t history = spec.rounds.history_versions;
  return arena_bytes * (2 * CountArrays(spec, rules) + sums + history) + AverageBytes(rules, arena_bytes) +
         WholeTensorBytes(spec, layout, rules);
}

absl::Status CheckTotal(const CheckedCreation& checked) {
  uint64_t expected = 0;
  if (!checked.zeros) {
    ASSIGN_OR_RETURN(const WireLayout wire,
                     WireLayout::Make(*checked.layout, *checked.codec, Direction::kPull, {}, {}));
    expected = wire.total_bytes();
  }
  if (checked.total_bytes == expected) return absl::OkStatus();
  return WithField(Error(absl::StatusCode::kInvalidArgument, "SIZE_MISMATCH",
                         fmt::format("model '{}': total_bytes is {}, the tensor table needs {} in codec {}",
                                     checked.spec->name, checked.total_bytes, expected, checked.codec->name)),
                   "header.total_bytes");
}

// Numbers of the schedules of a rule; which hyperparameter follows which curve cannot change.
void TakeSchedules(const RuleSpec& settings, RuleSpec* rule) {
  for (auto& [hyper, schedule] : rule->schedules) {
    const auto changed = settings.schedules.find(hyper);
    if (changed != settings.schedules.end()) schedule.values = changed->second.values;
  }
}

void TakeRounds(const RoundSpec& settings, RoundSpec* rounds) {
  rounds->quorum = settings.quorum;
  rounds->deadline_seconds = settings.deadline_seconds;
  rounds->buffer_pushes = settings.buffer_pushes;
  rounds->max_staleness = settings.max_staleness;
  rounds->staleness_exponent = settings.staleness_exponent;
  rounds->staleness.values = settings.staleness.values;
  rounds->grace_seconds = settings.grace_seconds;
  rounds->grace_factor = settings.grace_factor;
  rounds->dynamic_local_steps = settings.dynamic_local_steps;
  rounds->aggregator.values = settings.aggregator.values;
}

// Everything that UpdateModel can change, taken from `settings`.
ModelSpec WithSettingsOf(const ModelSpec& settings, ModelSpec spec) {
  spec.inner.values = settings.inner.values;
  spec.outer.values = settings.outer.values;
  TakeSchedules(settings.inner, &spec.inner);
  TakeSchedules(settings.outer, &spec.outer);
  for (size_t i = 0; i < spec.groups.size() && i < settings.groups.size(); ++i) {
    GroupSpec& group = spec.groups[i];
    group.lr_scale = settings.groups[i].lr_scale;
    if (group.inner && settings.groups[i].inner) group.inner->values = settings.groups[i].inner->values;
  }
  for (size_t i = 0; i < spec.averages.size() && i < settings.averages.size(); ++i) {
    spec.averages[i].rule.values = settings.averages[i].rule.values;
  }
  spec.sync_period = settings.sync_period;
  if (spec.sync_period_schedule && settings.sync_period_schedule) {
    spec.sync_period_schedule->values = settings.sync_period_schedule->values;
  }
  TakeRounds(settings.rounds, &spec.rounds);
  spec.lease_seconds = settings.lease_seconds;
  spec.snapshot_interval_seconds = settings.snapshot_interval_seconds;
  spec.finish_after_steps = settings.finish_after_steps;
  spec.finish_after_samples = settings.finish_after_samples;
  spec.clip = settings.clip;
  spec.quarantine = settings.quarantine;
  return spec;
}

}  // namespace

absl::StatusOr<CheckedCreation> CheckCreation(ModelSpec spec, bool zeros, int codec, uint64_t total_bytes) {
  spec = WithDefaults(std::move(spec));
  RETURN_IF_ERROR(ValidateSpec(spec));
  const auto codecs = kernels::Codecs();
  if (codec < 0 || static_cast<size_t>(codec) >= codecs.size()) {
    return Error(
        absl::StatusCode::kInvalidArgument, "CODEC_UNKNOWN",
        fmt::format("model '{}': codec {} is unknown, there are {}", spec.name, codec, codecs.size()));
  }
  CheckedCreation checked{.codec = &codecs[codec], .zeros = zeros, .total_bytes = total_bytes};
  ASSIGN_OR_RETURN(checked.layout, Layout::Make(spec.tensors, spec.fragments));
  ASSIGN_OR_RETURN(checked.budget_bytes, StagingBudget(spec, *checked.layout));
  ASSIGN_OR_RETURN(const uint64_t state_bytes, EstimateStateBytes(spec, *checked.layout));
  checked.memory_bytes = state_bytes + checked.budget_bytes;
  checked.spec = std::make_shared<const ModelSpec>(std::move(spec));
  RETURN_IF_ERROR(CheckTotal(checked));
  return checked;
}

absl::Status CheckDevice(const ModelSpec& spec, const kernels::Backend& backend) {
  ASSIGN_OR_RETURN(const RuleTable rules, RuleTable::Make(spec));
  for (const RuleChoice& rule : rules.inner) {
    if (backend.Runs(rule.info())) continue;
    return Error(
        absl::StatusCode::kInvalidArgument, "RULE_NEEDS_CPU",
        fmt::format("model '{}': inner rule '{}' works on whole tensors and runs on the CPU only, this "
                    "server computes on {}",
                    spec.name, rule.info().name, backend.name()));
  }
  return absl::OkStatus();
}

bool IsSameModel(const ModelVersion& existing, const ModelSpec& spec) {
  if (existing.settings_version == 1) return SameDefinition(*existing.spec, spec);
  return SameDefinition(*existing.spec, WithSettingsOf(*existing.spec, spec));
}

}  // namespace stepback
