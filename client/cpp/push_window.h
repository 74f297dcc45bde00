// The pushes of one worker that are not safe yet: those in flight (at most `places`,
// JoinOptions::max_in_flight), and those that are decided but not on disk (ReplayLog). And the way back into
// the session, which all of them share.
//
// Each push in flight is sent, as often as it takes, by one of `places` threads. Pushes are numbered in the
// order of Add and retire in that order: an answer that overtakes an earlier one waits for it, so what is
// kept for replay is always a prefix. When one breaks, every attempt is cut, one thread recovers alone, and
// all go on from what the server then says: so a recovery never meets an answer of the session before.
//
// A push that ends without an answer (refused, given up) leaves the window at once; the next recovery closes
// the gap.
//
// Threads: any. The hooks `decided`, `durable_sequence` and `last_sequence` are called under the window's
// mutex.
#pragma once

#include <atomic>
#include <chrono>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include "client/cpp/push_job.h"
#include "client/cpp/push_state.h"
#include "client/cpp/replay_log.h"
#include "client/cpp/retry.h"
#include "server/base/mutex.h"

namespace stepback::client {

class PushWindow {
 public:
  static constexpr uint32_t kPlacesMax = 5;  // pushes that a server lets run ahead (reliability P4)

  // What a recovery has to bring back; ascending.
  struct Recovery {
    absl::Status cause;
    std::vector<PushJob*> kept;       // decided: sent again where the server has lost them
    std::vector<PushJob*> undecided;  // numbered anew where numbers have become free
    uint64_t abandoned = 0;           // highest number that was given up and that the server may hold
  };
  struct Hooks {
    // One attempt.
    std::function<absl::StatusOr<v1::PushResponse>(PushJob*, std::chrono::nanoseconds, Interrupt*)> send;
    // Alone: no push of the window is being sent.
    std::function<absl::Status(const Recovery&, Interrupt*)> recover;
    std::function<PushResult(const v1::PushResponse&)> decided;
    std::function<PushResult(const absl::Status& why, uint64_t sequence)> resynced;
    std::function<uint64_t()> durable_sequence;
    std::function<uint64_t()> last_sequence;
  };
  struct Options {
    uint32_t places = 1;
    uint64_t replay_bytes_max = 0;
    bool keeps_pushes = false;
    RetryOptions retry;
  };
  PushWindow(Options options, Hooks hooks);
  ~PushWindow();  // Stop

  // A data call of the worker, which has the session to itself while nothing is in flight. Waits for a
  // recovery of Recover that is under way.
  class Call {
   public:
    Call(PushWindow* window, Interrupt* interrupt) : window_(window), status_(window->BeginCall(interrupt)) {}
    ~Call() {
      if (status_.ok()) window_->EndCall();
    }
    Call(const Call&) = delete;
    Call& operator=(const Call&) = delete;
    const absl::Status& status() const { return status_; }

   private:
    PushWindow* const window_;
    const absl::Status status_;
  };

  // Takes a push whose source needs nothing of the caller any more. Waits for a free place: CANCELLED,
  // DEADLINE_EXCEEDED. The deadline is the push's own, too.
  absl::Status Add(PushJob job, std::optional<TimePoint> deadline, std::shared_ptr<PushState> state,
                   Interrupt* interrupt);
  // Waits until nothing is in flight.
  absl::Status AwaitEmpty(std::optional<TimePoint> deadline, Interrupt* interrupt);
  // The number of the next push.
  uint64_t NextSequence() const;

  // The session is to be joined again before anything else is sent. The first reason counts.
  void Break(const absl::Status& why);
  // The same after a push of the caller's (not Add's) that ended without an answer.
  void GiveUp(const PushJob& job, const absl::Status& why);
  // OK when the session is in order; recovers when it is not, with `current` (may be null) to be sent next.
  // While pushes are in flight their threads recover, and this waits.
  absl::Status EnsureJoined(PushJob* current, Interrupt* interrupt);
  // Between calls and with nothing in flight: recovers after `trouble`. Else nothing: a call will notice
  // itself.
  void RecoverIdle(const absl::Status& trouble, Interrupt* interrupt);

