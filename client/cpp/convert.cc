#include "client/cpp/convert.h"

namespace stepback::client {
namespace {

// The SDK's enumerations carry the proto's numbers; 0 (unspecified) becomes the default that the proto names.
template <typename To, typename From>
To Cast(From value, To unspecified) {
  return static_cast<int>(value) == 0 ? unspecified : static_cast<To>(static_cast<int>(value));
}

void FillSchedule(const Schedule& schedule, v1::Schedule* out) {
  out->set_name(schedule.name);
  out->mutable_values()->insert(schedule.values.begin(), schedule.values.end());
}

Schedule ScheduleFrom(const v1::Schedule& schedule) {
  return {schedule.name(), {schedule.values().begin(), schedule.values().end()}};
}

void FillRule(const Rule& rule, v1::RuleSpec* out) {
  out->set_name(rule.name);
  out->mutable_values()->insert(rule.values.begin(), rule.values.end());
  out->mutable_options()->insert(rule.options.begin(), rule.options.end());
  for (const auto& [hyper, schedule] : rule.schedules) {
    FillSchedule(schedule, &(*out->mutable_schedules())[hyper]);
  }
}

Rule RuleFrom(const v1::RuleSpec& spec) {
  Rule rule{.name = spec.name()};
  rule.values.insert(spec.values().begin(), spec.values().end());
  rule.options.insert(spec.options().begin(), spec.options().end());
  for (const auto& [hyper, schedule] : spec.schedules()) {
    rule.schedules[hyper] = ScheduleFrom(schedule);
  }
  return rule;
}

void FillTensor(const Tensor& tensor, v1::Tensor* out) {
  out->set_name(tensor.name);
  out->mutable_shape()->Add(tensor.shape.begin(), tensor.shape.end());
  out->set_dtype(static_cast<v1::DataType>(tensor.dtype));
  out->set_role(static_cast<v1::TensorRole>(tensor.role));
}

Tensor TensorFrom(const v1::Tensor& tensor) {
  return {.name = tensor.name(),
          .shape = {tensor.shape().begin(), tensor.shape().end()},
          .dtype = Cast(tensor.dtype(), DataType::kF32),
          .role = Cast(tensor.role(), Role::kTrained)};
}

void FillGroup(const Group& group, v1::TensorGroup* out) {
  out->set_name(group.name);
  out->mutable_tensors()->Add(group.tensors.begin(), group.tensors.end());
  if (group.inner) FillRule(*group.inner, out->mutable_inner());
  out->set_lr_scale(group.lr_scale);
}

Group GroupFrom(const v1::TensorGroup& group) {
  Group out{.name = group.name(), .tensors = {group.tensors().begin(), group.tensors().end()}};
  if (group.has_inner()) out.inner = RuleFrom(group.inner());
  if (group.lr_scale() != 0) out.lr_scale = group.lr_scale();
  return out;
}

void FillRounds(const Rounds& rounds, v1::RoundSpec* out) {
  out->set_policy(static_cast<v1::RoundPolicy>(rounds.policy));
  out->set_quorum(rounds.quorum);
  out->set_deadline_seconds(rounds.deadline_seconds);
  out->set_buffer_pushes(rounds.buffer_pushes);
  if (rounds.max_staleness) out->set_max_staleness(*rounds.max_staleness);
  out->set_reduction(static_cast<v1::Reduction>(rounds.reduction));
  out->set_accumulate(static_cast<v1::AccumulateType>(rounds.accumulate));
  out->set_weighting(static_cast<v1::Weighting>(rounds.weighting));
  out->set_max_workers(rounds.max_workers);
  out->set_staleness_exponent(rounds.staleness_exponent);
  if (rounds.staleness != Staleness()) {
    out->mutable_staleness()->set_name(rounds.staleness.name);
    const auto& values = rounds.staleness.values;
    out->mutable_staleness()->mutable_values()->insert(values.begin(), values.end());
  }
  out->set_grace_seconds(rounds.grace_seconds);
  out->set_grace_factor(rounds.grace_factor);
  out->set_dynamic_local_steps(rounds.dynamic_local_steps);
  out->set_history_versions(rounds.history_versions);
  if (rounds.aggregator) FillRule(*rounds.aggregator, out->mutable_aggregator());
}

Rounds RoundsFrom(const v1::RoundSpec& spec) {
  Rounds rounds;
  rounds.policy = Cast(spec.policy(), RoundPolicy::kSync);
  if (spec.quorum() != 0) rounds.quorum = spec.quorum();
  rounds.deadline_seconds = spec.deadline_seconds();
  if (spec.buffer_pushes() != 0) rounds.buffer_pushes = spec.buffer_pushes();
  if (spec.has_max_staleness()) rounds.max_staleness = spec.max_staleness();
  rounds.reduction = Cast(spec.reduction(), Reduction::kRunning);
  rounds.accumulate = Cast(spec.accumulate(), AccumulateType::kF32);
  rounds.weighting = Cast(spec.weighting(), Weighting::kEqual);
  if (spec.max_workers() != 0) rounds.max_workers = spec.max_workers();
  rounds.staleness_exponent = spec.staleness_exponent();
  rounds.staleness = {spec.staleness().name(),
                      {spec.staleness().values().begin(), spec.staleness().values().end()}};
  rounds.grace_seconds = spec.grace_seconds();
  rounds.grace_factor = spec.grace_factor();
  rounds.dynamic_local_steps = spec.dynamic_local_steps();
  rounds.history_versions = spec.history_versions();
  const std::string& aggregator = spec.aggregator().name();
  if (!aggregator.empty() && aggregator != "mean") rounds.aggregator = RuleFrom(spec.aggregator());
  return rounds;
}

void FillClip(const Clip& clip, v1::Clipping* out) {
  out->set_value(clip.value);
  out->set_tensor_norm(clip.tensor_norm);
  out->set_global_norm(clip.global_norm);
  out->set_contribution_norm(clip.contribution_norm);
}

Clip ClipFrom(const v1::Clipping& clip) {
  return {.value = clip.value(),
          .tensor_norm = clip.tensor_norm(),
          .global_norm = clip.global_norm(),
          .contribution_norm = clip.contribution_norm()};
}

void FillFragments(const Fragments& fragments, v1::FragmentSpec* out) {
  out->set_count(fragments.count);
  for (const FragmentPart& part : fragments.parts) {
    v1::FragmentSpec::Part* const to = out->add_parts();
    to->mutable_tensors()->Add(part.tensors.begin(), part.tensors.end());
    if (part.offset) to->set_offset(*part.offset);
  }
  out->set_overlap_steps(fragments.overlap_steps);
  if (fragments.mixing) out->set_mixing(*fragments.mixing);
}

Fragments FragmentsFrom(const v1::FragmentSpec& spec) {
  Fragments fragments{.count = spec.count(), .overlap_steps = spec.overlap_steps()};
  for (const v1::FragmentSpec::Part& from : spec.parts()) {
    FragmentPart& part = fragments.parts.emplace_back();
    part.tensors = {from.tensors().begin(), from.tensors().end()};
    if (from.has_offset()) part.offset = from.offset();
  }
  if (spec.has_mixing()) fragments.mixing = spec.mixing();
  return fragments;
}

FragmentInfo FragmentFrom(const v1::Fragment& fragment) {
  FragmentInfo out{.offset = fragment.offset(),
                   .version = stepback::client::FromProto(fragment.version()),
                   .outer_steps = fragment.outer_steps(),
                   .inner_steps = fragment.inner_steps(),
                   .samples = fragment.samples()};
  for (const v1::Range& range : fragment.ranges()) out.ranges.push_back({range.begin(), range.count()});
  return out;
}

WallTime TimeFrom(const google::protobuf::Timestamp& time) {
  using std::chrono::duration_cast;
  const auto since_epoch = std::chrono::seconds(time.seconds()) + std::chrono::nanoseconds(time.nanos());
  return WallTime(duration_cast<WallTime::duration>(since_epoch));
}

Health HealthFrom(const v1::WorkerHealth& health) {
  Health out;
  if (health.has_train_loss()) out.train_loss = health.train_loss();
  if (health.has_tokens()) out.tokens = health.tokens();
  if (health.has_tokens_per_second()) out.tokens_per_second = health.tokens_per_second();
  if (health.has_gradient_norm()) out.gradient_norm = health.gradient_norm();
  if (health.has_inner_learning_rate()) out.inner_learning_rate = health.inner_learning_rate();
  if (health.has_compute_seconds()) out.compute_seconds = health.compute_seconds();
  if (health.has_wait_seconds()) out.wait_seconds = health.wait_seconds();
  return out;
}

Outcome OutcomeFrom(const v1::PushResponse& response) {
  const bool duplicate = response.outcome() == v1::PUSH_OUTCOME_DUPLICATE;
  switch (duplicate ? response.first_outcome() : response.outcome()) {
    case v1::PUSH_OUTCOME_BUFFERED:
      return Outcome::kBuffered;
    case v1::PUSH_OUTCOME_SKIPPED:
      return Outcome::kSkipped;
    default:
      return Outcome::kApplied;
  }
}

HyperInfo HyperFrom(const v1::ListRulesResponse::Hyper& hyper) {
  return {.name = hyper.name(),
          .default_value = hyper.default_value(),
          .min = hyper.min(),
          .max = hyper.max(),
          .min_open = hyper.min_open(),
          .max_open = hyper.max_open(),
          .integer = hyper.integer(),
          .doc = hyper.doc()};
}

// A schedule's or a staleness function's.
template <typename Proto>
std::vector<ScheduleParameter> ParametersFrom(const Proto& proto) {
  std::vector<ScheduleParameter> parameters;
  for (const auto& parameter : proto.parameters()) {
    parameters.push_back({.name = parameter.name(),
                          .required = parameter.required(),
                          .default_value = parameter.default_value(),
                          .min = parameter.min(),
                          .max = parameter.max(),
                          .integer = parameter.integer(),
                          .min_open = parameter.min_open()});
  }
  return parameters;
}

PresetInfo PresetFrom(const v1::ListRulesResponse::Preset& preset) {
  PresetInfo out{.name = preset.name(),
                 .doc = preset.doc(),
                 .citation = preset.citation(),
                 .outer = RuleFrom(preset.outer()),
                 .sync_period = preset.sync_period(),
                 .rounds = RoundsFrom(preset.rounds())};
  if (preset.mode() != v1::TRAINING_MODE_UNSPECIFIED) out.mode = Cast(preset.mode(), Mode::kDelta);
  return out;
}

RuleInfo RuleInfoFrom(const v1::ListRulesResponse::Rule& rule) {
  RuleInfo out{.name = rule.name(),
               .kind = rule.kind(),
               .citation = rule.citation(),
               .slots = {rule.slots().begin(), rule.slots().end()},
               .bytes_per_parameter = rule.bytes_per_parameter(),
               .eval_slot = rule.eval_slot(),
               .takes_weights = rule.takes_weights()};
  for (const auto& hyper : rule.hypers()) out.hypers.push_back(HyperFrom(hyper));
  return out;
}

}  // namespace

v1::Version ToProto(Version version) {
  v1::Version out;
  out.set_term(version.term);
  out.set_counter(version.counter);
  return out;
}

v1::ModelSpec ToProto(const ModelDefinition& definition) {
  v1::ModelSpec spec;
  spec.set_name(definition.name);
  for (const Tensor& tensor : definition.tensors) FillTensor(tensor, spec.add_tensors());
  for (const Group& group : definition.groups) FillGroup(group, spec.add_groups());
  spec.set_mode(static_cast<v1::TrainingMode>(definition.mode));
  if (definition.inner) FillRule(*definition.inner, spec.mutable_inner());
  if (definition.outer) FillRule(*definition.outer, spec.mutable_outer());
  spec.set_sync_period(definition.sync_period);
  if (definition.sync_period_schedule) {
    FillSchedule(*definition.sync_period_schedule, spec.mutable_sync_period_schedule());
  }
  spec.set_inner_state(static_cast<v1::InnerStatePolicy>(definition.inner_state));
  FillRounds(definition.rounds, spec.mutable_rounds());
  spec.set_durability(static_cast<v1::Durability>(definition.durability));
  spec.set_snapshot_interval_seconds(definition.snapshot_interval_seconds);
  spec.set_lease_seconds(definition.lease_seconds);
  spec.set_staging_bytes(definition.staging_bytes);
  spec.set_max_live_versions(definition.max_live_versions);
  spec.set_description(definition.description);
  spec.mutable_labels()->insert(definition.labels.begin(), definition.labels.end());
  spec.set_finish_after_steps(definition.finish_after_steps);
  spec.set_finish_after_samples(definition.finish_after_samples);
  spec.set_expected_push_bytes_per_s(definition.expected_push_bytes_per_s);
  if (definition.quarantine.after) spec.mutable_quarantine()->set_after(*definition.quarantine.after);
  if (definition.quarantine.seconds != 0) spec.mutable_quarantine()->set_seconds(definition.quarantine.seconds);
  if (definition.clip != Clip()) FillClip(definition.clip, spec.mutable_clip());
  for (const Average& average : definition.averages) {
    v1::AverageSpec* const to = spec.add_averages();
    to->set_name(average.name);
    FillRule(average.rule, to->mutable_rule());
  }
  if (definition.fragments != Fragments()) FillFragments(definition.fragments, spec.mutable_fragments());
  return spec;
}

v1::WorkerHealth ToProto(const Health& health) {
  v1::WorkerHealth out;
  if (health.train_loss) out.set_train_loss(*health.train_loss);
  if (health.tokens) out.set_tokens(*health.tokens);
  if (health.tokens_per_second) out.set_tokens_per_second(*health.tokens_per_second);
  if (health.gradient_norm) out.set_gradient_norm(*health.gradient_norm);
  if (health.inner_learning_rate) out.set_inner_learning_rate(*health.inner_learning_rate);
  if (health.compute_seconds) out.set_compute_seconds(*health.compute_seconds);
  if (health.wait_seconds) out.set_wait_seconds(*health.wait_seconds);
  return out;
}

void AddRanges(std::span<const ElementRange> ranges, google::protobuf::RepeatedPtrField<v1::Range>* out) {
  for (const ElementRange& range : ranges) {
    v1::Range* to = out->Add();
    to->set_begin(range.begin);
    to->set_count(range.count);
  }
}

Version FromProto(const v1::Version& version) { return {version.term(), version.counter()}; }

ModelDefinition FromProto(const v1::ModelSpec& spec) {
  ModelDefinition out;
  out.name = spec.name();
  for (const v1::Tensor& tensor : spec.tensors()) out.tensors.push_back(TensorFrom(tensor));
  for (const v1::TensorGroup& group : spec.groups()) out.groups.push_back(GroupFrom(group));
  out.mode = Cast(spec.mode(), Mode::kDelta);
  if (spec.has_inner()) out.inner = RuleFrom(spec.inner());
  if (spec.has_outer()) out.outer = RuleFrom(spec.outer());
  out.sync_period = spec.sync_period();
  if (spec.has_sync_period_schedule()) out.sync_period_schedule = ScheduleFrom(spec.sync_period_schedule());
  out.inner_state = Cast(spec.inner_state(), InnerState::kKeep);
  out.rounds = RoundsFrom(spec.rounds());
  out.durability = Cast(spec.durability(), Durability::kRound);
  out.snapshot_interval_seconds = spec.snapshot_interval_seconds();
  out.lease_seconds = spec.lease_seconds();
  out.staging_bytes = spec.staging_bytes();
  out.max_live_versions = spec.max_live_versions();
  out.description = spec.description();
  out.labels.insert(spec.labels().begin(), spec.labels().end());
  out.finish_after_steps = spec.finish_after_steps();
  out.finish_after_samples = spec.finish_after_samples();
  out.expected_push_bytes_per_s = spec.expected_push_bytes_per_s();
  out.clip = ClipFrom(spec.clip());
  if (spec.quarantine().has_after()) out.quarantine.after = spec.quarantine().after();
  out.quarantine.seconds = spec.quarantine().seconds();
  for (const v1::AverageSpec& average : spec.averages()) {
    out.averages.push_back({average.name(), RuleFrom(average.rule())});
  }
  out.fragments = FragmentsFrom(spec.fragments());
  return out;
}

Settings FromProto(const v1::Settings& settings) {
  Settings out{.settings_version = settings.settings_version(),
               .mode = Cast(settings.mode(), Mode::kDelta),
               .sync_period = settings.sync_period(),
               .inner = RuleFrom(settings.inner()),
               .outer = RuleFrom(settings.outer()),
               .inner_state = Cast(settings.inner_state(), InnerState::kKeep),
               .rounds = RoundsFrom(settings.rounds()),
               .clip = ClipFrom(settings.clip()),
               .takes_weights = settings.push_kind() == v1::PUSH_KIND_WEIGHTS,
               .fragments = settings.fragments().count(),
               .overlap_steps = settings.fragments().overlap_steps(),
               .mixing = settings.fragments().mixing()};
  for (const v1::TensorGroup& group : settings.groups()) out.groups.push_back(GroupFrom(group));
  return out;
}

ModelInfo FromProto(const v1::Model& model) {
  ModelInfo info{.definition = FromProto(model.spec()),
                 .version = FromProto(model.version()),
                 .durable_version = FromProto(model.durable_version()),
                 .settings_version = model.settings_version(),
                 .fingerprint = model.fingerprint(),
                 .parameters = model.parameters(),
                 .inner_steps = model.inner_steps(),
                 .outer_steps = model.outer_steps(),
                 .samples = model.samples(),
                 .sessions = model.sessions(),
                 .created_at = TimeFrom(model.created_at()),
                 .finished = model.finished(),
                 .state_bytes = model.state_bytes(),
                 .state_hash = model.state_hash(),
                 .unhealthy_reason = model.unhealthy_reason()};
  for (const v1::Fragment& fragment : model.fragments()) info.fragments.push_back(FragmentFrom(fragment));
  return info;
}

SnapshotInfo FromProto(const v1::Snapshot& snapshot) {
  return {.model = snapshot.model(),
          .generation = snapshot.generation(),
          .label = snapshot.label(),
          .version = FromProto(snapshot.version()),
          .created_at = TimeFrom(snapshot.created_at()),
          .bytes = snapshot.bytes(),
          .inner_steps = snapshot.inner_steps(),
          .outer_steps = snapshot.outer_steps(),
          .samples = snapshot.samples()};
}

SessionInfo FromProto(const v1::Session& session) {
  return {.model = session.model(),
          .client_id = session.client_id(),
          .role = Cast(session.role(), SessionRole::kTrainer),
          .epoch = session.epoch(),
          .last_sequence = session.last_sequence(),
          .durable_sequence = session.durable_sequence(),
          .lease_remaining_seconds = session.lease_remaining_seconds(),
          .quarantine_remaining_seconds = session.quarantine_remaining_seconds(),
          .contributed = session.contributed(),
          .pushes = session.pushes(),
          .staleness = session.staleness(),
          .health = HealthFrom(session.health())};
}

ServerInfo FromProto(const v1::GetServerInfoResponse& info) {
  return {.version = info.version(),
          .revision = info.revision(),
          .devices = {info.devices().begin(), info.devices().end()},
          .features = {info.features().begin(), info.features().end()},
          .protocol_version = info.protocol_version(),
          .grpc_version = info.grpc_version(),
          .uptime_seconds = info.uptime_seconds(),
          .draining = info.draining(),
          .compute_threads = info.compute_threads()};
}

RuleList FromProto(const v1::ListRulesResponse& rules) {
  RuleList out;
  for (const auto& rule : rules.rules()) out.rules.push_back(RuleInfoFrom(rule));
  for (const auto& codec : rules.codecs()) {
    out.codecs.push_back({codec.name(), codec.block_elements(), codec.error_bound()});
  }
  for (const auto& schedule : rules.schedules()) {
    out.schedules.push_back({schedule.name(), schedule.doc(), ParametersFrom(schedule)});
  }
  for (const auto& function : rules.staleness_weights()) {
    out.staleness_weights.push_back(
        {function.name(), function.doc(), function.citation(), ParametersFrom(function)});
  }
  for (const auto& preset : rules.presets()) out.presets.push_back(PresetFrom(preset));
  return out;
}

VersionEvent FromProto(const v1::WatchVersionsResponse& event) {
  return {.version = FromProto(event.version()),
          .durable_version = FromProto(event.durable_version()),
          .settings_version = event.settings_version(),
          .finished = event.finished()};
}

PushResult FromProto(const v1::PushResponse& response) {
  return {.outcome = OutcomeFrom(response),
          .duplicate = response.outcome() == v1::PUSH_OUTCOME_DUPLICATE,
          .version = FromProto(response.version()),
          .sequence = response.sequence(),
          .durable_sequence = response.durable_sequence(),
          .reason = response.reason(),
          .staleness = response.staleness(),
          .settings_version = response.settings_version(),
          .inner_steps = response.inner_steps(),
          .outer_steps = response.outer_steps(),
          .samples = response.samples(),
          .finished = response.finished(),
          .loss_scale = response.loss_scale(),
          .local_steps = response.local_steps()};
}

PullInfo FromProto(const v1::PullHeader& header) {
  return {.version = FromProto(header.version()),
          .modified = !header.not_modified(),
          .settings_version = header.settings().settings_version(),
          .inner_steps = header.inner_steps(),
          .outer_steps = header.outer_steps(),
          .samples = header.samples(),
          .finished = header.finished()};
}

}  // namespace stepback::client
