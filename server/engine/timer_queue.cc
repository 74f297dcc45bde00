#include "server/engine/timer_queue.h"

namespace stepback {

TimerQueue::TimerQueue(const Clock* clock, bool own_thread) : clock_(clock) {
  if (own_thread) thread_ = std::thread([this] { ThreadLoop(); });
}

TimerQueue::Id TimerQueue::Add(std::function<void()> callback) {
  MutexLock lock(&mu_);
  const Id id = next_id_++;
  timers_[id].callback = std::make_shared<const std::function<void()>>(std::move(callback));
  return id;
}

void TimerQueue::Remove(Id id) {
  MutexLock lock(&mu_);
  const auto found = timers_.find(id);
  if (found == timers_.end()) return;
  if (found->second.when) pending_.erase({*found->second.when, id});
  timers_.erase(found);
}

void TimerQueue::Set(Id id, std::optional<TimePoint> when) {
  MutexLock lock(&mu_);
  const auto found = timers_.find(id);
  if (found == timers_.end() || found->second.when == when) return;
  if (found->second.when) pending_.erase({*found->second.when, id});
  found->second.when = when;
  if (!when) return;
  pending_.insert({*when, id});
  if (pending_.begin()->second == id) earlier_or_stopped_.NotifyOne();
}

int TimerQueue::RunDue() {
  const TimePoint now = clock_->Now();
  for (int count = 0;; ++count) {
    Due due;
    {
      MutexLock lock(&mu_);
      due = TakeDue(now);
    }
    if (due == nullptr) return count;
    (*due)();
  }
}

void TimerQueue::Stop() {
  {
    MutexLock lock(&mu_);
    stopped_ = true;
    earlier_or_stopped_.NotifyOne();
  }
  if (thread_.joinable()) thread_.join();
}

TimerQueue::Due TimerQueue::TakeDue(TimePoint now) {
  if (pending_.empty() || pending_.begin()->first > now) return nullptr;
  Timer& timer = timers_[pending_.begin()->second];
  pending_.erase(pending_.begin());
  timer.when.reset();
  return timer.callback;
}

void TimerQueue::ThreadLoop() {
  for (;;) {
    RunDue();
    MutexLock lock(&mu_);
    if (stopped_) return;
    if (pending_.empty()) {
      earlier_or_stopped_.Wait(&mu_);
    } else if (const Duration left = pending_.begin()->first - clock_->Now(); left > Duration::zero()) {
      earlier_or_stopped_.WaitFor(&mu_, left);
    }
  }
}

}  // namespace stepback
