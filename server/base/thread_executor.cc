#include "server/base/thread_executor.h"

#include <algorithm>

namespace stepback {

ThreadExecutor::ThreadExecutor(int thread_count) {
  for (int i = 1; i < thread_count; ++i) threads_.emplace_back([this] { WorkerLoop(); });
}

ThreadExecutor::~ThreadExecutor() {
  {
    MutexLock lock(&mu_);
    stop_ = true;
    work_or_stop_.NotifyAll();
  }
  for (std::thread& thread : threads_) thread.join();
}

void ThreadExecutor::Run(size_t count, const std::function<void(size_t)>& task) {
  if (count == 0) return;
  auto job = std::make_shared<Job>();
  job->count = count;
  job->task = &task;
  {
    MutexLock lock(&mu_);
    jobs_.push_back(job);
    work_or_stop_.NotifyAll();
  }
  Help(job.get());
  MutexLock lock(&mu_);
  while (job->done < count) job_done_.Wait(&mu_);
}

void ThreadExecutor::WorkerLoop() {
  for (;;) {
    std::shared_ptr<Job> job;
    {
      MutexLock lock(&mu_);
      while (jobs_.empty() && !stop_) work_or_stop_.Wait(&mu_);
      if (jobs_.empty()) return;
      job = jobs_.front();
    }
    Help(job.get());
  }
}

void ThreadExecutor::Help(Job* job) {
  size_t ran = 0;
  for (size_t i; (i = job->next.fetch_add(1, std::memory_order_relaxed)) < job->count; ++ran) (*job->task)(i);
  MutexLock lock(&mu_);
  std::erase_if(jobs_, [job](const std::shared_ptr<Job>& other) { return other.get() == job; });
  job->done += ran;
  if (ran > 0 && job->done == job->count) job_done_.NotifyAll();
}

}  // namespace stepback
