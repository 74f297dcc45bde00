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
  RETURN_IF_ERROR(window_.EnsureJoined(job, interrupt));
  if (job != nullptr) Address(job);
  return absl::OkStatus();
}

// Notes what a failed attempt means for the session; returns what the retry is to judge.
absl::Status WorkerImpl::Broke(const absl::Status& failure) {
  if (IsSessionLoss(failure)) {
    window_.Break(failure);
    return absl::UnavailableError(failure.message());
  }
  // Requests for patience and reads put aside leave the session as it is.
  if (IsTransient(failure) && !RetryAfterOf(failure) && ReasonOf(failure) != "VERSION_GONE") {
    window_.Break(failure);
  }
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

// Only the server knows which numbers are used up, and which pushes it has: it is asked first.
absl::Status WorkerImpl::Recover(const PushWindow::Recovery& pushes, Interrupt* interrupt) {
  const uint64_t epoch = session_.epoch();
  RETURN_IF_ERROR(session_.Rejoin(pushes.cause, interrupt));
  if (session_.epoch() == epoch && LeavesGap(pushes)) RETURN_IF_ERROR(session_.Renew(interrupt));
  if (IsTransient(pushes.cause) || IsSessionLoss(pushes.cause)) {
    Count([](Statistics* stats) { ++stats->reconnects; });
  }
  for (PushJob* kept : pushes.kept) {
    if (IsDecided(kept->sequence())) continue;
    if (const absl::Status replayed = Replay(kept, interrupt); !replayed.ok()) return Broke(replayed);
  }
  Number(pushes.undecided);
  return absl::OkStatus();
}

// Whether a number is to be given anew while the server may hold another push under it, whole and undecided:
// it would take that one. A new session makes it let go.
bool WorkerImpl::LeavesGap(const PushWindow::Recovery& pushes) const {
  if (options_.ranks > 1) return false;  // the other ranks' parts are under the same numbers
  uint64_t next = session_.last_sequence() + 1;
  if (pushes.abandoned >= next) return true;
  for (const PushJob* job : pushes.undecided) {
    if (job->sequence() == 0 || IsDecided(job->sequence()) || session_.IsMissing(job->sequence())) continue;
    if (job->sequence() != next++) return true;
  }
  return false;
}

void WorkerImpl::Number(const std::vector<PushJob*>& undecided) const {
  uint64_t next = session_.last_sequence() + 1;
  for (PushJob* job : undecided) {
    const uint64_t sequence = job->sequence();
    if (sequence != 0 && (IsDecided(sequence) || session_.IsMissing(sequence))) continue;
    if (sequence != next) job->sent = false;
    job->header.set_sequence(next++);
  }
}

// OK when the push is decided, also when it is refused for good: it is then lost.
absl::Status WorkerImpl::Replay(PushJob* job, Interrupt* interrupt) {
  if (!session_.IsMissing(job->sequence())) Number({job});
  const absl::StatusOr<v1::PushResponse> response = SendOnce(job, {}, interrupt);
  if (response.ok()) {
    session_.OnDecided(*response);
    job->answer = *response;
    Count([](Statistics* stats) { ++stats->replays; });
    return absl::OkStatus();
  }
  if (IsTransient(response.status()) || IsSessionLoss(response.status())) return response.status();
  if (absl::IsCancelled(response.status())) return response.status();
  job->lost = true;
  Count([](Statistics* stats) { ++stats->lost; });
  return session_.Rejoin(absl::OkStatus(), interrupt);
}

// Who sends and where this attempt starts: nothing to send for a push that is decided already, the rest of
// one that the server holds in part.
void WorkerImpl::Address(PushJob* job) const {
  const uint64_t total = job->source->total_bytes();
  if (job->sequence() == 0) job->header.set_sequence(session_.last_sequence() + 1);
  // What the server holds under the number may be of another push, which was given up.
  const uint64_t held = job->sent ? std::min(session_.BytesHeld(job->sequence(), options_.rank), total) : 0;
  job->header.set_epoch(session_.epoch());
  job->header.set_resume_offset(IsDecided(job->sequence()) ? total : held);
  job->header.set_save_soon(window_.LeavesNoRoom(*job));
}

absl::StatusOr<v1::PushResponse> WorkerImpl::SendOnce(PushJob* job, std::chrono::nanoseconds timeout,
                                                      Interrupt* interrupt) {
  Address(job);
  job->sent = true;
  ByteCounts bytes;
  absl::StatusOr<v1::PushResponse> response = PushOnce(data_.get(), job, Streams(timeout), interrupt, &bytes);
  Count(bytes);
  return response;
}

bool WorkerImpl::IsDecided(uint64_t sequence) const {
  return sequence <= session_.last_sequence() && !session_.IsMissing(sequence);
}

// The server has been asked to save when the last push that fits was sent (PushHeader.save_soon), so mostly
// it has done so meanwhile. Else it is asked again, and waited for.
//
// A flush waits for the open round. While this worker has no push in it, the round may in turn wait for this
// worker; so what is published already is saved first.
absl::Status WorkerImpl::MakeRoom(uint64_t bytes, Retry* retry) {
  window_.DropDurable();
  while (!window_.HasRoom(bytes)) {
    absl::Status status = BeforeAttempt(nullptr, &interrupt_);
    if (status.ok()) status = Broke(LearnDurable(&interrupt_));
    if (status.ok() && window_.HasRoom(bytes)) break;
    if (status.ok()) status = Broke(SaveOnce(&interrupt_));
    // The rest is in an open round. Only pushes fill one of BUFFERED: not sending this one could keep it
    // open.
    const bool filling = model_->info.definition.rounds.policy == RoundPolicy::kBuffered;
    if (status.ok() && (filling || window_.HasRoom(bytes))) break;
    if (status.ok()) status = Broke(FlushOnce(&interrupt_));
    if (status.ok() && window_.HasRoom(bytes)) break;
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
    window_.KeepNoMore();
    return absl::OkStatus();
  }
  RETURN_IF_ERROR(saved);
  return LearnDurable(interrupt);
}

absl::Status WorkerImpl::LearnDurable(Interrupt* interrupt) {
  RETURN_IF_ERROR(session_.Heartbeat(std::nullopt, interrupt));
  window_.DropDurable();
  return absl::OkStatus();
}

void WorkerImpl::OnHeartbeatTrouble(const absl::Status& trouble, Interrupt* interrupt) {
  if (IsSessionLoss(trouble)) window_.RecoverIdle(trouble, interrupt);
}

}  // namespace stepback::client
