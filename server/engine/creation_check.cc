#include "server/engine/creation_check.h"

#include <fmt/format.h>

#include <bit>
#include <utility>

#include "server/base/errors.h"
#include "server/base/status_macros.h"
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

// The memory law (decisions 5): two of every array, and the accumulator.
absl::StatusOr<uint64_t> EstimateStateBytes(const ModelSpec& spec, const Layout& layout) {
  ASSIGN_OR_RETURN(const RuleTable rules, RuleTable::Make(spec));
  const uint64_t arena_bytes = layout.arena_floats() * sizeof(float);
  const uint64_t sums = spec.rounds.accumulate == AccumulateType::kF64 ? 2 : 1;
  return arena_bytes * (2 * CountArrays(spec, rules) + sums);
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

// Everything that UpdateModel can change, taken from `settings`.
ModelSpec WithSettingsOf(const ModelSpec& settings, ModelSpec spec) {
  spec.inner.values = settings.inner.values;
  spec.outer.values = settings.outer.values;
  for (size_t i = 0; i < spec.groups.size() && i < settings.groups.size(); ++i) {
    GroupSpec& group = spec.groups[i];
    group.lr_scale = settings.groups[i].lr_scale;
    if (group.inner && settings.groups[i].inner) group.inner->values = settings.groups[i].inner->values;
  }
  spec.sync_period = settings.sync_period;
  spec.rounds.quorum = settings.rounds.quorum;
  spec.rounds.deadline_seconds = settings.rounds.deadline_seconds;
  spec.rounds.buffer_pushes = settings.rounds.buffer_pushes;
  spec.rounds.max_staleness = settings.rounds.max_staleness;
  spec.rounds.staleness_exponent = settings.rounds.staleness_exponent;
  spec.rounds.aggregator.values = settings.rounds.aggregator.values;
  spec.lease_seconds = settings.lease_seconds;
  spec.snapshot_interval_seconds = settings.snapshot_interval_seconds;
  spec.finish_after_steps = settings.finish_after_steps;
  spec.finish_after_samples = settings.finish_after_samples;
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
  ASSIGN_OR_RETURN(checked.layout, Layout::Make(spec.tensors));
  ASSIGN_OR_RETURN(checked.budget_bytes, StagingBudget(spec, *checked.layout));
  ASSIGN_OR_RETURN(const uint64_t state_bytes, EstimateStateBytes(spec, *checked.layout));
  checked.memory_bytes = state_bytes + checked.budget_bytes;
  checked.spec = std::make_shared<const ModelSpec>(std::move(spec));
  RETURN_IF_ERROR(CheckTotal(checked));
  return checked;
}

bool IsSameModel(const ModelVersion& existing, const ModelSpec& spec) {
  if (existing.settings_version == 1) return SameDefinition(*existing.spec, spec);
  return SameDefinition(*existing.spec, WithSettingsOf(*existing.spec, spec));
}

}  // namespace stepback
