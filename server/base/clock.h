// Monotonic time as a value. Nothing below the engine reads a clock; tests pass a fake one.
#pragma once

#include <chrono>
#include <cstdint>

namespace stepback {

using Duration = std::chrono::nanoseconds;
// Time since an arbitrary start; only differences mean anything (never persisted, never sent).
using TimePoint = std::chrono::time_point<std::chrono::steady_clock, Duration>;

class Clock {
 public:
  virtual ~Clock() = default;
  virtual TimePoint Now() const = 0;
  // Wall time in nanoseconds since the epoch, for logs and labels only; no decision depends on it.
  virtual int64_t WallNanos() const = 0;

  static Clock* Real();
};

}  // namespace stepback
