#include "server/rpc/spec_convert.h"

namespace stepback {
namespace {

v1::RuleSpec RuleToProto(const RuleSpec& rule) {
  v1::RuleSpec proto;
  proto.set_name(rule.name);
  proto.mutable_values()->insert(rule.values.begin(), rule.values.end());
  proto.mutable_options()->insert(rule.options.begin(), rule.options.end());
  for (const auto& [name, schedule] : rule.schedules) {
    v1::Schedule& out = (*proto.mutable_schedules())[name];
    out.set_name(schedule.name);
    out.mutable_values()->insert(schedule.values.begin(), schedule.values.end());
  }
  return proto;
}

v1::Tensor TensorToProto(const TensorSpec& tensor) {
  v1::Tensor proto;
  proto.set_name(tensor.name);
  proto.mutable_shape()->Add(tensor.shape.begin(), tensor.shape.end());
  proto.set_dtype(static_cast<v1::DataType>(tensor.dtype));
  proto.set_role(static_cast<v1::TensorRole>(tensor.role));
  return proto;
}

v1::TensorGroup GroupToProto(const GroupSpec& group, bool with_tensors) {
  v1::TensorGroup proto;
  proto.set_name(group.name);
  if (with_tensors) proto.mutable_tensors()->Add(group.tensors.begin(), group.tensors.end());
  if (group.inner) *proto.mutable_inner() = RuleToProto(*group.inner);
  proto.set_lr_scale(group.lr_scale);
  return proto;
}

v1::RoundSpec RoundsToProto(const RoundSpec& rounds) {
  v1::RoundSpec proto;
  proto.set_policy(static_cast<v1::RoundPolicy>(rounds.policy));
  proto.set_quorum(rounds.quorum);
  proto.set_deadline_seconds(rounds.deadline_seconds);
  proto.set_buffer_pushes(rounds.buffer_pushes);
  if (rounds.max_staleness) proto.set_max_staleness(*rounds.max_staleness);
  proto.set_reduction(static_cast<v1::Reduction>(rounds.reduction));
  proto.set_accumulate(static_cast<v1::AccumulateType>(rounds.accumulate));
  proto.set_weighting(static_cast<v1::Weighting>(rounds.weighting));
  proto.set_max_workers(rounds.max_workers);
  proto.set_staleness_exponent(rounds.staleness_exponent);
  *proto.mutable_aggregator() = RuleToProto(rounds.aggregator);
  return proto;
}

void SetLimits(const ModelSpec& spec, v1::ModelSpec* proto) {
  proto->set_durability(static_cast<v1::Durability>(spec.durability));
  proto->set_snapshot_interval_seconds(spec.snapshot_interval_seconds);
  proto->set_lease_seconds(spec.lease_seconds);
  proto->set_staging_bytes(spec.staging_bytes);
  proto->set_max_live_versions(spec.max_live_versions);
  proto->set_description(spec.description);
  proto->mutable_labels()->insert(spec.labels.begin(), spec.labels.end());
  proto->set_finish_after_steps(spec.finish_after_steps);
  proto->set_finish_after_samples(spec.finish_after_samples);
}

// ModelSpec and Settings name these fields alike.
template <typename Proto>
void SetTraining(const ModelSpec& spec, bool with_tensors, Proto* proto) {
  proto->set_mode(static_cast<v1::TrainingMode>(spec.mode));
  proto->set_sync_period(spec.sync_period);
  if (spec.mode == Mode::kGradient) *proto->mutable_inner() = RuleToProto(spec.inner);
  *proto->mutable_outer() = RuleToProto(spec.outer);
  proto->set_inner_state(static_cast<v1::InnerStatePolicy>(spec.inner_state));
  *proto->mutable_rounds() = RoundsToProto(spec.rounds);
  for (const GroupSpec& group : spec.groups) *proto->add_groups() = GroupToProto(group, with_tensors);
}

}  // namespace

v1::ModelSpec SpecToProto(const ModelSpec& spec, bool with_tensors) {
  v1::ModelSpec proto;
  proto.set_name(spec.name);
  if (with_tensors) {
    for (const TensorSpec& tensor : spec.tensors) *proto.add_tensors() = TensorToProto(tensor);
  }
  SetTraining(spec, with_tensors, &proto);
  SetLimits(spec, &proto);
  return proto;
}

v1::Settings SettingsToProto(const ModelSpec& spec, uint64_t settings_version) {
  v1::Settings proto;
  proto.set_settings_version(settings_version);
  SetTraining(spec, false, &proto);
  return proto;
}

}  // namespace stepback
