// What the primal averaging rules share (schedule-free, GPA): steps go to z, evaluators read its running
// average x, and trainers get y between the two, which is what the weights hold. Pure, any thread.
#pragma once

#include <algorithm>

#include "kernels/power.h"
#include "kernels/rule.h"

namespace stepback::kernels {

// x = (1 - share) x + share z; y = keep x + (1 - keep) z. Exact at the ends: share 1 gives z, and then y is
// z.
PS_HD void AveragePrimal(float z, float share, float keep, float& x, float& y) {
  x = Lerp(x, z, share);
  y = Lerp(z, x, keep);
}

// The rate of step t and the share of z that enters the average (Defazio et al. 2024, algorithm 1 and section
// 4.3): lr_t = lr min(1, t / warmup_steps); w_t = t^r (max lr so far)^weight_lr_power; share = w_t / (w_1 +
// .. + w_t).
struct ScheduleFreeRate {
  static constexpr int kCarry = 2;  // w_1 + .. + w_t, the largest rate so far
  double lr, share;

  // Carries start at 1, which is no sum of weights and no rate: the first step overwrites them.
  template <class Values>
  static ScheduleFreeRate Next(const Values& h, int64_t step, double* carry) {
    const double warmup = h["warmup_steps"], t = double(step);
    const double lr = h["lr"] * (t < warmup ? t / warmup : 1);
    const double largest = step <= 1 ? lr : std::max(lr, carry[1]);
    const double weight = Power(t, h["r"]) * Power(largest, h["weight_lr_power"]);
    const double sum = step <= 1 ? weight : carry[0] + weight;
    carry[0] = sum;
    carry[1] = largest;
    return {lr, sum > 0 ? weight / sum : 0};
  }
};

}  // namespace stepback::kernels
