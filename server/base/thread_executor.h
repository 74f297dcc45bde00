// An executor on plain std::thread: the thread sanitizer sees all of it, which it cannot do with the packaged
// TBB (decisions 26). Also the fallback where TBB is not wanted.
//
// Threads: Run() from any number of threads at once; each caller works too. Tasks may call Run().
#pragma once

#include <atomic>
#include <deque>
#include <memory>
#include <thread>
#include <vector>

#include "kernels/executor.h"
#include "server/base/mutex.h"

namespace stepback {

class ThreadExecutor final : public kernels::Executor {
 public:
  // `thread_count` includes the calling thread, so thread_count - 1 threads are started.
  explicit ThreadExecutor(int thread_count);
  ~ThreadExecutor() override;

  void Run(size_t count, const std::function<void(size_t)>& task) override;

 private:
  struct Job {
    size_t count;
    const std::function<void(size_t)>* task;
    std::atomic<size_t> next{0};
    size_t done = 0;  // guarded by the executor's mutex
  };

  void WorkerLoop();
  // Runs tasks of `job` until none is left to take.
  void Help(Job* job);

  Mutex mu_;
  CondVar work_or_stop_;
  CondVar job_done_;
  std::deque<std::shared_ptr<Job>> jobs_ GUARDED_BY(mu_);  // with tasks not taken yet
  bool stop_ GUARDED_BY(mu_) = false;
  std::vector<std::thread> threads_;
};

}  // namespace stepback
