// The real engine, core and store on a virtual disk and clock, without threads: one task runs at a time, any
// of those that could. It dies and starts again; what it had not told anyone by then is not heard of.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "kernels/backend.h"
#include "kernels/executor.h"
#include "server/base/pool.h"
#include "server/engine/engine.h"
#include "server/telemetry/metrics.h"
#include "tests/fakes/clock.h"
#include "tests/fakes/file_system.h"
#include "tests/sim/event_queue.h"
#include "tests/sim/oracle.h"
#include "tests/sim/random.h"

namespace stepback::sim {

class Server {
 public:
  Server(const Plan& plan, FakeClock* clock, EventQueue* events, Random* random, Oracle* oracle);
  ~Server() { Stop(); }
  // For good: nobody hears of anything any more.
  void Stop();

  // Starts with an empty model; false with a violation.
  bool Create();
  // nullptr while it is down.
  Handle* model() const { return model_.get(); }
  uint64_t incarnation() const { return incarnation_; }
  // Runs one task, then looks at the published version; false when there is none.
  bool RunOne();
  void Tick();

  void Crash(FakeFileSystem::Unsynced unsynced, bool again_in_recovery, uint64_t detail);
  void Drain();
  // Saves a snapshot under a label now, restores it after a while.
  void RollBack(Duration after);
  // Now and for a while.
  void FillDisk(Duration how_long);
  void FailStorageCall(uint64_t calls_from_now);
  // Of the newest snapshot; noticed at the next start.
  void RotNewestSnapshot(uint64_t detail);
  // All faults end.
  void Heal();
  // Storage has failed for good, or the server is down.
  bool needs_restart() const;
  // What a reader gets; also checked by the oracle.
  static std::vector<float> WeightsOf(Handle* model, const std::shared_ptr<PinnedVersion>& pin);

 private:
  void Start();
  absl::Status TryStart();
  void Observe();
  void Restore(const std::string& label);

  const Plan& plan_;
  FakeClock* const clock_;
  EventQueue* const events_;
  Random* const random_;
  Oracle* const oracle_;
  FakeFileSystem disk_;
  std::unique_ptr<FileSystem> faulty_;  // what the engine sees
  BufferPool pool_;
  kernels::InlineExecutor executor_;
  telemetry::Metrics metrics_;
  std::unique_ptr<kernels::Backend> backend_;
  std::unique_ptr<Engine> engine_;
  std::shared_ptr<Handle> model_;
  uint64_t incarnation_ = 0;
  uint64_t dies_in_recovery_ = 0;  // at this storage call; 0: not
  int failed_starts_ = 0;          // in a row
  bool rotted_ = false;            // once a run: two rotten generations are beyond what is promised
  bool lost_generation_ = false;
  Version seen_;
  bool seen_durable_ = false;
  uint64_t labels_ = 0;
  std::optional<uint64_t> restoring_in_;  // this incarnation; operators wait for each other
};

}  // namespace stepback::sim
