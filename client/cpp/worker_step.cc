// Step: push, wait for the round, receive the new version. Until the push is decided the whole call is
// repeated; from then on only the weights are fetched, because the caller's memory may already hold parts of
// the new version.
#include <fmt/format.h>

#include "client/cpp/caller_memory.h"
#include "client/cpp/convert.h"
#include "client/cpp/worker_impl.h"
#include "server/base/errors.h"
#include "server/base/status_macros.h"

namespace stepback::client {

struct WorkerImpl::StepState {
  v1::PullRequest pull;
  PullTarget* target = nullptr;
  const PayloadLayout* pushed = nullptr;
  uint64_t job_id = 0;
  uint64_t sequence = 0;
  std::optional<v1::PushResponse> accepted;
  bool pulled = false;
  StepResult result;
};

absl::StatusOr<StepResult> WorkerImpl::Step(v1::PushKind kind, std::span<const TensorData> data,
                                            std::span<const TensorSink> sinks, const PushOptions& options) {
  MutexLock lock(&call_mu_);
  RETURN_IF_ERROR(CheckPush(kind, options.fragment));
  const PushWindow::Call call(&window_, &interrupt_);
  RETURN_IF_ERROR(call.status());
  if (IsAverageView(options.view)) {
    return absl::InvalidArgumentError(
        fmt::format("worker '{}': a step cannot continue from view '{}'; pull it", client_id_, options.view));
  }
  const std::optional<TimePoint> deadline = Deadline(options.timeout);
  RETURN_IF_ERROR(window_.AwaitEmpty(deadline, &interrupt_));
  StepState state{.pull = NewPullRequest(options.view)};
  ASSIGN_OR_RETURN(const PayloadLayout pull_layout,
                   PullLayout(sinks, "", &base_, held_.get(), options.fragment, &state.pull));
  PullTarget target(&pull_layout, sinks, &base_, held_.get(), options.fragment);
  state.target = &target;
  Retry retry(model_->server->options().retry, &interrupt_, deadline);
  const CallerMemory lent(data_.get());
  PayloadLayout push_layout;
  ASSIGN_OR_RETURN(PushJob job,
                   MakeJob(kind, data, options, lent.Share(), window_.keeps_pushes(), &push_layout));
  state.pushed = &push_layout;
  RETURN_IF_ERROR(MakeRoom(job.source->total_bytes(), &retry));
  Count([](Statistics* stats) { ++stats->steps; });

  absl::Status status = StepUntilDecided(&state, &job, &retry);
  state.job_id = job.id;
  state.sequence = job.sequence();
  if (state.accepted) {
    Accepted(*state.accepted, push_layout);
    state.result.push = FromProto(*state.accepted);
    if (!IsResync(status)) window_.Keep(std::move(job));
  } else {
    window_.GiveUp(job, status);
  }
  if (status.ok() && !state.pulled) status = PullRest(&state, &retry);
  if (!status.ok()) window_.Break(status);
  if (IsResync(status)) status = ResyncStep(&state, status, &retry);
  RETURN_IF_ERROR(status);
  if (state.result.push.outcome == Outcome::kSkipped) state.result.outcome = Outcome::kSkipped;
  return std::move(state.result);
}

// OK once the push is decided, with or without the weights.
absl::Status WorkerImpl::StepUntilDecided(StepState* state, PushJob* job, Retry* retry) {
  for (;;) {
    absl::Status status = BeforeAttempt(job, &interrupt_);
    if (status.ok()) {
      Download download = state->target->NewDownload(model_->info.fingerprint, &state->pull);
      ByteCounts bytes;
      job->sent = true;
      state->pull.set_epoch(session_.epoch());
      StepAttempt attempt =
          StepOnce(data_.get(), job, state->pull, &download, Streams(retry->TimeLeft()), &interrupt_, &bytes);
      Count(bytes);
      job->answer = state->accepted = std::move(attempt.accepted);
      state->result.wait_seconds += attempt.wait_seconds;
      if (attempt.status.ok()) attempt.status = CheckTerm(download.info().version);
      if (attempt.status.ok()) {
        RETURN_IF_ERROR(OnPulled(download, state->target, state->pull));
        state->result.pull = download.info();
        state->pulled = true;
        return absl::OkStatus();
      }
      if (IsResync(attempt.status)) return attempt.status;
      status = Broke(attempt.status);
      // Fetching the rest is PullRest's, which does not need the caller's weights any more.
      if (state->accepted && IsTransient(status)) return absl::OkStatus();
    }
    RETURN_IF_ERROR(retry->Wait(status));
  }
}

// The push is decided; fetches the version that has it. A server that has lost it since gets it again
// (Recover), or the step ends as resynced.
absl::Status WorkerImpl::PullRest(StepState* state, Retry* retry) {
  for (;;) {
    absl::Status status = BeforeAttempt(nullptr, &interrupt_);
    if (status.ok()) {
      if (IsLost(*state)) {
        return Error(absl::StatusCode::kAborted, "RESYNC",
                     fmt::format("the server has lost push {} of worker '{}'", state->sequence, client_id_));
      }
      // The replay's answer replaces the first one: it may have closed the round itself.
      const v1::PushResponse answer = window_.AnswerOf(state->job_id).value_or(*state->accepted);
      const bool waits = FromProto(answer).outcome == Outcome::kBuffered;
      v1::PullRequest request = state->pull;
      request.set_epoch(session_.epoch());
      request.set_wait(waits);
      if (waits) *request.mutable_since() = answer.version();
      Download download = state->target->NewDownload(model_->info.fingerprint, &request);
      ByteCounts bytes;
      status = PullOnce(data_.get(), request, &download, Streams(retry->TimeLeft()), &interrupt_, &bytes);
      Count(bytes);
      if (status.ok()) status = CheckTerm(download.info().version);
      if (status.ok()) {
        RETURN_IF_ERROR(OnPulled(download, state->target, request));
        state->result.pull = download.info();
        return absl::OkStatus();
      }
      if (IsResync(status)) return status;
      status = Broke(status);
    }
    RETURN_IF_ERROR(retry->Wait(status));
  }
}

bool WorkerImpl::IsLost(const StepState& state) const {
  if (setup_.keeps_pushes) return window_.IsLost(state.job_id);
  return !IsDecided(state.sequence);
}

absl::Status WorkerImpl::ResyncStep(StepState* state, const absl::Status& why, Retry* retry) {
  // A round in which every push overflowed ends without a version; that is no reason to resync.
  const bool skipped = state->accepted && state->accepted->outcome() == v1::PUSH_OUTCOME_SKIPPED;
  if (!skipped) ResetFeedback(*state->pushed);
  state->result.push = skipped ? FromProto(*state->accepted) : Resynced(why, state->sequence);
  state->result.outcome = skipped ? Outcome::kSkipped : Outcome::kResynced;
  ASSIGN_OR_RETURN(state->result.pull, PullUntilDone(state->pull, state->target, retry));
  return absl::OkStatus();
}

}  // namespace stepback::client
