// One push in flight: sent until it is decided, and retired after those before it.
#include <algorithm>

#include "client/cpp/push_window.h"
#include "client/cpp/session.h"
#include "server/base/errors.h"
#include "server/base/status_macros.h"

namespace stepback::client {

void PushWindow::FlyAll() {
  while (Flight* const flight = NextFlight()) Fly(flight);
}

// There are as many threads as places, so none waits for a thread.
PushWindow::Flight* PushWindow::NextFlight() {
  MutexLock lock(&mu_);
  for (;;) {
    for (const std::unique_ptr<Flight>& flight : flights_) {
      if (flight->taken) continue;
      flight->taken = true;
      return flight.get();
    }
    if (stopping_) return nullptr;
    changed_.Wait(&mu_);
  }
}

void PushWindow::Fly(Flight* flight) {
  for (;;) {
    absl::Status status = Depart(flight);
    if (status.ok()) {
      const uint64_t sequence = flight->job.sequence();
      const absl::StatusOr<v1::PushResponse> response =
          hooks_.send(&flight->job, flight->retry.TimeLeft(), &*flight->attempt);
      if (Arrive(flight, response)) return;
      if (response.ok() || flight->cut) continue;
      status = response.status();
      if (IsResync(status)) return Drop(flight, hooks_.resynced(status, sequence), status);
      status = Judge(flight, status);
    }
    status = flight->retry.Wait(status);
    if (!status.ok()) return Drop(flight, status, status);
  }
}

// In the session and counted as being sent. Recovers first when that is needed and nobody else does.
absl::Status PushWindow::Depart(Flight* flight) {
  for (;;) {
    {
      MutexLock lock(&mu_);
      while (!cancelled_ && (recovering_ || (broken_ && sending_ > 0))) changed_.Wait(&mu_);
      if (cancelled_) return absl::CancelledError("the worker was cancelled or closed");
      if (!broken_) {
        ++sending_;
        flight->attempt.emplace();
        return absl::OkStatus();
      }
      recovering_ = true;
    }
    RETURN_IF_ERROR(RunRecovery(nullptr, &interrupt_));
  }
}

// Whether the push has retired. An answer that a recovery has met is asked for again: the server may have
// lost what it is about.
bool PushWindow::Arrive(Flight* flight, const absl::StatusOr<v1::PushResponse>& response) {
  Calls calls;
  {
    MutexLock lock(&mu_);
    --sending_;
    flight->cut = flight->attempt->cancelled() && !cancelled_;
    flight->attempt.reset();
    changed_.NotifyAll();
    if (!response.ok()) return false;
    const uint64_t before = recoveries_;
    while (!IsFirst(flight) && !broken_ && recoveries_ == before && !cancelled_) changed_.Wait(&mu_);
    if (!IsFirst(flight) || recovering_ || recoveries_ != before) return false;
    Retire(flight, *response, &calls);
  }
  for (const auto& call : calls) call();
  return true;
}

void PushWindow::Retire(Flight* flight, const v1::PushResponse& response, Calls* calls) {
  *calls = flight->state->Settle(hooks_.decided(response));
  flight->job.answer = response;
  KeepLocked(std::move(flight->job));
  flights_.pop_front();
  ++activity_;
  changed_.NotifyAll();
}

// What a failed attempt means for the others; returns what the retry is to judge.
absl::Status PushWindow::Judge(Flight* flight, const absl::Status& failure) {
  const bool gap = ReasonOf(failure) == "SEQUENCE_GAP";
  {
    MutexLock lock(&mu_);
    if (!IsFirst(flight)) {
      // Its turn has not come: patience starts when it does.
      if (gap || RetryAfterOf(failure)) flight->retry.Progress();
      if (gap) return absl::UnavailableError(failure.message());
    }
  }
  if (gap || IsSessionLoss(failure)) {
    Break(failure);
    return absl::UnavailableError(failure.message());
  }
  if (IsTransient(failure) && !RetryAfterOf(failure)) Break(failure);
  return failure;
}

void PushWindow::Drop(Flight* flight, absl::StatusOr<PushResult> result, const absl::Status& why) {
  Calls calls;
  {
    MutexLock lock(&mu_);
    while (recovering_) changed_.Wait(&mu_);
    if (flight->job.sent) abandoned_ = std::max(abandoned_, flight->job.sequence());
    calls = flight->state->Settle(std::move(result));
    std::erase_if(flights_, [flight](const auto& other) { return other.get() == flight; });
    ++activity_;
    BreakLocked(why);
    changed_.NotifyAll();
  }
  for (const auto& call : calls) call();
}

}  // namespace stepback::client
