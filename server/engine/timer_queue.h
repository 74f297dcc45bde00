// Turns time into callbacks: one pending time per timer, one thread for all of them, asleep until the
// earliest.
//
// Callbacks run on the queue's thread (or in RunDue) without any lock held; they are short and hand over to a
// strand. A callback may still be running, or run once more, while its timer is removed: let it hold a
// weak_ptr. Threads: any.
//
//   TimerQueue::Id id = timers.Add([weak] { if (auto worker = weak.lock()) worker->PostTick(); });
//   timers.Set(id, now + lease);      // replaces the pending time
//   timers.Remove(id);
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <thread>
#include <utility>

#include "server/base/clock.h"
#include "server/base/mutex.h"

namespace stepback {

class TimerQueue {
 public:
  using Id = uint64_t;

  // Without `own_thread` time passes only in RunDue (tests with a clock of their own).
  TimerQueue(const Clock* clock, bool own_thread);
  ~TimerQueue() { Stop(); }

  Id Add(std::function<void()> callback);
  void Remove(Id id);
  // nullopt: no pending time. Ignored when `id` was removed.
  void Set(Id id, std::optional<TimePoint> when);

  // Runs what is due at clock->Now(); returns the number of callbacks.
  int RunDue();
  void Stop();

 private:
  struct Timer {
    std::shared_ptr<const std::function<void()>> callback;
    std::optional<TimePoint> when;
  };
  using Due = std::shared_ptr<const std::function<void()>>;

  Due TakeDue(TimePoint now) REQUIRES(mu_);
  void ThreadLoop();

  const Clock* const clock_;
  Mutex mu_;
  CondVar earlier_or_stopped_;
  bool stopped_ GUARDED_BY(mu_) = false;
  Id next_id_ GUARDED_BY(mu_) = 1;
  std::map<Id, Timer> timers_ GUARDED_BY(mu_);
  std::set<std::pair<TimePoint, Id>> pending_ GUARDED_BY(mu_);
  std::thread thread_;
};

}  // namespace stepback
