// The compute pool of the server: a oneTBB arena of a fixed width. Arenas share TBB's worker threads, so one
// executor per model with a smaller width caps that model's share.
//
// Threads: Run() from any number of threads at once; each caller works too, and returns when its own tasks
// are done.
#pragma once

#include <memory>

#include "kernels/executor.h"

namespace stepback {

class TbbExecutor final : public kernels::Executor {
 public:
  // `thread_count` includes the calling thread; 0 means one per core of the machine.
  explicit TbbExecutor(int thread_count = 0);
  ~TbbExecutor() override;

  void Run(size_t count, const std::function<void(size_t)>& task) override;
  int thread_count() const { return thread_count_; }

 private:
  struct Arena;
  int thread_count_;
  std::unique_ptr<Arena> arena_;
};

}  // namespace stepback
