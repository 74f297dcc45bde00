// Runs the events of one call one at a time and in order, whichever threads they come from: reads and writes
// that complete, cancellation, answers of the engine, timers. The thread that finds the strand idle runs what
// has gathered; the others leave their event and go. So a stream needs no lock, and nobody waits.
//
// Owner: one stream. Thread: Post from any.
#pragma once

#include <deque>
#include <functional>
#include <utility>

#include "server/base/mutex.h"

namespace stepback {

class CallStrand {
 public:
  // `event` runs before Post returns, or on the thread that is running events now. The caller keeps the
  // strand alive until Post returns.
  void Post(std::function<void()> event) {
    {
      MutexLock lock(&mu_);
      events_.push_back(std::move(event));
      if (running_) return;
      running_ = true;
    }
    while (RunNext()) {
    }
  }

 private:
  bool RunNext() {
    std::function<void()> event;
    {
      MutexLock lock(&mu_);
      running_ = !events_.empty();
      if (!running_) return false;
      event = std::move(events_.front());
      events_.pop_front();
    }
    event();
    return true;
  }

  Mutex mu_;
  std::deque<std::function<void()>> events_ GUARDED_BY(mu_);
  bool running_ GUARDED_BY(mu_) = false;
};

}  // namespace stepback
