#include "client/cpp/push_window.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "client/cpp/interrupt.h"
#include "server/base/status_macros.h"

namespace stepback::client {
namespace {

// Counts the chunks that are read, so that a slow upload is told from one that stands still.
class WatchedSource final : public ChunkSource {
 public:
  WatchedSource(std::unique_ptr<ChunkSource> source, std::atomic<uint64_t>* reads)
      : source_(std::move(source)), reads_(reads) {}
  uint64_t total_bytes() const override { return source_->total_bytes(); }
  absl::StatusOr<Payload> Read(uint64_t offset, uint64_t bytes) override {
    ++*reads_;
    return source_->Read(offset, bytes);
  }

 private:
  const std::unique_ptr<ChunkSource> source_;
  std::atomic<uint64_t>* const reads_;
};

absl::Status Late(std::optional<TimePoint> deadline) {
  if (!deadline || Clock::Real()->Now() < *deadline) return absl::OkStatus();
  return absl::DeadlineExceededError("time is up: earlier pushes are still in flight");
}

}  // namespace

PushWindow::PushWindow(Options options, Hooks hooks)
    : options_(options),
      hooks_(std::move(hooks)),
      kept_(options.replay_bytes_max),
      keeps_pushes_(options.keeps_pushes) {}

PushWindow::~PushWindow() { Stop(std::chrono::nanoseconds(0)); }

// The hook of an interrupt is called without the mutex: it may wait for an interpreter whose holder waits for
// us.
absl::Status PushWindow::BeginCall(Interrupt* interrupt) {
  for (;;) {
    {
      MutexLock lock(&mu_);
      if (recovering_ && flights_.empty()) changed_.WaitFor(&mu_, kPollInterval);
      if (!recovering_ || !flights_.empty()) {
        in_call_ = true;
        return absl::OkStatus();
      }
    }
    RETURN_IF_ERROR(interrupt->Check());
  }
}

void PushWindow::EndCall() {
  MutexLock lock(&mu_);
  in_call_ = false;
}

absl::Status PushWindow::Add(PushJob job, std::optional<TimePoint> deadline, std::shared_ptr<PushState> state,
                             Interrupt* interrupt) {
  job.source = std::make_unique<WatchedSource>(std::move(job.source), &activity_);
  std::unique_ptr<Flight> flight(new Flight{.job = std::move(job),
                                            .state = std::move(state),
                                            .retry = Retry(options_.retry, &interrupt_, deadline)});
  for (;;) {
    RETURN_IF_ERROR(interrupt->Check());
    RETURN_IF_ERROR(Late(deadline));
    MutexLock lock(&mu_);
    if (cancelled_) return absl::CancelledError("the worker was cancelled or closed");
    if (flights_.size() < options_.places && !recovering_) {
      newest_sequence_ = NextSequenceLocked();
      flight->job.header.set_sequence(newest_sequence_);
      flights_.push_back(std::move(flight));
      if (threads_.size() < options_.places) threads_.emplace_back([this] { FlyAll(); });
      changed_.NotifyAll();
      return absl::OkStatus();
    }
    changed_.WaitFor(&mu_, kPollInterval);
  }
}

absl::Status PushWindow::AwaitEmpty(std::optional<TimePoint> deadline, Interrupt* interrupt) {
  for (;;) {
    {
      MutexLock lock(&mu_);
      if (!flights_.empty()) changed_.WaitFor(&mu_, kPollInterval);
      if (flights_.empty()) return absl::OkStatus();
    }
    RETURN_IF_ERROR(interrupt->Check());
    RETURN_IF_ERROR(Late(deadline));
  }
}

uint64_t PushWindow::NextSequence() const {
  MutexLock lock(&mu_);
  return NextSequenceLocked();
}

uint64_t PushWindow::NextSequenceLocked() const {
  const uint64_t newest = flights_.empty() ? 0 : newest_sequence_;
  return std::max(newest, hooks_.last_sequence()) + 1;
}

void PushWindow::Break(const absl::Status& why) {
  MutexLock lock(&mu_);
  BreakLocked(why);
}

void PushWindow::BreakLocked(const absl::Status& why) {
  if (!broken_) broken_ = why;
  for (const std::unique_ptr<Flight>& flight : flights_) {
    if (flight->attempt) flight->attempt->Cancel();
  }
  changed_.NotifyAll();
}

void PushWindow::GiveUp(const PushJob& job, const absl::Status& why) {
  MutexLock lock(&mu_);
  if (job.sent) abandoned_ = std::max(abandoned_, job.sequence());
  BreakLocked(why);
}

absl::Status PushWindow::EnsureJoined(PushJob* current, Interrupt* interrupt) {
  for (;;) {
    RETURN_IF_ERROR(interrupt->Check());
    MutexLock lock(&mu_);
    if (!recovering_ && !broken_) return absl::OkStatus();
    if (!recovering_ && flights_.empty()) {
      recovering_ = true;
      break;
    }
    changed_.WaitFor(&mu_, kPollInterval);
  }
  return RunRecovery(current, interrupt);
}

void PushWindow::RecoverIdle(const absl::Status& trouble, Interrupt* interrupt) {
  {
    MutexLock lock(&mu_);
    if (in_call_ || recovering_ || stopping_ || !flights_.empty()) return;
    BreakLocked(trouble);
    recovering_ = true;
  }
  // Failure is not the end: the next beat or the next call tries again.
  RunRecovery(nullptr, interrupt).IgnoreError();
}

// The caller has set recovering_. What breaks again meanwhile is recovered from next.
absl::Status PushWindow::RunRecovery(PushJob* current, Interrupt* interrupt) {
  Recovery pushes;
  {
    MutexLock lock(&mu_);
    pushes.cause = *std::exchange(broken_, std::nullopt);
    pushes.abandoned = abandoned_;
    pushes.kept = kept_.All();
    for (const std::unique_ptr<Flight>& flight : flights_) pushes.undecided.push_back(&flight->job);
    if (current != nullptr) pushes.undecided.push_back(current);
  }
  const absl::Status status = hooks_.recover(pushes, interrupt);
  MutexLock lock(&mu_);
  newest_lost_id_ = std::max(newest_lost_id_, kept_.DropLost());
  kept_.DropThrough(hooks_.durable_sequence());
  if (status.ok()) abandoned_ = 0;
  if (!status.ok()) BreakLocked(pushes.cause);
  if (!flights_.empty()) newest_sequence_ = flights_.back()->job.sequence();
  recovering_ = false;
  ++recoveries_;
  changed_.NotifyAll();
  return status;
}

bool PushWindow::keeps_pushes() const {
  MutexLock lock(&mu_);
  return keeps_pushes_;
}

void PushWindow::KeepNoMore() {
  MutexLock lock(&mu_);
  keeps_pushes_ = false;
  kept_.Clear();
}

bool PushWindow::HasRoom(uint64_t bytes) const {
  MutexLock lock(&mu_);
  return !keeps_pushes_ || kept_.HasRoom(BytesInFlight() + bytes);
}

bool PushWindow::LeavesNoRoom(const PushJob& job) const {
  MutexLock lock(&mu_);
  const auto is_it = [&](const std::unique_ptr<Flight>& flight) { return &flight->job == &job; };
  const size_t pushes = std::any_of(flights_.begin(), flights_.end(), is_it) ? 1 : 2;
  const uint64_t bytes = BytesInFlight() + pushes * job.source->total_bytes();
  return keeps_pushes_ && !kept_.HasRoom(bytes, flights_.size() + pushes);
}

uint64_t PushWindow::BytesInFlight() const {
  uint64_t bytes = 0;
  for (const std::unique_ptr<Flight>& flight : flights_) bytes += flight->job.source->total_bytes();
  return bytes;
}

void PushWindow::Keep(PushJob job) {
  MutexLock lock(&mu_);
  KeepLocked(std::move(job));
}

void PushWindow::KeepLocked(PushJob job) {
  const uint64_t durable = hooks_.durable_sequence();
  if (keeps_pushes_ && job.sequence() > durable) kept_.Add(std::move(job));
  kept_.DropThrough(durable);
}

void PushWindow::DropDurable() {
  MutexLock lock(&mu_);
  kept_.DropThrough(hooks_.durable_sequence());
}

uint64_t PushWindow::kept_bytes() const {
  MutexLock lock(&mu_);
  return kept_.bytes();
}

std::optional<v1::PushResponse> PushWindow::AnswerOf(uint64_t job_id) const {
  MutexLock lock(&mu_);
  const PushJob* const job = kept_.Find(job_id);
  return job == nullptr ? std::nullopt : job->answer;
}

bool PushWindow::IsLost(uint64_t job_id) const {
  MutexLock lock(&mu_);
  return newest_lost_id_ == job_id;
}

void PushWindow::Cancel() {
  interrupt_.Cancel();
  MutexLock lock(&mu_);
  cancelled_ = true;
  for (const std::unique_ptr<Flight>& flight : flights_) {
    if (flight->attempt) flight->attempt->Cancel();
  }
  changed_.NotifyAll();
}

void PushWindow::Stop(std::chrono::nanoseconds patience) {
  {
    MutexLock lock(&mu_);
    uint64_t seen = activity_;
    TimePoint moved = Clock::Real()->Now();
    while (!flights_.empty() && !cancelled_) {
      if (seen != activity_) moved = Clock::Real()->Now();
      seen = activity_;
      const auto left = moved + patience - Clock::Real()->Now();
      if (left <= left.zero()) break;
      changed_.WaitFor(&mu_, left);
    }
    stopping_ = true;
  }
  Cancel();
  std::vector<std::thread> threads;
  {
    MutexLock lock(&mu_);
    threads.swap(threads_);
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace stepback::client
