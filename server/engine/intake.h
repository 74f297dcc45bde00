// The way in for pushes of one model: checks headers, answers repeats, reserves memory in order, collects
// parts, and hands each whole push to the strand exactly once. Owned by the model's worker.
//
// Admission (decisions 6): first come, first served within the model's staging budget. A push whose turn has
// come (its client's next number, not in the open round yet, base known) is decided as soon as it is whole
// and gives its memory back. An early one would wait in the core, so it needs room that no turn needs, and
// its predecessors must be on their way. So somebody can always go on. A push reserves all of its bytes with
// its first part, so parts of different pushes cannot block each other. Parked pushes (their streams died)
// are dropped when a turn needs the room. Every wait ends: admission after `admission_wait`, parked and
// silent pushes after the lease.
//
// Threads: any. One mutex, never held while a callback runs or payload is read.
//
//   auto cancel = intake->Start(request, [](absl::StatusOr<UploadStart> start) { ... });
//   ... strand: hooks.submit(push) -> model->Apply -> intake->Answer(key, epoch, answer)
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "server/base/clock.h"
#include "server/base/mutex.h"
#include "server/engine/engine.h"
#include "server/engine/pending_push.h"
#include "server/engine/session_view.h"
#include "server/engine/strand.h"
#include "server/engine/upload_check.h"

namespace stepback {

class Intake : public std::enable_shared_from_this<Intake> {
 public:
  struct Options {
    std::shared_ptr<const ModelSpec> spec;  // name, mode and lease; rates may change later
    std::shared_ptr<const Layout> layout;
    uint64_t budget_bytes = 0;
    uint64_t early_bytes_max = 0;  // of the budget, for pushes whose turn has not come
    Duration admission_wait = std::chrono::seconds(10);
    const Clock* clock = nullptr;
    kernels::HostAllocator* allocator = nullptr;
    telemetry::Metrics* metrics = nullptr;
    std::shared_ptr<telemetry::ModelMetrics> model_metrics;
    std::shared_ptr<const void> keep_alive;  // what the pointers above need
  };
  struct Hooks {
    // Hands a whole push to the strand. False: the server is shutting down.
    // `sums`: of the payload's pieces as they came, or none (LogAppend::sums).
    std::function<bool(Push, std::vector<ChunkSum> sums)> submit;
    // A data call of this session: renews its lease.
    std::function<void(const std::string& client_id, uint64_t epoch, const WorkerHealth& health)> renew;
    // Runs a task soon, on a thread of the engine that holds no lock.
    std::function<void(Task)> defer;
    // Expire is needed at that time at the latest. Called with the intake's mutex held.
    std::function<void(TimePoint)> wake_at;
  };
  Intake(Options options, Hooks hooks);

  std::unique_ptr<Cancel> Start(UploadRequest request, Done<UploadStart> done);

  // From the strand, in the order of its decisions.
  void Recovered(const ClientTable& clients);
  void Opened(const OpenSession& request, const OpenedSession& opened);
  void SessionEnded(const std::string& client_id, const absl::Status& why);
  void Answer(const PushKey& key, uint64_t epoch, const PushAnswer& answer);
  // Client and round (by fragment; 0 without).
  using Contributors = std::set<std::pair<std::string, uint32_t>>;
  // The version is `counter` now, and these open rounds hold pushes of these clients (SYNC).
  void RoundChanged(uint64_t counter, Contributors contributed);
  void SetLease(double seconds);

  // Refuses uploads with `why` and ends those that wait or arrive; submitted ones are answered by the strand.
  void End(const absl::Status& why);
  // Answers those too: the strand will not.
  void AbandonSubmitted(const absl::Status& why);
  // Uploads are refused while this is not OK; those under way go on.
  void SetRefusal(const absl::Status& why);

  // Ends what has waited too long.
  void Expire(TimePoint now);

  // The client's pushes up to this one are decided.
  uint64_t DecidedSequence(const std::string& client_id) const;
  std::vector<SessionOpened::Partial> PartialUploads(const std::string& client_id) const;
  struct Stats {
    uint64_t used_bytes = 0, budget_bytes = 0;
    uint64_t waiting = 0;  // uploads without a reservation
    uint64_t pending = 0;  // pushes that are not answered
    uint64_t pushes_max = 0;
  };
  Stats stats() const;

