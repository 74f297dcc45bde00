// Dynamic local updates (DyLU): how many steps each worker shall run before it pushes, so that all take about
// as long: H_w = floor(H v_w / max_j v_j), at least 1, from the pace v = local steps per second between a
// worker's pushes (Liu et al. 2024, asynchronous local SGD, section 5). Pure.
#pragma once

#include <cstdint>
#include <optional>

#include "server/base/clock.h"

namespace stepback {

// What is known of one session.
struct WorkerPace {
  std::optional<TimePoint> pushed_at;  // of its last push
  double steps_per_second = 0;         // 0: not known before the second push

  void Pushed(uint64_t local_steps, TimePoint now);
  friend bool operator==(const WorkerPace&, const WorkerPace&) = default;
};

// `period` is H, `fastest` the largest pace of the live workers. H for a worker whose pace is not known yet;
// 0 when H is.
uint32_t LocalSteps(uint32_t period, const WorkerPace& worker, double fastest);

}  // namespace stepback
