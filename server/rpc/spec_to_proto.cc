#include "server/core/checked_push.h"
#include "server/core/sync_period.h"
#include "server/rpc/spec_convert.h"

namespace stepback {
namespace {

v1::Schedule ScheduleToProto(const RuleSpec::Schedule& schedule) {
  v1::Schedule proto;
  proto.set_name(schedule.name);
  proto.mutable_values()->insert(schedule.values.begin(), schedule.values.end());
  return proto;
}

v1::RuleSpec RuleToProto(const RuleSpec& rule) {
  v1::RuleSpec proto;
  proto.set_name(rule.name);
  proto.mutable_values()->insert(rule.values.begin(), rule.values.end());
  proto.mutable_options()->insert(rule.options.begin(), rule.options.end());
  for (const auto& [name, schedule] : rule.schedules) {
    (*proto.mutable_schedules())[name] = ScheduleToProto(schedule);
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

v1::AverageSpec AverageToProto(const AverageSpec& average) {
  v1::AverageSpec proto;
  proto.set_name(average.name);
  *proto.mutable_rule() = RuleToProto(average.rule);
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
  if (!rounds.staleness.name.empty()) {
    proto.mutable_staleness()->set_name(rounds.staleness.name);
    const auto& values = rounds.staleness.values;
    proto.mutable_staleness()->mutable_values()->insert(values.begin(), values.end());
  }
  proto.set_grace_seconds(rounds.grace_seconds);
  proto.set_grace_factor(rounds.grace_factor);
  proto.set_dynamic_local_steps(rounds.dynamic_local_steps);
  *proto.mutable_aggregator() = RuleToProto(rounds.aggregator);
  proto.set_history_versions(rounds.history_versions);
  return proto;
}

v1::Clipping ClipToProto(const ClipSpec& clip) {
  v1::Clipping proto;
  proto.set_value(clip.value);
  proto.set_tensor_norm(clip.tensor_norm);
  proto.set_global_norm(clip.global_norm);
  proto.set_contribution_norm(clip.contribution_norm);
  return proto;
}

v1::FragmentSpec FragmentsToProto(const FragmentSpec& fragments, bool with_tensors) {
  v1::FragmentSpec proto;
  proto.set_count(fragments.count);
  for (const FragmentPart& part : fragments.parts) {
    v1::FragmentSpec::Part* const out = proto.add_parts();
    if (with_tensors) out->mutable_tensors()->Add(part.tensors.begin(), part.tensors.end());
    if (part.offset) out->set_offset(*part.offset);
  }
  proto.set_overlap_steps(fragments.overlap_steps);
  if (fragments.mixing) proto.set_mixing(*fragments.mixing);
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
  proto->set_expected_push_bytes_per_s(spec.expected_push_bytes_per_s);
  proto->mutable_quarantine()->set_after(spec.quarantine.after);
  proto->mutable_quarantine()->set_seconds(spec.quarantine.seconds);
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
  if (spec.clip != ClipSpec()) *proto->mutable_clip() = ClipToProto(spec.clip);
}

}  // namespace

v1::ModelSpec SpecToProto(const ModelSpec& spec, bool with_tensors) {
  v1::ModelSpec proto;
  proto.set_name(spec.name);
  if (with_tensors) {
    for (const TensorSpec& tensor : spec.tensors) *proto.add_tensors() = TensorToProto(tensor);
  }
  SetTraining(spec, with_tensors, &proto);
  for (const AverageSpec& average : spec.averages) *proto.add_averages() = AverageToProto(average);
  if (spec.sync_period_schedule) {
    *proto.mutable_sync_period_schedule() = ScheduleToProto(*spec.sync_period_schedule);
  }
  if (spec.fragments.any()) *proto.mutable_fragments() = FragmentsToProto(spec.fragments, with_tensors);
  SetLimits(spec, &proto);
  return proto;
}

v1::Settings SettingsToProto(const ModelVersion& version) {
  v1::Settings proto;
  proto.set_settings_version(version.settings_version);
  SetTraining(*version.spec, false, &proto);
  proto.set_sync_period(SyncPeriodAt(*version.spec, SyncsOf(version)));
  if (!version.fragments.empty()) {
    const FragmentSpec& fragments = version.spec->fragments;
    proto.mutable_fragments()->set_count(static_cast<uint32_t>(version.fragments.size()));
    proto.mutable_fragments()->set_overlap_steps(fragments.overlap_steps);
    proto.mutable_fragments()->set_mixing(FragmentMixing(fragments));
  }
  proto.set_push_kind(static_cast<v1::PushKind>(AcceptedKind(*version.spec)));
  return proto;
}

}  // namespace stepback
