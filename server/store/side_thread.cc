#include "server/store/side_thread.h"

#include <system_error>
#include <utility>

#include "server/base/status_macros.h"

namespace stepback {

SideThread::SideThread(bool threaded) {
  if (!threaded) return;
  try {
    thread_ = std::thread([this] { Loop(); });
  } catch (const std::system_error&) {  // out of threads: slower, not wrong
  }
}

SideThread::~SideThread() {
  Wait().IgnoreError();
  if (!thread_.joinable()) return;
  {
    MutexLock lock(&mu_);
    stop_ = true;
    changed_.NotifyAll();
  }
  thread_.join();
}

absl::Status SideThread::Start(Job job) {
  RETURN_IF_ERROR(Wait());
  if (!thread_.joinable()) {
    absl::Status result = job();
    MutexLock lock(&mu_);
    return result_ = std::move(result);
  }
  MutexLock lock(&mu_);
  job_ = std::move(job);
  changed_.NotifyAll();
  return absl::OkStatus();
}

absl::Status SideThread::Wait() {
  MutexLock lock(&mu_);
  while (job_ != nullptr) changed_.Wait(&mu_);
  return result_;
}

void SideThread::Loop() {
  for (;;) {
    Job job;
    {
      MutexLock lock(&mu_);
      while (job_ == nullptr && !stop_) changed_.Wait(&mu_);
      if (job_ == nullptr) return;
      job = job_;
    }
    absl::Status result = job();
    MutexLock lock(&mu_);
    result_ = std::move(result);
    job_ = nullptr;
    changed_.NotifyAll();
  }
}

}  // namespace stepback
