// Schedule-free SGD: trainers get y, evaluators the average x; no rate schedule is needed.
#pragma once

#include "kernels/inner/primal_averaging.h"

namespace stepback::kernels {

struct ScheduleFreeSgd {
  static constexpr std::string_view kName = "schedule_free_sgd";
  static constexpr std::string_view kCitation = "Defazio et al. 2024 (The Road Less Scheduled), algorithm 1";
  static constexpr std::array<SlotInfo, 2> kSlots = {{
      {"x", 0.0f, false, true},
      {"z", 0.0f, false, true},
  }};
  static constexpr int kEvalSlot = 0;
  static constexpr std::array<HyperInfo, 6> kHypers = {{
      {"lr", 1, 0, kFloatMax, "learning rate after the warm-up"},
      {"beta", 0.9, 0, 1, "where trainers stand: 0 at z, towards 1 at the average x", false, true},
      {"weight_decay", 0, 0, kFloatMax, "L2 penalty, added to the gradient"},
      {"warmup_steps", 0, 0, 1e9, "steps over which the rate rises linearly", false, false, true},
      {"r", 0, 0, 1e3, "power of the step in the weights of the average"},
      {"weight_lr_power", 2, 0, 1e3, "power of the largest rate so far in the weights of the average"},
  }};
  static constexpr int kCarry = ScheduleFreeRate::kCarry;
  using Values = HyperValues<ScheduleFreeSgd>;

  struct Scalars {
    float neg_lr, share, beta, weight_decay;
  };
  static Scalars Prepare(Values h, int64_t step, double* carry) {
    const ScheduleFreeRate rate = ScheduleFreeRate::Next(h, step, carry);
    return {float(-rate.lr), float(rate.share), float(h["beta"]), float(h["weight_decay"])};
  }

  // z -= lr_t (g + lambda y); x = (1 - c) x + c z; y = beta x + (1 - beta) z
  PS_HD static void Step(const Scalars& s, float g, float& y, float& x, float& z) {
    z = Fma(s.neg_lr, Fma(s.weight_decay, y, g), z);
    AveragePrimal(z, s.share, s.beta, x, y);
  }
};

}  // namespace stepback::kernels
