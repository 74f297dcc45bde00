#include "client/cpp/session.h"

#include <fmt/format.h>

#include <algorithm>

#include "client/cpp/convert.h"
#include "client/cpp/methods.h"
#include "client/cpp/unary.h"
#include "kernels/codec_info.h"
#include "server/base/errors.h"
#include "server/base/status_macros.h"

namespace stepback::client {
namespace {

constexpr uint32_t kProtocolVersion = 1;

}  // namespace

bool IsSessionLoss(const absl::Status& status) {
  const std::string reason = ReasonOf(status);
  return reason == "NO_SESSION" || reason == "SESSION_EXPIRED" || reason == "FENCED" ||
         reason == "ROLLED_BACK";
}

bool IsResync(const absl::Status& status) {
  const std::string reason = ReasonOf(status);
  return reason == "STALE_BASE" || reason == "RESYNC" || reason == "ROUND_DROPPED" || reason == "ROLLED_BACK";
}

Session::Session(Options options, std::shared_ptr<Transport> control)
    : options_(std::move(options)), control_(std::move(control)) {}

absl::Status Session::Open(Interrupt* interrupt) {
  if (!options_.attach_only) return OpenFresh(interrupt);
  absl::StatusOr<v1::OpenSessionResponse> response = CallOpen(/*attach=*/true, interrupt);
  if (ReasonOf(response.status()) == "NO_SESSION") {
    return Error(absl::StatusCode::kUnavailable, "NO_SESSION",
                 fmt::format("worker '{}': rank 0 has no session yet", options_.client_id));
  }
  RETURN_IF_ERROR(response.status());
  Adopt(*response);
  return absl::OkStatus();
}

absl::Status Session::Rejoin(const absl::Status& cause, Interrupt* interrupt) {
  if (options_.attach_only) return Open(interrupt);
  const bool fenced = ReasonOf(cause) == "FENCED";
  absl::StatusOr<v1::OpenSessionResponse> response = CallOpen(/*attach=*/true, interrupt);
  if (!response.ok() && !IsSessionLoss(response.status())) return response.status();
  // The newest session is this one, whatever was said of an earlier: a heartbeat may have been on its way
  // under the epoch before.
  if (response.ok() && response->epoch() == epoch()) {
    Adopt(*response);
    return absl::OkStatus();
  }
  // No session, or one of another epoch. A server that lost its sessions (restart, restore) has raised the
  // term.
  const bool taken_over = response.ok() || fenced;
  if (taken_over) {
    ASSIGN_OR_RETURN(const uint64_t term, CurrentTerm(interrupt));
    MutexLock lock(&mu_);
    if (term == term_) return FencedError();
  }
  return OpenFresh(interrupt);
}

absl::Status Session::Close(Interrupt* interrupt) {
  if (options_.attach_only) return absl::OkStatus();
  v1::CloseSessionRequest request;
  request.set_model(options_.model);
  request.set_client_id(options_.client_id);
  request.set_epoch(epoch());
  const CallLimits limits{.timeout = options_.call_timeout};
  const absl::Status status =
      Call<v1::CloseSessionResponse>(control_.get(), methods::kCloseSession, request, limits, interrupt)
          .status();
  return IsSessionLoss(status) ? absl::OkStatus() : status;
}

absl::Status Session::Heartbeat(const std::optional<Health>& health, Interrupt* interrupt) {
  v1::HeartbeatRequest request;
  request.set_model(options_.model);
  request.set_client_id(options_.client_id);
  request.set_epoch(epoch());
  if (health) *request.mutable_health() = ToProto(*health);
  const CallLimits limits{.timeout = options_.call_timeout};
  ASSIGN_OR_RETURN(
      const v1::HeartbeatResponse response,
      Call<v1::HeartbeatResponse>(control_.get(), methods::kHeartbeat, request, limits, interrupt));
  MutexLock lock(&mu_);
  Heard(FromProto(response.version()), response.durable_sequence(), response.finished());
  if (response.lease_seconds() > 0) lease_seconds_ = response.lease_seconds();
  return absl::OkStatus();
}

void Session::OnDecided(const v1::PushResponse& response) {
  MutexLock lock(&mu_);
  last_sequence_ = std::max(last_sequence_, response.sequence());
  missing_.erase(response.sequence());
  local_steps_ = response.local_steps();
  Heard(FromProto(response.version()), response.durable_sequence(), response.finished());
}

void Session::OnPulled(const PullInfo& info) {
  MutexLock lock(&mu_);
  Heard(info.version, durable_sequence_, info.finished);
}

void Session::OnSettings(const v1::Settings& settings) {
  MutexLock lock(&mu_);
  // The same settings at a later version may have another sync_period in force.
  if (settings.settings_version() >= settings_.settings_version) settings_ = FromProto(settings);
}

bool Session::IsMissing(uint64_t sequence) const {
  MutexLock lock(&mu_);
  return missing_.contains(sequence);
}

uint64_t Session::BytesHeld(uint64_t sequence, uint32_t part) const {
  MutexLock lock(&mu_);
  for (const auto& partial : partials_) {
    if (partial.sequence() == sequence && partial.part() == part) return partial.bytes_received();
  }
  return 0;
}

absl::StatusOr<v1::OpenSessionResponse> Session::CallOpen(bool attach, Interrupt* interrupt) {
  v1::OpenSessionRequest request;
  request.set_model(options_.model);
  request.set_client_id(options_.client_id);
  request.set_role(static_cast<v1::SessionRole>(options_.role));
  request.set_protocol_version(kProtocolVersion);
  request.set_fingerprint(options_.fingerprint);
  request.set_attach(attach);
  for (const kernels::CodecInfo& codec : kernels::Codecs()) request.add_codecs(std::string(codec.name));
  const CallLimits limits{.timeout = options_.call_timeout};
  return Call<v1::OpenSessionResponse>(control_.get(), methods::kOpenSession, request, limits, interrupt);
}

absl::StatusOr<uint64_t> Session::CurrentTerm(Interrupt* interrupt) {
  v1::GetModelRequest request;
  request.set_name(options_.model);
  request.set_omit_tensors(true);
  const CallLimits limits{.timeout = options_.call_timeout};
  ASSIGN_OR_RETURN(
      const v1::GetModelResponse response,
      Call<v1::GetModelResponse>(control_.get(), methods::kGetModel, request, limits, interrupt));
  return response.model().version().term();
}

absl::Status Session::OpenFresh(Interrupt* interrupt) {
  ASSIGN_OR_RETURN(const v1::OpenSessionResponse response, CallOpen(/*attach=*/false, interrupt));
  Adopt(response);
  return absl::OkStatus();
}

absl::Status Session::FencedError() const {
  return Error(
      absl::StatusCode::kFailedPrecondition, "FENCED",
      fmt::format("worker '{}' of model '{}': another process has joined under this client id, or the worker "
                  "was evicted; join again to go on",
                  options_.client_id, options_.model));
}

void Session::Adopt(const v1::OpenSessionResponse& response) {
  MutexLock lock(&mu_);
  epoch_ = response.epoch();
  term_ = response.version().term();
  last_sequence_ = response.last_sequence();  // may go back: a restart can lose pushes
  durable_sequence_ = response.durable_sequence();
  lease_seconds_ = response.lease_seconds();
  newest_version_ = std::max(newest_version_, FromProto(response.version()));
  finished_ = response.finished();
  settings_ = FromProto(response.settings());
  local_steps_ = response.local_steps();
  partials_.assign(response.partial_uploads().begin(), response.partial_uploads().end());
  missing_ = {response.missing_sequences().begin(), response.missing_sequences().end()};
}

void Session::Heard(Version version, uint64_t durable_sequence, bool finished) {
  newest_version_ = std::max(newest_version_, version);
  durable_sequence_ = std::max(durable_sequence_, durable_sequence);
  finished_ = finished_ || finished;
}

uint64_t Session::epoch() const {
  MutexLock lock(&mu_);
  return epoch_;
}

uint64_t Session::term() const {
  MutexLock lock(&mu_);
  return term_;
}

uint64_t Session::last_sequence() const {
  MutexLock lock(&mu_);
  return last_sequence_;
}

uint64_t Session::durable_sequence() const {
  MutexLock lock(&mu_);
  return durable_sequence_;
}

Version Session::newest_version() const {
  MutexLock lock(&mu_);
  return newest_version_;
}

bool Session::finished() const {
  MutexLock lock(&mu_);
  return finished_;
}

Settings Session::settings() const {
  MutexLock lock(&mu_);
  return settings_;
}

// A pull may bring a later version, and so a later point of the period's schedule, than the last answer.
uint32_t Session::local_steps() const {
  MutexLock lock(&mu_);
  if (settings_.mode != Mode::kDelta) return 0;
  return settings_.rounds.dynamic_local_steps ? local_steps_ : settings_.sync_period;
}

double Session::lease_seconds() const {
  MutexLock lock(&mu_);
  return lease_seconds_;
}

}  // namespace stepback::client
