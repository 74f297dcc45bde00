// Virtual time: what shall happen, by when; the clock stands still between events.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <utility>

#include "tests/fakes/clock.h"

namespace stepback::sim {

class EventQueue {
 public:
  explicit EventQueue(FakeClock* clock) : clock_(clock) {}

  TimePoint Now() const { return clock_->Now(); }
  void At(TimePoint when, std::function<void()> run) { events_.emplace(Key{when, next_++}, std::move(run)); }
  void After(Duration delay, std::function<void()> run) { At(Now() + delay, std::move(run)); }
  bool empty() const { return events_.empty(); }
  TimePoint next() const { return events_.begin()->first.first; }

  // Moves the clock to the first event, if it is later than now, and runs it.
  void RunNext() {
    auto event = events_.extract(events_.begin());
    if (event.key().first > Now()) clock_->Advance(event.key().first - Now());
    event.mapped()();
  }
  // Destroys what is left: events hold parts of the simulation.
  void Clear() { events_.clear(); }

 private:
  using Key = std::pair<TimePoint, uint64_t>;  // events of one time run in the order of their making
  FakeClock* const clock_;
  std::map<Key, std::function<void()>> events_;
  uint64_t next_ = 0;
};

}  // namespace stepback::sim
