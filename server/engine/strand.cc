#include "server/engine/strand.h"

#include <fmt/format.h>

#include <cstddef>
#include <cstdint>
#include <utility>

#include "server/base/errors.h"

namespace stepback {
namespace {

constexpr int kBurstTasks = 16;

}  // namespace

StrandPool::StrandPool(int thread_count) {
  for (int i = 0; i < thread_count; ++i) threads_.emplace_back([this] { ThreadLoop(); });
}

void StrandPool::Stop() {
  {
    MutexLock lock(&mu_);
    stopped_ = true;
    ready_or_stopped_.NotifyAll();
  }
  if (threads_.empty()) ThreadLoop();
  for (std::thread& thread : threads_) {
    if (thread.joinable()) thread.join();
  }
}

size_t StrandPool::ready_count() const {
  MutexLock lock(&mu_);
  return ready_.size();
}

void StrandPool::RunOne(size_t index) {
  std::shared_ptr<Strand> strand;
  {
    MutexLock lock(&mu_);
    strand = ready_[index];
    ready_.erase(ready_.begin() + static_cast<std::ptrdiff_t>(index));
  }
  if (strand->RunSome(1)) PutBack(std::move(strand));
}

bool StrandPool::stopped() const {
  MutexLock lock(&mu_);
  return stopped_;
}

bool StrandPool::TryMakeReady(const std::shared_ptr<Strand>& strand) {
  MutexLock lock(&mu_);
  if (stopped_) return false;
  ready_.push_back(strand);
  ready_or_stopped_.NotifyOne();
  return true;
}

void StrandPool::PutBack(std::shared_ptr<Strand> strand) {
  MutexLock lock(&mu_);
  ready_.push_back(std::move(strand));
  ready_or_stopped_.NotifyOne();
}

void StrandPool::ThreadLoop() {
  for (;;) {
    std::shared_ptr<Strand> strand;
    {
      MutexLock lock(&mu_);
      while (ready_.empty() && !stopped_) ready_or_stopped_.Wait(&mu_);
      if (ready_.empty()) return;
      strand = std::move(ready_.front());
      ready_.pop_front();
    }
    if (strand->RunSome(kBurstTasks)) PutBack(std::move(strand));
  }
}

absl::Status Strand::TryPost(Task&& task) { return Enqueue(std::move(task), depth_max_); }

bool Strand::Post(Task&& task) { return Enqueue(std::move(task), SIZE_MAX).ok(); }

size_t Strand::depth() const {
  MutexLock lock(&mu_);
  return tasks_.size();
}

// A task is either refused or run: a strand that is `scheduled_` looks at its tasks again under the same
// mutex before it lets go, and a stopping pool joins only when no strand is ready.
absl::Status Strand::Enqueue(Task&& task, size_t depth_max) {
  MutexLock lock(&mu_);
  if (tasks_.size() >= depth_max) {
    return Error(absl::StatusCode::kResourceExhausted, "QUEUE_FULL",
                 fmt::format("{} commands wait already, at most {} may", tasks_.size(), depth_max));
  }
  if (pool_->stopped() || (!scheduled_ && !pool_->TryMakeReady(shared_from_this()))) {
    return Error(absl::StatusCode::kUnavailable, "SHUTTING_DOWN", "the server is shutting down");
  }
  scheduled_ = true;
  tasks_.push_back(std::move(task));
  return absl::OkStatus();
}

bool Strand::RunSome(int count) {
  for (int i = 0; i < count; ++i) {
    Task task;
    {
      MutexLock lock(&mu_);
      if (tasks_.empty()) return scheduled_ = false;
      task = std::move(tasks_.front());
      tasks_.pop_front();
    }
    task();
  }
  return true;
}

}  // namespace stepback