 private:
  class UploadImpl;
  class Withdrawal;
  struct Actions;  // what is to be done once the mutex is released
  using Pushes = std::map<PushKey, PendingPush>;

  // intake_placing.cc: where an upload belongs.
  void Place(const CheckedUpload& checked, PendingStart start, Actions* actions) REQUIRES(mu_);
  absl::Status CheckOpen(const PushHeader& header) const REQUIRES(mu_);
  bool AnswerRepeat(const PushKey& key, PendingStart* start, Actions* actions) REQUIRES(mu_);
  absl::StatusOr<PendingPush*> FindPush(const CheckedUpload& checked, Actions* actions) REQUIRES(mu_);
  absl::StatusOr<PendingPush*> NewPush(const CheckedUpload& checked) REQUIRES(mu_);
  absl::StatusOr<PendingPart*> FindPart(const CheckedUpload& checked, PendingPush* push, Actions* actions)
      REQUIRES(mu_);
  void OpenPart(PendingPush* push, uint32_t index, Actions* actions) REQUIRES(mu_);

  // intake_admission.cc: who may send, and who has waited too long.
  void AdmitQueued(Actions* actions) REQUIRES(mu_);
  void Admit(PendingPush* push, Actions* actions) REQUIRES(mu_);
  bool PredecessorsAreIn(const PendingPush& push) const REQUIRES(mu_);
  bool IsEarly(const PendingPush& push) const REQUIRES(mu_);
  bool HasEarlyRoom(uint64_t bytes) const REQUIRES(mu_);
  bool MakeRoom(uint64_t bytes, Actions* actions) REQUIRES(mu_);
  Pushes::iterator OldestParked() REQUIRES(mu_);
  absl::Status WhyNotAdmitted(const PendingPush& push) const REQUIRES(mu_);
  void FailOverdueStarts(PendingPush* push, TimePoint now, Actions* actions) REQUIRES(mu_);
  void Touch(PendingPush* push) REQUIRES(mu_);
  void WakeAt(TimePoint when) REQUIRES(mu_);
  void ReleaseBytes(uint64_t bytes, bool early) REQUIRES(mu_);
  void GiveBack(uint64_t bytes, bool early);

  // Ends a push: everyone who waits for it gets `why`, its bytes go.
  Pushes::iterator EndPush(Pushes::iterator push, const absl::Status& why, Actions* actions) REQUIRES(mu_);
  void FreezeParts(PendingPush* push, const absl::Status& why, Actions* actions) REQUIRES(mu_);
  void EndPushesOf(const std::string& client_id, const absl::Status& why, Actions* actions) REQUIRES(mu_);
  absl::Status Fenced(const PushHeader& header, uint64_t epoch) const;

  // Called by uploads.
  absl::Status Finish(const PushHeader& header, uint32_t part, uint64_t owner, Done<PushAnswer>* done);
  void Submit(const PushHeader& header, PushHold hold);
  void Park(const PushKey& key, uint32_t part, uint64_t owner);
  void ShowLife(const PushHeader& header);
  absl::Status WhyDisplaced(const PushHeader& header) const;
  void Withdraw(const PushKey& key, uint64_t start_id);

  const Options options_;
  const Hooks hooks_;
  std::atomic<Duration::rep> lease_nanos_;

  mutable Mutex mu_;
  SessionView sessions_ GUARDED_BY(mu_);
  Pushes pushes_ GUARDED_BY(mu_);
  std::map<uint64_t, PushKey> queue_ GUARDED_BY(mu_);  // queued pushes by arrival
  uint64_t used_bytes_ GUARDED_BY(mu_) = 0;
  uint64_t early_bytes_ GUARDED_BY(mu_) = 0;  // of them, admitted early
  uint64_t counter_ GUARDED_BY(mu_) = 0;
  Contributors contributed_ GUARDED_BY(mu_);
  uint64_t next_id_ GUARDED_BY(mu_) = 1;
  absl::Status ended_ GUARDED_BY(mu_);
  absl::Status refusal_ GUARDED_BY(mu_);
  std::optional<TimePoint> armed_ GUARDED_BY(mu_);  // the time last asked for
};

}  // namespace stepback
