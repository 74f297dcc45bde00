// constant, step, multistep, exponential, inverse_sqrt: rates that fall for as long as training lasts.
#include <algorithm>
#include <cmath>

#include "kernels/power.h"
#include "server/core/schedule_info.h"

namespace stepback {
namespace {

constexpr ParameterInfo kStep[] = {
    {.name = "step_size", .min = 1, .max = kMaxScheduleSteps, .integer = true, .required = true},
    {.name = "gamma", .default_value = 0.1, .min = 0, .max = 1},
    {.name = "floor", .default_value = 0, .min = 0, .max = 1},
};
constexpr size_t kMilestones = 8;
constexpr ParameterInfo Milestone(std::string_view name, bool required = false) {
  return {.name = name,
          .min = required ? 1.0 : 0.0,
          .max = kMaxScheduleSteps,
          .integer = true,
          .required = required};
}
constexpr ParameterInfo kMultistep[] = {
    {.name = "gamma", .default_value = 0.1, .min = 0, .max = 1},
    Milestone("milestone_1", true),
    Milestone("milestone_2"),
    Milestone("milestone_3"),
    Milestone("milestone_4"),
    Milestone("milestone_5"),
    Milestone("milestone_6"),
    Milestone("milestone_7"),
    Milestone("milestone_8"),
};
static_assert(std::size(kMultistep) == 1 + kMilestones);
constexpr ParameterInfo kExponential[] = {
    {.name = "gamma", .min = 0, .max = 1, .required = true},
    {.name = "steps", .default_value = 1, .min = 1, .max = kMaxScheduleSteps, .integer = true},
    {.name = "staircase", .default_value = 0, .min = 0, .max = 1, .integer = true},
    {.name = "floor", .default_value = 0, .min = 0, .max = 1},
};

double AlwaysOne(const double*) { return 1; }
double Constant(const double*, ScheduleTime) { return 1; }

double Step(const double* v, ScheduleTime time) {
  return std::max(kernels::Power(v[1], std::floor(time.since() / v[0])), v[2]);
}
double StepSmallest(const double* v) { return std::max(v[1] == 1 ? 1.0 : 0.0, v[2]); }

// A milestone of 0 is none.
double Multistep(const double* v, ScheduleTime time) {
  const auto passed = [&](double milestone) { return milestone > 0 && milestone <= time.since(); };
  return kernels::Power(v[0], static_cast<double>(std::count_if(v + 1, v + 1 + kMilestones, passed)));
}
double MultistepSmallest(const double* v) {
  return kernels::Power(v[0], static_cast<double>(kMilestones - std::count(v + 1, v + 1 + kMilestones, 0.0)));
}

double Exponential(const double* v, ScheduleTime time) {
  const double periods = time.since() / v[1];
  return std::max(kernels::Power(v[0], v[2] != 0 ? std::floor(periods) : periods), v[3]);
}
double ExponentialSmallest(const double* v) { return std::max(v[0] == 1 ? 1.0 : 0.0, v[3]); }

// With t = step + 1 and W the warm-up this is min(t / W, sqrt(W / t)), the Transformer's rate relative to its
// peak.
double InverseSqrt(const double*, ScheduleTime time) {
  const auto peak = static_cast<double>(std::max<uint64_t>(time.warmup, 1));
  return std::sqrt(peak / (static_cast<double>(time.step) + 1));
}
double InverseSqrtSmallest(const double*) { return std::sqrt(1 / kMaxScheduleSteps); }

constexpr ScheduleInfo kDecaySchedules[] = {
    {"constant", "factor 1; with a warm-up, the warm-up alone", {}, Constant, AlwaysOne, AlwaysOne},
    {"exponential", "gamma^(t / steps), never below floor; staircase = 1: the exponent in whole numbers",
     kExponential, Exponential, AlwaysOne, ExponentialSmallest},
    {"inverse_sqrt",
     "sqrt(warmup / (t + 1)) after the warm-up (of at least one step); the rate given is the peak",
     {},
     InverseSqrt,
     AlwaysOne,
     InverseSqrtSmallest},
    {"multistep", "gamma^(number of milestones at or before t); a milestone of 0 is none", kMultistep,
     Multistep, AlwaysOne, MultistepSmallest},
    {"step", "gamma^floor(t / step_size), never below floor", kStep, Step, AlwaysOne, StepSmallest},
};

}  // namespace

std::span<const ScheduleInfo> DecaySchedules() { return kDecaySchedules; }

}  // namespace stepback
