// A schedule as data, for schedule.cc and the families (schedule_decay.cc, schedule_anneal.cc). A factor is a
// closed form of the step; algorithms.md section 9 decides where libraries differ.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "server/core/parameters.h"

namespace stepback {

inline constexpr double kMaxScheduleSteps = 1e15;

// When a factor is asked for: `step` counts from 0 for the first update and is at least `warmup`.
struct ScheduleTime {
  uint64_t step = 0;
  uint64_t warmup = 0;  // updates of the warm-up before it
  double since() const { return static_cast<double>(step - warmup); }
};

struct ScheduleInfo {
  std::string_view name;
  std::string_view doc;
  std::span<const ParameterInfo> parameters;
  double (*factor)(const double* values, ScheduleTime time);
  // Bounds of the factor over all steps: none is above the first or below the second.
  double (*largest)(const double* values);
  double (*smallest)(const double* values);
  // What the bounds of single parameters cannot say; "" or a sentence with value and bound. nullptr: nothing.
  std::string (*check)(const double* values, double warmup) = nullptr;
};

// Rates that fall by steps, powers or roots, and those that move along a curve of known length.
std::span<const ScheduleInfo> DecaySchedules();
std::span<const ScheduleInfo> AnnealSchedules();

}  // namespace stepback
