// Schedule-free AdamW: the steps of schedule-free SGD divided by the root of the second moment; there is no
// first moment, its place is the average.
#pragma once

#include <cmath>

#include "kernels/inner/primal_averaging.h"

namespace stepback::kernels {

struct ScheduleFreeAdamW {
  static constexpr std::string_view kName = "schedule_free_adamw";
  static constexpr std::string_view kCitation =
      "Defazio et al. 2024 (The Road Less Scheduled), algorithm 1 with Adam's second moment";
  static constexpr std::array<SlotInfo, 3> kSlots = {{
      {"x", 0.0f, false, true},
      {"z", 0.0f, false, true},
      {"exp_avg_sq", 0.0f, false},
  }};
  static constexpr int kEvalSlot = 0;
  static constexpr std::array<HyperInfo, 8> kHypers = {{
      {"lr", 2.5e-3, 0, kFloatMax, "learning rate after the warm-up"},
      {"beta1", 0.9, 0, 1, "where trainers stand: 0 at z, towards 1 at the average x", false, true},
      {"beta2", 0.999, 0, 1, "decay of the second moment", false, true},
      {"eps", 1e-8, 0, kFloatMax, "added to the root of the second moment"},
      {"weight_decay", 0, 0, kFloatMax, "times y, added to the normalised gradient"},
      {"warmup_steps", 0, 0, 1e9, "steps over which the rate rises linearly", false, false, true},
      {"r", 0, 0, 1e3, "power of the step in the weights of the average"},
      {"weight_lr_power", 2, 0, 1e3, "power of the largest rate so far in the weights of the average"},
  }};
  static constexpr int kCarry = ScheduleFreeRate::kCarry + 1;  // and beta2^t
  using Values = HyperValues<ScheduleFreeAdamW>;

  struct Scalars {
    float neg_lr, share, beta1, weight_decay;
    float inverse_root;  // 1 / sqrt(1 - beta2^t)
    float beta2, beta2_rest;
    float eps;
  };
  static Scalars Prepare(Values h, int64_t step, double* carry) {
    const ScheduleFreeRate rate = ScheduleFreeRate::Next(h, step, carry);
    double& power = carry[ScheduleFreeRate::kCarry];
    power *= h["beta2"];
    return {float(-rate.lr),          float(rate.share), float(h["beta1"]),
            float(h["weight_decay"]), float(1 / std::sqrt(1 - power)),
            float(h["beta2"]),        float(1 - h["beta2"]),
            float(h["eps"])};
  }

  // v = beta2 v + (1 - beta2) g^2; z -= lr_t (g / (sqrt(v / (1 - beta2^t)) + eps) + lambda y);
  // x = (1 - c) x + c z; y = beta1 x + (1 - beta1) z
  PS_HD static void Step(const Scalars& s, float g, float& y, float& x, float& z, float& v) {
    v = Fma(s.beta2_rest, g * g, s.beta2 * v);
    const float normalised = g / Fma(Sqrt(v), s.inverse_root, s.eps);
    z = Fma(s.neg_lr, Fma(s.weight_decay, y, normalised), z);
    AveragePrimal(z, s.share, s.beta1, x, y);
  }
};

}  // namespace stepback::kernels
