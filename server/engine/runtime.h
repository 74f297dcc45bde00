// What all models of one engine share: threads, timers, memory, devices, clock. Made from Engine::Options;
// everything that leaves the engine (payloads, pins, uploads) holds it, so memory never outlives the pool it
// came from.
//
// Threads: fixed pools, whatever the number of models. `compute` runs the models' strands; `io` writes and
// reads snapshots; `log` writes the logs, `events` the event logs; `control` hands out memory that became free.
// Stop() joins them all.
#pragma once

#include <memory>
#include <string>

#include "server/engine/engine.h"
#include "server/engine/strand.h"
#include "server/engine/timer_queue.h"
#include "server/base/mutex.h"
#include "server/store/data_directory.h"
#include "server/store/log_thread.h"

namespace stepback {

class Runtime {
 public:
  // INVALID_ARGUMENT, or what claiming the data directory says.
  static absl::StatusOr<std::shared_ptr<Runtime>> Make(Engine::Options options);
  ~Runtime() { Stop(); }

  const Engine::Options& options() const { return options_; }
  kernels::Backend* backend() const { return options_.backend; }
  kernels::Executor* executor() const { return options_.executor; }
  BufferPool* pool() const { return options_.pool; }
  const Clock* clock() const { return options_.clock; }
  FileSystem* file_system() const { return options_.file_system; }
  telemetry::Metrics* metrics() const { return options_.metrics; }
  bool has_storage() const { return !options_.data_dir.empty(); }

  TimerQueue* timers() { return timers_.get(); }
  StrandPool* compute() { return compute_.get(); }
  StrandPool* io() { return io_.get(); }
  StrandPool* events() { return events_.get(); }
  // Null without a data directory.
  LogThread* log() { return log_.get(); }
  // What the disk of the data directory takes, in bytes per second: as configured, or measured once, which
  // blocks for half a second. FAILED_PRECONDITION without a data directory, or what the disk says.
  absl::StatusOr<double> DiskBandwidth();
  // Runs `task` soon on a thread that holds no lock; at once when the engine has stopped.
  void Defer(Task task);
  // Engine::RunOne.
  bool RunOne(const std::function<size_t(size_t count)>& pick);

  // No timer fires any more, what is queued runs, the threads end. Idempotent.
  void Stop();

 private:
  explicit Runtime(Engine::Options options);

  // Destroyed last to first: whoever uses memory or a device goes before it.
  std::unique_ptr<BufferPool> own_pool_;
  std::unique_ptr<telemetry::Metrics> own_metrics_;
  std::unique_ptr<kernels::Backend> own_backend_;
  std::unique_ptr<kernels::Executor> own_executor_;
  Engine::Options options_;  // complete
  std::unique_ptr<DataDirectory> claim_;
  std::unique_ptr<StrandPool> compute_, io_, events_, control_;
  std::unique_ptr<LogThread> log_;
  std::shared_ptr<Strand> control_strand_;
  std::unique_ptr<TimerQueue> timers_;
  Mutex measuring_;
  double disk_bandwidth_ GUARDED_BY(measuring_) = 0;  // 0: not known
};

}  // namespace stepback
