// Group commit: one thread makes the logs of all models durable (decisions 25). What comes in while it
// writes, or within a short window after the first entry, is one write and one fdatasync together.
//
// Threads: any may append; the order of calls is the order in the log and of the answers. Answers come on the
// log thread, which does nothing else: they should hand over and return, and not call Close or Stop, which
// wait for it.
//
//   LogThread thread({});
//   auto log = std::make_shared<GroupLog>(&thread, std::move(writer));
//   log->Append(entry, [](absl::StatusOr<LogPlace> place) { ... });   // durable at `place`, or why not
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "server/base/mutex.h"
#include "server/store/log_entry.h"
#include "server/store/log_writer.h"

namespace stepback {

class GroupLog;

class LogThread {
 public:
  using Time = std::chrono::steady_clock::time_point;
  struct Options {
    std::chrono::nanoseconds window = std::chrono::milliseconds(2);  // that the first entry of a batch waits
    uint64_t batch_bytes = 8ull << 20;                               // that end the window
    std::chrono::nanoseconds mark_after =
        std::chrono::milliseconds(200);  // without an entry (LogWriter::Mark)
    bool own_thread = true;              // false: work is done in RunOne, whenever it is called, and in Stop
  };

  explicit LogThread(const Options& options);
  ~LogThread() { Stop(); }
  LogThread(const LogThread&) = delete;
  LogThread& operator=(const LogThread&) = delete;

  // Writes what is queued, refuses what comes later, ends the thread. Idempotent.
  void Stop();
  const Options& options() const { return options_; }

  // Without a thread of its own. Logs that have work:
  size_t ready_count() const;
  // The work of one of them, 0 <= index < ready_count(): a batch of at most `entries_max`, or a mark.
  void RunOne(size_t index, size_t entries_max);

 private:
  friend class GroupLog;
  // `log` has work at `due`, or had earlier. False once stopped, except for work that leads to more on the
  // log thread.
  bool Schedule(const std::shared_ptr<GroupLog>& log, Time due, bool more);
  std::shared_ptr<GroupLog> NextDue();
  void Loop();

  struct Work {
    Time due;
    std::shared_ptr<GroupLog> log;
  };

  const Options options_;
  mutable Mutex mu_;
  CondVar changed_;
  std::map<GroupLog*, Work> work_ GUARDED_BY(mu_);
  bool stopped_ GUARDED_BY(mu_) = false;
  std::thread thread_;
};

class GroupLog : public std::enable_shared_from_this<GroupLog> {
 public:
  using Done = std::function<void(absl::StatusOr<LogPlace>)>;
  // What one write and its sync did.
  struct Batch {
    size_t entries = 0;
    uint64_t payload_bytes = 0;
    std::chrono::nanoseconds took{};
    absl::Status status;
  };
  // `thread` outlives the log. `observer` is called on the log thread, before the answers.
  GroupLog(LogThread* thread, std::unique_ptr<LogWriter> writer,
           std::function<void(const Batch&)> observer = nullptr)
      : thread_(thread), observer_(std::move(observer)), writer_(std::move(writer)) {}

  // Answered once, with where it is, or with what LogWriter::Write says (then none of its batch was
  // appended), or with UNAVAILABLE when the thread has stopped, or with what Close was given.
  void Append(LogAppend append, Done done);
  // Called once everything that was appended before has been answered.
  void Barrier(std::function<void()> done);
  // Removes segments that lie wholly before `position`, between two batches.
  void Release(uint64_t position, std::function<void(const absl::Status&)> done);
  // Answers what is queued, and comes later, with `why`; on return the writer and its file are gone.
  void Close(const absl::Status& why);

  uint64_t queued() const;

 private:
  friend class LogThread;
  struct Item {
    LogAppend append;
    Done done;  // of an entry
    std::function<void(const absl::Status&)>
        between;  // anything else; OK: on the log thread, between two writes
  };

  void Enqueue(Item item);
  // On the log thread: one batch, or a mark when there is none.
  void Work(size_t entries_max = SIZE_MAX);
  std::vector<Item> TakeBatch(size_t entries_max);
  void WriteBatch(std::vector<Item>* batch);
  absl::Status WriteEntries(const std::vector<Item>& batch, std::vector<LogPlace>* places);
  void Settle();
  void Refuse(const absl::Status& why);
  static void Answer(std::vector<Item>* items, const absl::Status& why);

  LogThread* const thread_;
  const std::function<void(const Batch&)> observer_;
  mutable Mutex mu_;
  CondVar idle_;
  std::deque<Item> queue_ GUARDED_BY(mu_);
  uint64_t queued_bytes_ GUARDED_BY(mu_) = 0;
  bool working_ GUARDED_BY(mu_) = false;
  absl::Status closed_ GUARDED_BY(mu_);
  std::unique_ptr<LogWriter> writer_;  // of whoever set working_, or closed the log and found it unset
  bool mark_failed_ = false;           // on the log thread: not tried again before the next batch
};

}  // namespace stepback
