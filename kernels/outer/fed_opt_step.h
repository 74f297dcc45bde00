// What fed_adam, fed_yogi and fed_adagrad share: slots, scalars and the step along the first moment. They
// differ in the second moment alone (Reddi et al. 2021, algorithm 2). The second moment starts at tau^2,
// which depends on a hyperparameter: its array starts at 0 and the first step adds what is missing.
#pragma once

#include <cmath>

#include "kernels/rule.h"

namespace stepback::kernels {

struct FedOptStep {
  static constexpr std::array<SlotInfo, 2> kSlots = {{
      {"first_moment", 0.0f, true},
      {"second_moment", 0.0f, false},
  }};

  struct Scalars {
    float neg_lr;
    float beta1_rest;  // 1 - beta1
    float beta2, beta2_rest;
    float tau;
    float second_start;  // tau^2 in a tensor's first step, then 0
  };

  // Without beta1 the first moment is the delta itself: m starts at 0 and is never stored.
  template <class Values>
  static uint32_t FirstMomentSlot(const Values& h) {
    return h["beta1"] != 0 ? 0b01 : 0;
  }

  template <class Values>
  static Scalars Prepare(const Values& h, double beta2, double lr, int64_t step) {
    return {float(-lr),       float(1 - h["beta1"]), float(beta2),
            float(1 - beta2), float(h["tau"]),       float(step == 1 ? h["tau"] * h["tau"] : 0)};
  }

  // m = beta1 m + (1 - beta1) delta; phi -= lr m / (sqrt(v) + tau).
  PS_HD static void Move(const Scalars& s, float delta, float& w, float& m, float v) {
    m = Lerp(m, delta, s.beta1_rest);
    w = Fma(s.neg_lr, m / (Sqrt(v) + s.tau), w);
  }
};

}  // namespace stepback::kernels