  // Pushes kept until they are on disk. Turned off for good by KeepNoMore.
  bool keeps_pushes() const;
  void KeepNoMore();
  bool HasRoom(uint64_t bytes) const;
  // Whether behind `job`, which is about to be sent, there is no room for another as large.
  bool LeavesNoRoom(const PushJob& job) const;
  void Keep(PushJob job);
  void DropDurable();
  uint64_t kept_bytes() const;
  // The newest answer to a push that is still kept.
  std::optional<v1::PushResponse> AnswerOf(uint64_t job_id) const;
  // Whether it is the newest push that could not be brought back.
  bool IsLost(uint64_t job_id) const;

  // Ends every push in flight with CANCELLED, and all later ones.
  void Cancel();
  // Waits for what is in flight as long as something moves within `patience`; then Cancel. Ends the threads.
  void Stop(std::chrono::nanoseconds patience);

 private:
  struct Flight {
    PushJob job;
    std::shared_ptr<PushState> state;
    Retry retry;
    bool taken = false;                // by a thread
    bool cut = false;                  // the last attempt, for a recovery
    std::optional<Interrupt> attempt;  // under way
  };
  using Calls = std::vector<std::function<void()>>;

  absl::Status BeginCall(Interrupt* interrupt);
  void EndCall();

  // push_flight.cc: one push in flight, on a thread of its own.
  void FlyAll();
  Flight* NextFlight();
  void Fly(Flight* flight);
  absl::Status Depart(Flight* flight);
  bool Arrive(Flight* flight, const absl::StatusOr<v1::PushResponse>& response);
  void Retire(Flight* flight, const v1::PushResponse& response, Calls* calls) REQUIRES(mu_);
  absl::Status Judge(Flight* flight, const absl::Status& failure);
  void Drop(Flight* flight, absl::StatusOr<PushResult> result, const absl::Status& why);
  bool IsFirst(const Flight* flight) const REQUIRES(mu_) { return flights_.front().get() == flight; }

  absl::Status RunRecovery(PushJob* current, Interrupt* interrupt);
  void BreakLocked(const absl::Status& why) REQUIRES(mu_);
  void KeepLocked(PushJob job) REQUIRES(mu_);
  uint64_t BytesInFlight() const REQUIRES(mu_);
  uint64_t NextSequenceLocked() const REQUIRES(mu_);

  const Options options_;
  const Hooks hooks_;
  Interrupt interrupt_;                 // of the threads; no hook
  std::atomic<uint64_t> activity_ = 0;  // rises with every chunk that is read and every push that ends

  mutable Mutex mu_;
  mutable CondVar changed_;
  std::deque<std::unique_ptr<Flight>> flights_ GUARDED_BY(mu_);  // ascending sequence
  ReplayLog kept_ GUARDED_BY(mu_);
  bool keeps_pushes_ GUARDED_BY(mu_);
  uint64_t newest_lost_id_ GUARDED_BY(mu_) = 0;
  std::optional<absl::Status> broken_ GUARDED_BY(mu_);  // why the session must be joined again
  uint64_t abandoned_ GUARDED_BY(mu_) = 0;
  uint64_t newest_sequence_ GUARDED_BY(mu_) = 0;  // in flight; a recovery may be numbering the jobs themselves
  bool recovering_ GUARDED_BY(mu_) = false;  // whoever set it has the jobs to itself
  uint64_t recoveries_ GUARDED_BY(mu_) = 0;
  uint32_t sending_ GUARDED_BY(mu_) = 0;
  bool in_call_ GUARDED_BY(mu_) = false;
  bool cancelled_ GUARDED_BY(mu_) = false;
  bool stopping_ GUARDED_BY(mu_) = false;
  std::vector<std::thread> threads_ GUARDED_BY(mu_);
};

}  // namespace stepback::client
