#include "server/core/local_steps.h"

#include <algorithm>
#include <cmath>

#include "server/core/seconds.h"

namespace stepback {

// Pushes of the same instant (replays) say nothing of a pace.
void WorkerPace::Pushed(uint64_t local_steps, TimePoint now) {
  const double seconds = pushed_at.has_value() ? ToSeconds(now - *pushed_at) : 0;
  if (seconds > 0) steps_per_second = static_cast<double>(local_steps) / seconds;
  pushed_at = now;
}

uint32_t LocalSteps(uint32_t period, const WorkerPace& worker, double fastest) {
  if (period == 0 || worker.steps_per_second <= 0 || fastest <= 0) return period;
  const double steps = std::floor(period * (worker.steps_per_second / fastest));
  return static_cast<uint32_t>(std::max(steps, 1.0));
}

}  // namespace stepback
