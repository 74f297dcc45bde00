#include <limits>
#include <utility>

#include "server/core/spec_check.h"
#include "server/rpc/spec_convert.h"

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

template <typename Number>
Number Or(Number value, Number unset) {
  return value == 0 ? unset : value;
}

RuleSpec RuleFromProto(const v1::RuleSpec& proto) {
  RuleSpec rule;
  rule.name = proto.name();
  rule.values = {proto.values().begin(), proto.values().end()};
  rule.options = {proto.options().begin(), proto.options().end()};
  for (const auto& [name, schedule] : proto.schedules()) {
    rule.schedules[name] = {schedule.name(), {schedule.values().begin(), schedule.values().end()}};
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
  return rounds;
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
  spec.inner_state = EnumOr(proto.inner_state(), InnerState::kKeep);
  spec.rounds = RoundsFromProto(proto.rounds());
  TakeLimits(proto, defaults, &spec);
  return WithDefaults(std::move(spec));
}

}  // namespace stepback
