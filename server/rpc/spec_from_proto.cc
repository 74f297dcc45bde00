#include <limits>
#include <utility>

#include "server/core/spec_check.h"
#include "server/rpc/spec_convert.h"
#include "server/rpc/unset.h"

namespace stepback {
namespace {

// The core's enumerations carry the proto's numbers.
static_assert(static_cast<int>(DataType::kBool) == v1::DATA_TYPE_BOOL);
static_assert(static_cast<int>(Role::kFrozen) == v1::TENSOR_ROLE_FROZEN);
static_assert(static_cast<int>(Mode::kDelta) == v1::TRAINING_MODE_DELTA);
static_assert(static_cast<int>(RoundPolicy::kBuffered) == v1::ROUND_POLICY_BUFFERED);
static_assert(static_cast<int>(Reduction::kOrdered) == v1::REDUCTION_ORDERED);
static_assert(static_cast<int>(AccumulateType::kF64) == v1::ACCUMULATE_TYPE_F64);
static_assert(static_cast<int>(Weighting::kSamples) == v1::WEIGHTING_SAMPLES);
static_assert(static_cast<int>(InnerState::kPullback) == v1::INNER_STATE_POLICY_PULLBACK);
static_assert(static_cast<int>(Durability::kReplicated) == v1::DURABILITY_REPLICATED);

// proto3 enumerations are open: a newer caller may send a number that is unknown here.
template <typename Core>
Core EnumOr(int number, Core unset) {
  if (number == 0) return unset;
  constexpr int kNone = std::numeric_limits<uint8_t>::max();
  return static_cast<Core>(number < 0 || number > kNone ? kNone : number);
}

RuleSpec::Schedule ScheduleFromProto(const v1::Schedule& proto) {
  return {proto.name(), {proto.values().begin(), proto.values().end()}};
}

RuleSpec RuleFromProto(const v1::RuleSpec& proto) {
  RuleSpec rule;
  rule.name = proto.name();
  rule.values = {proto.values().begin(), proto.values().end()};
  rule.options = {proto.options().begin(), proto.options().end()};
  for (const auto& [name, schedule] : proto.schedules()) {
    rule.schedules[name] = ScheduleFromProto(schedule);
  }
  return rule;
}

TensorSpec TensorFromProto(const v1::Tensor& proto) {
  TensorSpec tensor;
  tensor.name = proto.name();
  tensor.shape = {proto.shape().begin(), proto.shape().end()};
  tensor.dtype = EnumOr(proto.dtype(), static_cast<DataType>(v1::DATA_TYPE_UNSPECIFIED));  // refused
  tensor.role = EnumOr(proto.role(), Role::kTrained);
  return tensor;
}

GroupSpec GroupFromProto(const v1::TensorGroup& proto) {
  GroupSpec group;
  group.name = proto.name();
  group.tensors = {proto.tensors().begin(), proto.tensors().end()};
  if (proto.has_inner()) group.inner = RuleFromProto(proto.inner());
  group.lr_scale = Or(proto.lr_scale(), 1.0);
  return group;
}

AverageSpec AverageFromProto(const v1::AverageSpec& proto) {
  return {.name = proto.name(), .rule = RuleFromProto(proto.rule())};
}

RoundSpec RoundsFromProto(const v1::RoundSpec& proto) {
  RoundSpec rounds;
  rounds.policy = EnumOr(proto.policy(), RoundPolicy::kSync);
  rounds.quorum = Or(proto.quorum(), rounds.quorum);
  rounds.deadline_seconds = proto.deadline_seconds();
  rounds.buffer_pushes = Or(proto.buffer_pushes(), rounds.buffer_pushes);
  if (proto.has_max_staleness()) rounds.max_staleness = proto.max_staleness();
  if (proto.has_aggregator()) rounds.aggregator = RuleFromProto(proto.aggregator());
  const bool robust = !rounds.aggregator.name.empty() && rounds.aggregator.name != "mean";
  rounds.reduction = EnumOr(proto.reduction(), robust ? Reduction::kOrdered : Reduction::kRunning);
  rounds.accumulate = EnumOr(proto.accumulate(), AccumulateType::kF32);
  rounds.weighting = EnumOr(proto.weighting(), Weighting::kEqual);
  rounds.max_workers = Or(proto.max_workers(), rounds.max_workers);
  rounds.staleness_exponent = proto.staleness_exponent();
  rounds.staleness = {.name = proto.staleness().name(),
                      .values = {proto.staleness().values().begin(), proto.staleness().values().end()}};
  rounds.grace_seconds = proto.grace_seconds();
  rounds.grace_factor = proto.grace_factor();
  rounds.dynamic_local_steps = proto.dynamic_local_steps();
  rounds.history_versions = proto.history_versions();
  return rounds;
}

FragmentSpec FragmentsFromProto(const v1::FragmentSpec& proto) {
  FragmentSpec fragments{.count = proto.count(), .overlap_steps = proto.overlap_steps()};
  for (const v1::FragmentSpec::Part& from : proto.parts()) {
    FragmentPart& part = fragments.parts.emplace_back();
    part.tensors = {from.tensors().begin(), from.tensors().end()};
    if (from.has_offset()) part.offset = from.offset();
  }
  if (proto.has_mixing()) fragments.mixing = proto.mixing();
  return fragments;
}

void TakeLimits(const v1::ModelSpec& proto, const SpecDefaults& defaults, ModelSpec* spec) {
  spec->durability = EnumOr(proto.durability(), Durability::kRound);
  spec->snapshot_interval_seconds = proto.snapshot_interval_seconds();  // 0: the engine's default
  spec->lease_seconds = Or(proto.lease_seconds(), defaults.lease_seconds);
  spec->staging_bytes = proto.staging_bytes();
  spec->max_live_versions = proto.max_live_versions();
  spec->description = proto.description();
  spec->labels = {proto.labels().begin(), proto.labels().end()};
  spec->finish_after_steps = proto.finish_after_steps();
  spec->finish_after_samples = proto.finish_after_samples();
  spec->expected_push_bytes_per_s = proto.expected_push_bytes_per_s();
  if (proto.quarantine().has_after()) spec->quarantine.after = proto.quarantine().after();
  spec->quarantine.seconds = Or(proto.quarantine().seconds(), spec->quarantine.seconds);
  spec->clip = {.value = proto.clip().value(),
                .tensor_norm = proto.clip().tensor_norm(),
                .global_norm = proto.clip().global_norm(),
                .contribution_norm = proto.clip().contribution_norm()};
}

}  // namespace

ModelSpec SpecFromProto(const v1::ModelSpec& proto, const SpecDefaults& defaults) {
  ModelSpec spec;
  spec.name = proto.name();
  spec.tensors.reserve(proto.tensors_size());
  for (const v1::Tensor& tensor : proto.tensors()) spec.tensors.push_back(TensorFromProto(tensor));
  for (const v1::TensorGroup& group : proto.groups()) spec.groups.push_back(GroupFromProto(group));
  spec.mode = EnumOr(proto.mode(), Mode::kDelta);
  if (proto.has_inner()) spec.inner = RuleFromProto(proto.inner());
  if (proto.has_outer()) spec.outer = RuleFromProto(proto.outer());
  spec.sync_period = proto.sync_period();
  if (proto.has_sync_period_schedule())
    spec.sync_period_schedule = ScheduleFromProto(proto.sync_period_schedule());
  spec.inner_state = EnumOr(proto.inner_state(), InnerState::kKeep);
  spec.rounds = RoundsFromProto(proto.rounds());
  for (const v1::AverageSpec& average : proto.averages()) spec.averages.push_back(AverageFromProto(average));
  if (proto.has_fragments()) spec.fragments = FragmentsFromProto(proto.fragments());
  TakeLimits(proto, defaults, &spec);
  return WithDefaults(std::move(spec));
}

}  // namespace stepback
