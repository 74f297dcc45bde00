// std::mutex with clang's thread-safety annotations. absl::Mutex is not used: the packaged one is not
// instrumented for the thread sanitizer and would report every critical section (decisions 26).
#pragma once

#include <condition_variable>
#include <mutex>

#if defined(__clang__)
#define SB_ANNOTATE(x) __attribute__((x))
#else
#define SB_ANNOTATE(x)
#endif
#ifndef GUARDED_BY  // absl/status/status.h brings the same one
#define GUARDED_BY(mu) SB_ANNOTATE(guarded_by(mu))
#endif
#define REQUIRES(...) SB_ANNOTATE(requires_capability(__VA_ARGS__))
#define EXCLUDES(...) SB_ANNOTATE(locks_excluded(__VA_ARGS__))

namespace stepback {

class SB_ANNOTATE(capability("mutex")) Mutex {
 public:
  void Lock() SB_ANNOTATE(acquire_capability()) { mu_.lock(); }
  void Unlock() SB_ANNOTATE(release_capability()) { mu_.unlock(); }

 private:
  friend class CondVar;
  std::mutex mu_;
};

class SB_ANNOTATE(scoped_lockable) MutexLock {
 public:
  explicit MutexLock(Mutex* mu) SB_ANNOTATE(acquire_capability(mu)) : mu_(mu) { mu_->Lock(); }
  ~MutexLock() SB_ANNOTATE(release_capability()) { mu_->Unlock(); }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

 private:
  Mutex* mu_;
};

// Waits with the mutex held by the caller; spurious wake-ups happen, so loop on the condition.
class CondVar {
 public:
  void Wait(Mutex* mu) REQUIRES(mu) {
    std::unique_lock<std::mutex> lock(mu->mu_, std::adopt_lock);
    cv_.wait(lock);
    lock.release();
  }
  template <typename Duration>
  void WaitFor(Mutex* mu, Duration limit) REQUIRES(mu) {
    std::unique_lock<std::mutex> lock(mu->mu_, std::adopt_lock);
    cv_.wait_for(lock, limit);
    lock.release();
  }
  void NotifyOne() { cv_.notify_one(); }
  void NotifyAll() { cv_.notify_all(); }

 private:
  std::condition_variable cv_;
};

}  // namespace stepback
