// Runs one job at a time beside its owner: the disk works on one block while the processor works on the next.
// Two buffers used in turn are enough, because Start waits for the job before.
//
// Threads: the owner's calls come from one thread at a time; the job runs on another, and what it touches
// belongs to it until Wait or the next Start returns. Declare it after what its jobs use: its destructor
// waits.
//
//   SideThread side(/*threaded=*/true);
//   RETURN_IF_ERROR(side.Start([&] { return file->WriteAt(0, block); }));
//   ... prepare the next block ...
//   RETURN_IF_ERROR(side.Wait());
#pragma once

#include <functional>
#include <thread>

#include "absl/status/status.h"
#include "server/base/mutex.h"

namespace stepback {

class SideThread {
 public:
  using Job = std::function<absl::Status()>;

  // threaded = false, or no thread to be had: jobs run inside Start.
  explicit SideThread(bool threaded);
  ~SideThread();

  // Waits for the job before; starts this one if that succeeded, otherwise returns its error.
  absl::Status Start(Job job);
  // The result of the last job started. The first error stays.
  absl::Status Wait();

 private:
  void Loop();

  Mutex mu_;
  CondVar changed_;
  Job job_ GUARDED_BY(mu_);  // waiting or running; empty: idle
  absl::Status result_ GUARDED_BY(mu_);
  bool stop_ GUARDED_BY(mu_) = false;
  std::thread thread_;
};

}  // namespace stepback
