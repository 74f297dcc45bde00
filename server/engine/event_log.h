// The event log of one model (docs/on_disk_format.md): takes down what the strand reports and writes it on a
// thread of its own. Nobody waits for it: when its queue is full, or the disk does not take a record, the
// record is dropped and counted (in a metric, and in the record that comes next). Records are on the disk one
// second after they were written at the latest, and after every snapshot. Owned by the model's worker.
//
// Threads: any.
//
//   auto log = EventLog::Make({runtime, "lm", metrics});   // null: nothing is kept
//   log->Add(effects, *current);
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "server/base/mutex.h"
#include "server/engine/event_record.h"
#include "server/engine/runtime.h"
#include "server/engine/strand.h"
#include "server/store/event_writer.h"
#include "server/telemetry/metrics.h"

namespace stepback {

class EventLog : public std::enable_shared_from_this<EventLog> {
 public:
  struct Options {
    std::shared_ptr<Runtime> runtime;
    std::string model;
    std::shared_ptr<telemetry::ModelMetrics> metrics;
  };
  // nullptr without a data directory, and when no files are to be kept.
  static std::shared_ptr<EventLog> Make(Options options);
  ~EventLog();

  // What a call did; the model is `version` after it.
  void Add(const Effects& effects, const ModelVersion& version);
  void Add(Effects::Event event, const ModelVersion& version);
  // Makes durable what was added, soon.
  void Sync();
  // Writes and syncs what was added, lets go of the file, then calls `done`; what is added later is not
  // taken.
  void Close(std::function<void()> done);

 private:
  explicit EventLog(Options options);
  LoggedEvent Logged(Effects::Event event, const ModelVersion& version) const;
  void Enqueue(std::vector<LoggedEvent> events);
  void Post(Task task);

  // On the strand.
  void WriteQueued();
  bool Open();
  void Failed(const absl::Status& why);
  EventFrame FrameOf(const LoggedEvent& logged);
  void TellSettings(const LoggedEvent& logged, std::vector<EventFrame>* frames);
  EventFrame Number(v1::EventRecord* record);
  void Write(std::vector<EventFrame>* frames);
  void Drop(uint64_t records);
  void SyncNow();

  const Options options_;
  const std::string directory_;
  const std::shared_ptr<Strand> strand_;
  TimerQueue::Id sync_timer_ = 0;

  Mutex mu_;
  std::deque<LoggedEvent> queue_ GUARDED_BY(mu_);
  uint64_t queued_weight_ GUARDED_BY(mu_) = 0;
  uint64_t dropped_ GUARDED_BY(mu_) = 0;  // behind the last one in the queue
  bool posted_ GUARDED_BY(mu_) = false;
  bool closed_ GUARDED_BY(mu_) = false;

  // On the strand.
  std::unique_ptr<EventWriter> writer_;  // null: before the first record, and once closed
  uint64_t next_number_ = 0;             // of the next record, dropped ones counted
  uint64_t expected_ = 0;                // one above the last that is written or on its way
  uint64_t written_ = 0;                 // one above the last record that was written
  uint64_t settings_version_ = 0;        // that the log has told; 0: none
  TimePoint retry_at_;                   // after a failure: records until then are dropped
  bool failed_ = false;
  bool sync_planned_ = false;
};

}  // namespace stepback
