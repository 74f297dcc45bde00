// cosine, linear, polynomial, wsd: rates along a curve of known length, which stay at its end.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "kernels/cosine.h"
#include "kernels/power.h"
#include "server/core/schedule_info.h"

namespace stepback {
namespace {

constexpr ParameterInfo Steps(double default_value = 0) {
  return {.name = "steps",
          .default_value = default_value,
          .min = 1,
          .max = kMaxScheduleSteps,
          .integer = true,
          .required = default_value == 0};
}
constexpr ParameterInfo kMinFactor = {.name = "min_factor", .default_value = 0, .min = 0, .max = 1};
constexpr ParameterInfo kCosine[] = {
    Steps(),
    kMinFactor,
    {.name = "periodic", .default_value = 0, .min = 0, .max = 1, .integer = true},
};
constexpr ParameterInfo kLinear[] = {
    {.name = "start_factor", .default_value = 1.0 / 3, .min = 0, .max = 1},
    {.name = "end_factor", .default_value = 1, .min = 0, .max = 1},
    Steps(5),
};
constexpr ParameterInfo kPolynomial[] = {
    Steps(),
    {.name = "power", .default_value = 1, .min = 0, .max = 100, .min_open = true},
    kMinFactor,
};
constexpr ParameterInfo kWsd[] = {
    Steps(),
    {.name = "decay_steps", .min = 1, .max = kMaxScheduleSteps, .integer = true, .required = true},
    kMinFactor,
    {.name = "sqrt", .default_value = 0, .min = 0, .max = 1, .integer = true},
};

double StartsAtOne(const double*) { return 1; }
double Second(const double* v) { return v[1]; }
double Third(const double* v) { return v[2]; }

// From 1 down to `least` as `remains` goes from 1 to 0.
double Between(double least, double remains) { return least + (1 - least) * remains; }

double Cosine(const double* v, ScheduleTime time) {
  const double t = v[2] != 0 ? std::fmod(time.since(), 2 * v[0]) : std::min(time.since(), v[0]);
  return Between(v[1], (1 + kernels::CosPi(t / v[0])) / 2);
}

double Linear(const double* v, ScheduleTime time) {
  return v[0] + (v[1] - v[0]) * std::min(time.since(), v[2]) / v[2];
}
double LinearLargest(const double* v) { return std::max(v[0], v[1]); }
double LinearSmallest(const double* v) { return std::min(v[0], v[1]); }
std::string CheckLinear(const double*, double warmup) {
  return warmup == 0 ? "" : fmt::format("warmup is {}, expected 0: the line is a warm-up of its own", warmup);
}

double Polynomial(const double* v, ScheduleTime time) {
  return Between(v[2], kernels::Power(1 - std::min(time.since(), v[0]) / v[0], v[1]));
}

// `steps` counts from the first update, the warm-up included.
double Wsd(const double* v, ScheduleTime time) {
  const double into = std::min(static_cast<double>(time.step) - (v[0] - v[1]), v[1]);
  if (into <= 0) return 1;
  const double gone = into / v[1];
  return Between(v[2], 1 - (v[3] != 0 ? std::sqrt(gone) : gone));
}
std::string CheckWsd(const double* v, double warmup) {
  if (v[1] + warmup <= v[0]) return "";
  return fmt::format("decay_steps {} and warmup {} are above steps {}, which holds both", v[1], warmup, v[0]);
}

constexpr ScheduleInfo kAnnealSchedules[] = {
    {"cosine",
     "from 1 to min_factor along half a cosine of `steps` steps, then min_factor; periodic = 1: up and down "
     "for ever",
     kCosine, Cosine, StartsAtOne, Second},
    {"linear", "from start_factor to end_factor in `steps` steps, then end_factor", kLinear, Linear,
     LinearLargest, LinearSmallest, CheckLinear},
    {"polynomial", "from 1 to min_factor as (1 - t / steps)^power, then min_factor", kPolynomial, Polynomial,
     StartsAtOne, Third},
    {"wsd",
     "warm-up, then 1, then in the last decay_steps of `steps` (all of them counted) to min_factor: in a "
     "line, or with "
     "sqrt = 1 as 1 - sqrt",
     kWsd, Wsd, StartsAtOne, Third, CheckWsd},
};

}  // namespace

std::span<const ScheduleInfo> AnnealSchedules() { return kAnnealSchedules; }

}  // namespace stepback
