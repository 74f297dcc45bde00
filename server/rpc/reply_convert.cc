#include "server/rpc/reply_convert.h"

#include "server/core/layout.h"
#include "server/rpc/request_convert.h"

namespace stepback {
namespace {

static_assert(static_cast<int>(PushOutcome::kSkipped) == v1::PUSH_OUTCOME_SKIPPED);

void SetTime(int64_t wall_nanos, google::protobuf::Timestamp* time) {
  constexpr int64_t kSecond = 1'000'000'000;
  time->set_seconds(wall_nanos / kSecond);
  time->set_nanos(static_cast<int32_t>(wall_nanos % kSecond));
}

std::string FingerprintBytes(const Layout& layout) {
  return std::string(layout.fingerprint().begin(), layout.fingerprint().end());
}

// The global counters stand under the same names in several messages.
template <typename From, typename Proto>
void SetCounters(const From& from, Proto* proto) {
  proto->set_inner_steps(from.inner_steps);
  proto->set_outer_steps(from.outer_steps);
  proto->set_samples(from.samples);
}

void SetHealth(const WorkerHealth& health, v1::WorkerHealth* proto) {
  if (health.train_loss) proto->set_train_loss(*health.train_loss);
  if (health.tokens) proto->set_tokens(*health.tokens);
  if (health.tokens_per_second) proto->set_tokens_per_second(*health.tokens_per_second);
  if (health.gradient_norm) proto->set_gradient_norm(*health.gradient_norm);
  if (health.inner_learning_rate) proto->set_inner_learning_rate(*health.inner_learning_rate);
  if (health.compute_seconds) proto->set_compute_seconds(*health.compute_seconds);
  if (health.wait_seconds) proto->set_wait_seconds(*health.wait_seconds);
}

// Like the tensor table, the ranges are left out of listings.
v1::Fragment FragmentToProto(const ModelVersion& version, uint32_t fragment, bool with_ranges) {
  const FragmentTable& table = version.layout->fragments();
  v1::Fragment proto;
  if (with_ranges) {
    for (const ElementRange& range : table[fragment].ranges) {
      v1::Range* const out = proto.add_ranges();
      out->set_begin(range.begin);
      out->set_count(range.count);
    }
  }
  proto.set_offset(FragmentOffset(*version.spec, fragment, table.size()));
  *proto.mutable_version() = VersionToProto(version.fragments[fragment].version);
  SetCounters(version.fragments[fragment], &proto);
  return proto;
}

}  // namespace

v1::Version VersionToProto(const Version& version) {
  v1::Version proto;
  proto.set_term(version.term);
  proto.set_counter(version.counter);
  return proto;
}

v1::PushResponse AnswerToProto(const PushAnswer& answer) {
  v1::PushResponse proto;
  proto.set_outcome(static_cast<v1::PushOutcome>(answer.outcome));
  if (answer.outcome == PushOutcome::kDuplicate) {
    proto.set_first_outcome(static_cast<v1::PushOutcome>(answer.first_outcome));
  }
  *proto.mutable_version() = VersionToProto(answer.version);
  proto.set_sequence(answer.sequence);
  proto.set_durable_sequence(answer.durable_sequence);
  proto.set_reason(answer.reason);
  proto.set_staleness(answer.staleness);
  proto.set_settings_version(answer.settings_version);
  SetCounters(answer, &proto);
  proto.set_finished(answer.finished);
  proto.set_loss_scale(answer.loss_scale);
  proto.set_local_steps(answer.local_steps);
  return proto;
}

v1::Model ModelToProto(const ModelInfo& info, bool with_tensors) {
  const ModelVersion& version = *info.version;
  v1::Model proto;
  *proto.mutable_spec() = SpecToProto(*version.spec, with_tensors);
  *proto.mutable_version() = VersionToProto(version.version);
  *proto.mutable_durable_version() = VersionToProto(info.durable_version);
  proto.set_settings_version(version.settings_version);
  proto.set_fingerprint(FingerprintBytes(*version.layout));
  proto.set_parameters(version.layout->elements());
  SetCounters(version, &proto);
  proto.set_sessions(info.sessions);
  SetTime(info.created_wall_nanos, proto.mutable_created_at());
  proto.set_finished(version.finished);
  proto.set_state_bytes(info.state_bytes);
  proto.set_unhealthy_reason(info.unhealthy_reason);
  for (uint32_t f = 0; f < version.fragments.size(); ++f) {
    *proto.add_fragments() = FragmentToProto(version, f, with_tensors);
  }
  return proto;
}

v1::Snapshot SnapshotToProto(const std::string& model, const SnapshotInfo& info) {
  v1::Snapshot proto;
  proto.set_model(model);
  proto.set_generation(info.generation);
  proto.set_label(info.label);
  *proto.mutable_version() = VersionToProto(info.version);
  SetTime(info.wall_nanos, proto.mutable_created_at());
  proto.set_bytes(info.bytes);
  SetCounters(info, &proto);
  return proto;
}

v1::Session SessionToProto(const std::string& model, const SessionInfo& info, uint64_t durable_sequence) {
  v1::Session proto;
  proto.set_model(model);
  proto.set_client_id(info.client_id);
  proto.set_role(static_cast<v1::SessionRole>(info.role));
  proto.set_epoch(info.epoch);
  proto.set_last_sequence(info.last_sequence);
  proto.set_durable_sequence(durable_sequence);
  proto.set_lease_remaining_seconds(info.lease_remaining_seconds);
  proto.set_contributed(info.contributed);
  proto.set_pushes(info.pushes);
  SetHealth(info.health, proto.mutable_health());
  proto.set_staleness(info.staleness);
  proto.set_quarantine_remaining_seconds(info.quarantine_remaining_seconds);
  return proto;
}

v1::OpenSessionResponse OpenedToProto(const SessionOpened& opened) {
  const ModelVersion& version = *opened.version;
  v1::OpenSessionResponse proto;
  proto.set_epoch(opened.session.epoch);
  proto.set_last_sequence(opened.session.last_sequence);
  proto.set_durable_sequence(opened.durable_sequence);
  for (const SessionOpened::Partial& partial : opened.partial_uploads) {
    auto* out = proto.add_partial_uploads();
    out->set_sequence(partial.sequence);
    out->set_part(partial.part);
    out->set_bytes_received(partial.bytes_received);
  }
  *proto.mutable_settings() = SettingsToProto(version);
  *proto.mutable_version() = VersionToProto(version.version);
  proto.set_lease_seconds(version.spec->lease_seconds);
  for (const kernels::CodecInfo& codec : kernels::Codecs()) proto.add_codecs(std::string(codec.name));
  proto.set_finished(version.finished);
  proto.set_local_steps(opened.session.local_steps);
  const std::vector<uint64_t>& missing = opened.session.missing;
  proto.mutable_missing_sequences()->Add(missing.begin(), missing.end());
  return proto;
}

v1::HeartbeatResponse HeartbeatToProto(const HeartbeatAnswer& answer) {
  v1::HeartbeatResponse proto;
  *proto.mutable_version() = VersionToProto(answer.version->version);
  proto.set_durable_sequence(answer.durable_sequence);
  proto.set_settings_version(answer.version->settings_version);
  proto.set_lease_seconds(answer.version->spec->lease_seconds);
  proto.set_finished(answer.version->finished);
  return proto;
}

v1::PullHeader PullHeaderToProto(const ModelVersion& version, int codec) {
  v1::PullHeader proto;
  *proto.mutable_version() = VersionToProto(version.version);
  proto.set_codec(std::string(kernels::Codecs()[codec].name));
  *proto.mutable_settings() = SettingsToProto(version);
  proto.set_fingerprint(FingerprintBytes(*version.layout));
  if (version.fragments.empty()) *proto.add_fragment_versions() = VersionToProto(version.version);
  for (const FragmentState& fragment : version.fragments) {
    *proto.add_fragment_versions() = VersionToProto(fragment.version);
    proto.add_fragment_steps(fragment.outer_steps);
  }
  SetCounters(version, &proto);
  proto.set_finished(version.finished);
  return proto;
}

v1::Difference DifferenceToProto(const PullReader::Difference& difference) {
  v1::Difference proto;
  proto.set_form(std::string(DifferenceName(difference.codec)));
  if (difference.base.term != 0) *proto.mutable_base() = VersionToProto(difference.base);
  proto.set_chain(difference.chain);
  proto.set_count(difference.count);
  return proto;
}

}  // namespace stepback
