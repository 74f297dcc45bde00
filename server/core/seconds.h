// Seconds as specifications give them, to the clock's ticks (rounded down; at most a year by the bounds of
// the spec).
#pragma once

#include <chrono>

#include "server/base/clock.h"

namespace stepback {

inline Duration FromSeconds(double seconds) {
  return std::chrono::duration_cast<Duration>(std::chrono::duration<double>(seconds));
}
inline double ToSeconds(Duration duration) { return std::chrono::duration<double>(duration).count(); }

}  // namespace stepback
