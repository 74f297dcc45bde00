#include "server/engine/stored_spec.h"

#include <fmt/format.h>

#include "server/base/errors.h"
#include "server/base/status_macros.h"

namespace stepback {
namespace {

template <typename Enum>
absl::Status LoadEnum(uint32_t number, Enum last, const char* field, Enum* value) {
  if (number < 1 || number > static_cast<uint32_t>(last)) {
    return DamagedImage(fmt::format("{} is {}, expected 1..{}", field, number, static_cast<uint32_t>(last)));
  }
  *value = static_cast<Enum>(number);
  return absl::OkStatus();
}

template <typename Enum>
uint32_t Number(Enum value) {
  return static_cast<uint32_t>(value);
}

void StoreNumbers(const std::map<std::string, double>& values,
                  google::protobuf::RepeatedPtrField<v1::StoredNumber>* stored) {
  for (const auto& [name, value] : values) {
    v1::StoredNumber* const number = stored->Add();
    number->set_name(name);
    number->set_value(value);
  }
}

std::map<std::string, double> LoadNumbers(
    const google::protobuf::RepeatedPtrField<v1::StoredNumber>& stored) {
  std::map<std::string, double> values;
  for (const v1::StoredNumber& number : stored) values[number.name()] = number.value();
  return values;
}

void StoreLabels(const std::map<std::string, std::string>& labels,
                 google::protobuf::RepeatedPtrField<v1::StoredLabel>* stored) {
  for (const auto& [name, value] : labels) {
    v1::StoredLabel* const label = stored->Add();
    label->set_name(name);
    label->set_value(value);
  }
}

std::map<std::string, std::string> LoadLabels(
    const google::protobuf::RepeatedPtrField<v1::StoredLabel>& stored) {
  std::map<std::string, std::string> labels;
  for (const v1::StoredLabel& label : stored) labels[label.name()] = label.value();
  return labels;
}

void StoreSchedule(const RuleSpec::Schedule& schedule, v1::StoredSchedule* stored) {
  stored->set_name(schedule.name);
  StoreNumbers(schedule.values, stored->mutable_values());
}

RuleSpec::Schedule LoadSchedule(const v1::StoredSchedule& stored) {
  return {.name = stored.name(), .values = LoadNumbers(stored.values())};
}

void StoreRule(const RuleSpec& rule, v1::StoredRule* stored) {
  stored->set_name(rule.name);
  StoreNumbers(rule.values, stored->mutable_values());
  StoreLabels(rule.options, stored->mutable_options());
  for (const auto& [hyper, schedule] : rule.schedules) {
    v1::StoredSchedule* const entry = stored->add_schedules();
    entry->set_hyper(hyper);
    StoreSchedule(schedule, entry);
  }
}

RuleSpec LoadRule(const v1::StoredRule& stored) {
  RuleSpec rule{
      .name = stored.name(), .values = LoadNumbers(stored.values()), .options = LoadLabels(stored.options())};
  for (const v1::StoredSchedule& schedule : stored.schedules()) {
    rule.schedules[schedule.hyper()] = LoadSchedule(schedule);
  }
  return rule;
}

void StoreTensor(const TensorSpec& tensor, v1::StoredTensor* stored) {
  stored->set_name(tensor.name);
  stored->mutable_shape()->Assign(tensor.shape.begin(), tensor.shape.end());
  stored->set_dtype(Number(tensor.dtype));
  stored->set_role(Number(tensor.role));
}

absl::StatusOr<TensorSpec> LoadTensor(const v1::StoredTensor& stored) {
  TensorSpec tensor{.name = stored.name(), .shape = {stored.shape().begin(), stored.shape().end()}};
  RETURN_IF_ERROR(LoadEnum(stored.dtype(), DataType::kBool, "dtype", &tensor.dtype));
  RETURN_IF_ERROR(LoadEnum(stored.role(), Role::kFrozen, "role", &tensor.role));
  return tensor;
}

void StoreGroup(const GroupSpec& group, v1::StoredGroup* stored) {
  stored->set_name(group.name);
  for (const std::string& tensor : group.tensors) stored->add_tensors(tensor);
  if (group.inner) StoreRule(*group.inner, stored->mutable_inner());
  stored->set_lr_scale(group.lr_scale);
}

GroupSpec LoadGroup(const v1::StoredGroup& stored) {
  GroupSpec group{.name = stored.name(), .tensors = {stored.tensors().begin(), stored.tensors().end()}};
  if (stored.has_inner()) group.inner = LoadRule(stored.inner());
  group.lr_scale = stored.lr_scale();
  return group;
}

void StoreAverages(const std::vector<AverageSpec>& averages, v1::StoredSpec* stored) {
  for (const AverageSpec& average : averages) {
    v1::StoredAverage* const entry = stored->add_averages();
    entry->set_name(average.name);
    StoreRule(average.rule, entry->mutable_rule());
  }
}

std::vector<AverageSpec> LoadAverages(const v1::StoredSpec& stored) {
  std::vector<AverageSpec> averages;
  for (const v1::StoredAverage& average : stored.averages()) {
    averages.push_back({.name = average.name(), .rule = LoadRule(average.rule())});
  }
  return averages;
}

void StoreFragments(const FragmentSpec& fragments, v1::StoredFragments* stored) {
  stored->set_count(fragments.count);
  for (const FragmentPart& part : fragments.parts) {
    v1::StoredFragments::Part* const entry = stored->add_parts();
    for (const std::string& tensor : part.tensors) entry->add_tensors(tensor);
    if (part.offset) entry->set_offset(*part.offset);
  }
  stored->set_overlap_steps(fragments.overlap_steps);
  if (fragments.mixing) stored->set_mixing(*fragments.mixing);
}

FragmentSpec LoadFragments(const v1::StoredFragments& stored) {
  FragmentSpec fragments{.count = stored.count(), .overlap_steps = stored.overlap_steps()};
  for (const v1::StoredFragments::Part& entry : stored.parts()) {
    FragmentPart& part = fragments.parts.emplace_back();
    part.tensors = {entry.tensors().begin(), entry.tensors().end()};
    if (entry.has_offset()) part.offset = entry.offset();
  }
  if (stored.has_mixing()) fragments.mixing = stored.mixing();
  return fragments;
}

void StoreRounds(const RoundSpec& rounds, v1::StoredRounds* stored) {
  stored->set_policy(Number(rounds.policy));
  stored->set_quorum(rounds.quorum);
  stored->set_deadline_seconds(rounds.deadline_seconds);
  stored->set_buffer_pushes(rounds.buffer_pushes);
  if (rounds.max_staleness) stored->set_max_staleness(*rounds.max_staleness);
  stored->set_reduction(Number(rounds.reduction));
  stored->set_accumulate(Number(rounds.accumulate));
  stored->set_weighting(Number(rounds.weighting));
  stored->set_max_workers(rounds.max_workers);
  stored->set_staleness_exponent(rounds.staleness_exponent);
  stored->set_staleness_name(rounds.staleness.name);
  StoreNumbers(rounds.staleness.values, stored->mutable_staleness_values());
  stored->set_grace_seconds(rounds.grace_seconds);
  stored->set_grace_factor(rounds.grace_factor);
  stored->set_dynamic_local_steps(rounds.dynamic_local_steps);
  StoreRule(rounds.aggregator, stored->mutable_aggregator());
  stored->set_history_versions(rounds.history_versions);
}

absl::StatusOr<RoundSpec> LoadRounds(const v1::StoredRounds& stored) {
  RoundSpec rounds;
  RETURN_IF_ERROR(LoadEnum(stored.policy(), RoundPolicy::kBuffered, "policy", &rounds.policy));
  rounds.quorum = stored.quorum();
  rounds.deadline_seconds = stored.deadline_seconds();
  rounds.buffer_pushes = stored.buffer_pushes();
  if (stored.has_max_staleness()) rounds.max_staleness = stored.max_staleness();
  RETURN_IF_ERROR(LoadEnum(stored.reduction(), Reduction::kOrdered, "reduction", &rounds.reduction));
  RETURN_IF_ERROR(LoadEnum(stored.accumulate(), AccumulateType::kF64, "accumulate", &rounds.accumulate));
  RETURN_IF_ERROR(LoadEnum(stored.weighting(), Weighting::kSamples, "weighting", &rounds.weighting));
  rounds.max_workers = stored.max_workers();
  rounds.staleness_exponent = stored.staleness_exponent();
  rounds.staleness = {.name = stored.staleness_name(), .values = LoadNumbers(stored.staleness_values())};
  rounds.grace_seconds = stored.grace_seconds();
  rounds.grace_factor = stored.grace_factor();
  rounds.dynamic_local_steps = stored.dynamic_local_steps();
  rounds.history_versions = stored.history_versions();
  if (stored.has_aggregator()) rounds.aggregator = LoadRule(stored.aggregator());
  return rounds;
}

}  // namespace

absl::Status DamagedImage(const std::string& what) {
  return Error(absl::StatusCode::kDataLoss, "IMAGE_DAMAGED", "the snapshot's record is damaged: " + what);
}

void StoreSpec(const ModelSpec& spec, v1::StoredSpec* stored) {
  stored->set_name(spec.name);
  for (const TensorSpec& tensor : spec.tensors) StoreTensor(tensor, stored->add_tensors());
  for (const GroupSpec& group : spec.groups) StoreGroup(group, stored->add_groups());
  stored->set_mode(Number(spec.mode));
  StoreRule(spec.inner, stored->mutable_inner());
  StoreRule(spec.outer, stored->mutable_outer());
  stored->set_sync_period(spec.sync_period);
  stored->set_inner_state(Number(spec.inner_state));
  StoreRounds(spec.rounds, stored->mutable_rounds());
  stored->set_durability(Number(spec.durability));
  stored->set_snapshot_interval_seconds(spec.snapshot_interval_seconds);
  stored->set_lease_seconds(spec.lease_seconds);
  stored->set_staging_bytes(spec.staging_bytes);
  stored->set_max_live_versions(spec.max_live_versions);
  stored->set_description(spec.description);
  StoreLabels(spec.labels, stored->mutable_labels());
  stored->set_finish_after_steps(spec.finish_after_steps);
  stored->set_finish_after_samples(spec.finish_after_samples);
  stored->set_expected_push_bytes_per_s(spec.expected_push_bytes_per_s);
  stored->mutable_clip()->set_value(spec.clip.value);
  stored->mutable_clip()->set_tensor_norm(spec.clip.tensor_norm);
  stored->mutable_clip()->set_global_norm(spec.clip.global_norm);
  stored->mutable_clip()->set_contribution_norm(spec.clip.contribution_norm);
  stored->mutable_quarantine()->set_after(spec.quarantine.after);
  stored->mutable_quarantine()->set_seconds(spec.quarantine.seconds);
  StoreAverages(spec.averages, stored);
  if (spec.sync_period_schedule) {
    StoreSchedule(*spec.sync_period_schedule, stored->mutable_sync_period_schedule());
  }
  if (spec.fragments.any()) StoreFragments(spec.fragments, stored->mutable_fragments());
}

absl::StatusOr<ModelSpec> LoadSpec(const v1::StoredSpec& stored) {
  ModelSpec spec{.name = stored.name()};
  spec.tensors.reserve(stored.tensors_size());
  for (const v1::StoredTensor& tensor : stored.tensors()) {
    ASSIGN_OR_RETURN(spec.tensors.emplace_back(), LoadTensor(tensor));
  }
  for (const v1::StoredGroup& group : stored.groups()) spec.groups.push_back(LoadGroup(group));
  RETURN_IF_ERROR(LoadEnum(stored.mode(), Mode::kDelta, "mode", &spec.mode));
  spec.inner = LoadRule(stored.inner());
  spec.outer = LoadRule(stored.outer());
  spec.sync_period = stored.sync_period();
  RETURN_IF_ERROR(LoadEnum(stored.inner_state(), InnerState::kPullback, "inner_state", &spec.inner_state));
  ASSIGN_OR_RETURN(spec.rounds, LoadRounds(stored.rounds()));
  RETURN_IF_ERROR(LoadEnum(stored.durability(), Durability::kReplicated, "durability", &spec.durability));
  spec.snapshot_interval_seconds = stored.snapshot_interval_seconds();
  spec.lease_seconds = stored.lease_seconds();
  spec.staging_bytes = stored.staging_bytes();
  spec.max_live_versions = stored.max_live_versions();
  spec.description = stored.description();
  spec.labels = LoadLabels(stored.labels());
  spec.finish_after_steps = stored.finish_after_steps();
  spec.finish_after_samples = stored.finish_after_samples();
  spec.expected_push_bytes_per_s = stored.expected_push_bytes_per_s();
  spec.clip = {.value = stored.clip().value(),
               .tensor_norm = stored.clip().tensor_norm(),
               .global_norm = stored.clip().global_norm(),
               .contribution_norm = stored.clip().contribution_norm()};
  if (stored.has_quarantine())
    spec.quarantine = {.after = stored.quarantine().after(), .seconds = stored.quarantine().seconds()};
  spec.averages = LoadAverages(stored);
  if (stored.has_sync_period_schedule())
    spec.sync_period_schedule = LoadSchedule(stored.sync_period_schedule());
  if (stored.has_fragments()) spec.fragments = LoadFragments(stored.fragments());
  return spec;
}

}  // namespace stepback
