// The log of one model's calls (durability PUSH, decision record 107): takes every call that can change a
// decision down with its time, and hands it back to the model's strand, in the order of the log, once it is
// durable. Owned by the model's worker.
//
//   caller --Append--> log thread: written, synced --apply--> strand: the call, publish, answer
//
// Threads: any may append; the order of calls is the order in the log and on the strand. What is marked
// "strand" is for the model's strand only. Nothing waits for the disk.
//
//   journal->Append(LoggedOpen{"w0"}, {}, version, [=](const Journal::Entry& at) { ...at.now... }, refuse);
#pragma once

#include <atomic>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "server/base/clock.h"
#include "server/base/mutex.h"
#include "server/base/payload.h"
#include "server/core/model.h"
#include "server/engine/logged_call.h"
#include "server/engine/stored_open_state.h"
#include "server/engine/strand.h"
#include "server/store/log_thread.h"

namespace stepback {

class Journal : public std::enable_shared_from_this<Journal> {
 public:
  struct Entry {
    LogPlace place;
    TimePoint now;  // of the call
  };
  using Apply = std::function<void(const Entry&)>;
  // RESOURCE_EXHAUSTED(DISK_FULL): nothing was logged, later calls may be.
  // FAILED_PRECONDITION(MODEL_READ_ONLY): for good. Or what Close was given, or what the log says of an
  // impossible entry.
  using Refuse = std::function<void(const absl::Status&)>;

  struct Options {
    std::string model;
    const Clock* clock = nullptr;
    TimePoint origin;  // the model's own time 0
    LogPlace end;      // of what is in the log
    Duration time{};   // of the last call in it
  };
  struct Hooks {
    // Runs on the strand, in order; `abandon` instead when the model has ended.
    std::function<void(Task run, Refuse abandon)> post;
    std::function<void(const absl::Status&)> failed;  // called once: nothing is logged any more
  };
  struct Bytes {
    Payload payload;
    std::vector<ChunkSum> sums;  // LogAppend::sums
  };

  Journal(Options options, std::shared_ptr<GroupLog> log);
  // Before the first call.
  void Start(Hooks hooks) { hooks_ = std::move(hooks); }

  // One of `apply` (on the strand) and `refuse` (anywhere, perhaps before this returns) is called once.
  void Append(LoggedCall::Call call, Bytes bytes, Version version, Apply apply, Refuse refuse);
  // Once everything that was appended before has been handed over.
  void Barrier(Task run, Refuse abandon);
  // Calls that are on their way.
  size_t depth() const { return depth_; }
  // OK, or MODEL_READ_ONLY.
  absl::Status writable() const;
  // From here on every call is refused with `why`.
  void Fail(const absl::Status& why);

  // Removes what lies before `position` from the disk.
  void Release(uint64_t position);
  // Waits for a write under way; refuses what is queued and comes later. Not on the log's thread.
  void Close(const absl::Status& why) { log_->Close(why); }

  // Strand. What the call that is being applied met on this machine: no other call is applied before that is
  // durable, and `then` has run. `drop` instead when it cannot be recorded; the model is read-only then.
  void Record(bool refused, const StepFailures& steps, Version version, Task then, Refuse drop);
  // Strand. Calls wait for a record.
  bool paused() const { return paused_ != nullptr; }
  // Strand; not while paused. What decides beside the version, and its place in the log.
  OpenPlace Capture(const Model& model) const;
  uint64_t applied_end() const { return applied_end_; }
  // Strand. Refuses what waits for a record, and the record's own.
  void Abandon(const absl::Status& why);

 private:
  struct Waiting {
    Entry entry;
    Apply apply;
    Refuse refuse;
    bool ahead = false;  // a record: not behind those that wait for it
    bool appending = true;
    std::thread::id appender;
    absl::Status refused;  // while it was being appended
  };

  void Enqueue(LoggedCall::Call call, Bytes bytes, Version version, const std::shared_ptr<Waiting>& waiting);
  void OnLogged(const std::shared_ptr<Waiting>& waiting, const absl::StatusOr<LogPlace>& place);
  void Refuse1(const Waiting& waiting, const absl::Status& why);
  absl::Status Explain(const absl::Status& why);
  void Arrive(const std::shared_ptr<Waiting>& waiting);
  void ApplyReady();

  const std::string model_;
  const Clock* const clock_;
  const TimePoint origin_;
  const std::shared_ptr<GroupLog> log_;
  Hooks hooks_;
  std::atomic<size_t> depth_{0};

  mutable Mutex mu_;  // held while an entry is queued: times rise in the order of the log
  Duration time_ GUARDED_BY(mu_);
  absl::Status failed_ GUARDED_BY(mu_);

  // Strand.
  std::deque<std::shared_ptr<Waiting>> ready_;
  std::shared_ptr<const Refuse> paused_;  // of the record that is waited for
  Entry current_;
  LogPlace applied_;  // behind the last call that was applied
  Duration applied_time_;
  std::atomic<uint64_t> applied_end_;
};

}  // namespace stepback
