// Getting back into a session and bringing back what the server has lost.
#include <fmt/format.h>

#include "client/cpp/convert.h"
#include "client/cpp/methods.h"
#include "client/cpp/unary.h"
#include "client/cpp/worker_impl.h"
#include "server/base/errors.h"
#include "server/base/status_macros.h"

namespace stepback::client {

// Ready to send: in the session, everything lost replayed, `job` (if any) addressed.
absl::Status WorkerImpl::BeforeAttempt(PushJob* job, Interrupt* interrupt) {
  RETURN_IF_ERROR(interrupt->Check());
  if (broken_) RETURN_IF_ERROR(Recover(job, interrupt));
  if (job != nullptr) Address(job);
  return absl::OkStatus();
}

// Notes what a failed attempt means for the session; returns what the retry is to judge.
absl::Status WorkerImpl::Broke(const absl::Status& failure) {
  if (IsSessionLoss(failure)) {
    Note(failure);
    return absl::UnavailableError(failure.message());
  }
  // Requests for patience and reads put aside leave the session as it is.
  if (IsTransient(failure) && !RetryAfterOf(failure) && ReasonOf(failure) != "VERSION_GONE") Note(failure);
  return failure;
}

// A server that has started anew since this session was joined may have lost this worker's pushes, and what
// it serves lacks them until they are replayed: an answer of that kind is none.
absl::Status WorkerImpl::CheckTerm(Version pulled) const {
  if (pulled.term <= session_.term()) return absl::OkStatus();
  return absl::UnavailableError(
      fmt::format("worker '{}': version {}.{} is from a later term than the session", client_id_, pulled.term,
                  pulled.counter));
}

// The session is to be joined again before the next attempt: after a lost connection, and after a refusal,
// because only the server knows whether it has used up the number.
void WorkerImpl::Note(const absl::Status& why) {
  if (!broken_) broken_ = why;
}

absl::Status WorkerImpl::Recover(PushJob* current, Interrupt* interrupt) {
  const absl::Status cause = *broken_;
  RETURN_IF_ERROR(session_.Rejoin(cause, interrupt));
  broken_.reset();
  if (IsTransient(cause) || IsSessionLoss(cause)) Count([](Statistics* stats) { ++stats->reconnects; });
  replay_.DropThrough(session_.durable_sequence());
  absl::Status status;
  for (PushJob* lost : replay_.Lost([this](uint64_t sequence) { return !IsDecided(sequence); })) {
    status = Replay(lost, interrupt);
    if (!status.ok()) break;
  }
  replay_.DropLost();
  // A sequence number beyond what the server knows belongs to a push that nobody can bring back.
  if (current != nullptr && current->sequence() > session_.last_sequence()) current->header.set_sequence(0);
  return status.ok() ? status : Broke(status);
}

// OK when the push is decided, also when it is refused for good: it is then lost.
absl::Status WorkerImpl::Replay(PushJob* job, Interrupt* interrupt) {
  if (!session_.IsMissing(job->sequence())) job->header.set_sequence(0);
  Address(job);
  ByteCounts bytes;
  const absl::StatusOr<v1::PushResponse> response = PushOnce(data_.get(), job, Streams(), interrupt, &bytes);
  Count(bytes);
  if (response.ok()) {
    session_.OnDecided(*response);
    job->answer = *response;
    Count([](Statistics* stats) { ++stats->replays; });
    return absl::OkStatus();
  }
  if (IsTransient(response.status()) || IsSessionLoss(response.status())) return response.status();
  if (absl::IsCancelled(response.status())) return response.status();
  job->lost = true;
  newest_lost_id_ = job->id;
  Count([](Statistics* stats) { ++stats->lost; });
  return session_.Rejoin(absl::OkStatus(), interrupt);
}

// Who sends and where this attempt starts: nothing to send for a push that is decided already, the rest of
// one that the server holds in part.
void WorkerImpl::Address(PushJob* job) const {
  const uint64_t last = session_.last_sequence(), total = job->source->total_bytes();
  if (job->sequence() == 0) job->header.set_sequence(last + 1);
  const uint64_t held = std::min(session_.BytesHeld(job->sequence(), options_.rank), total);
  job->header.set_epoch(session_.epoch());
  job->header.set_resume_offset(IsDecided(job->sequence()) ? total : held);
}

bool WorkerImpl::IsDecided(uint64_t sequence) const {
  return sequence <= session_.last_sequence() && !session_.IsMissing(sequence);
}

// A flush waits for the open round. While this worker has no push in it, the round may in turn wait for this
// worker; so what is published already is saved first.
absl::Status WorkerImpl::MakeRoom(uint64_t bytes, Retry* retry) {
  replay_.DropThrough(session_.durable_sequence());
  while (keeps_pushes_ && !replay_.HasRoom(bytes)) {
    absl::Status status = BeforeAttempt(nullptr, &interrupt_);
    if (status.ok()) status = Broke(SaveOnce(&interrupt_));
    // The rest is in an open round. Only pushes fill one of BUFFERED: not sending this one could keep it
    // open.
    const bool filling = model_->info.definition.rounds.policy == RoundPolicy::kBuffered;
    if (status.ok() && (filling || replay_.HasRoom(bytes))) break;
    if (status.ok()) status = Broke(FlushOnce(&interrupt_));
    if (status.ok() && replay_.HasRoom(bytes)) break;
    // Pushes of an open round are on disk only after it closes.
    if (status.ok()) status = absl::UnavailableError("waiting for the round to close and reach the disk");
    RETURN_IF_ERROR(retry->Wait(status));
  }
  retry->Progress();
  return absl::OkStatus();
}

absl::Status WorkerImpl::SaveOnce(Interrupt* interrupt) {
  v1::SaveSnapshotRequest request;
  request.set_model(model_->name());
  const std::shared_ptr<Transport> control = model_->server->connector()->Control();
  return OnSaved(
      Call<v1::SaveSnapshotResponse>(control.get(), methods::kSaveSnapshot, request, {}, interrupt).status(),
      interrupt);
}

absl::Status WorkerImpl::FlushOnce(Interrupt* interrupt, std::chrono::nanoseconds timeout) {
  v1::FlushRequest request;
  request.set_model(model_->name());
  const std::shared_ptr<Transport> control = model_->server->connector()->Control();
  const absl::StatusOr<v1::FlushResponse> response =
      Call<v1::FlushResponse>(control.get(), methods::kFlush, request, {.timeout = timeout}, interrupt);
  const bool nothing_on_disk = response.ok() && response->durable_version().term() == 0;
  return OnSaved(nothing_on_disk ? absl::FailedPreconditionError("nothing is kept") : response.status(),
                 interrupt);
}

// After asking the server to write: lets go of what is on its disk now.
absl::Status WorkerImpl::OnSaved(const absl::Status& saved, Interrupt* interrupt) {
  Count([](Statistics* stats) { ++stats->flushes; });
  if (absl::IsUnimplemented(saved) || absl::IsFailedPrecondition(saved)) {
    // A server without a disk cannot make anything durable: keeping pushes for it is of no use.
    keeps_pushes_ = false;
    replay_.Clear();
    return absl::OkStatus();
  }
  RETURN_IF_ERROR(saved);
  RETURN_IF_ERROR(session_.Heartbeat(std::nullopt, interrupt));
  replay_.DropThrough(session_.durable_sequence());
  Count([&](Statistics* stats) { stats->replay_bytes = replay_.bytes(); });
  return absl::OkStatus();
}

void WorkerImpl::OnHeartbeatTrouble(const absl::Status& trouble, Interrupt* interrupt) {
  if (!IsSessionLoss(trouble)) return;
  const std::unique_lock<std::mutex> lock(call_mu_, std::try_to_lock);
  if (!lock.owns_lock() || closed_) return;
  Note(trouble);
  // Failure is not the end: the next beat or the next call tries again.
  Recover(nullptr, interrupt).IgnoreError();
}

}  // namespace stepback::client
