// Delayed Nesterov for asynchronous rounds: every delta moves phi by its N-th part, and the momentum only
// learns of them N at a time. B += delta; every N-th step m = beta m + B / N, B = 0, phi -= lr ((1 - cN + c)
// beta m + delta / N); between, phi -= lr (c beta m + delta / N). With c = 0, N steps move phi as one
// Nesterov step on their mean does.
#pragma once

#include <cstdio>

#include "kernels/rule.h"

namespace stepback::kernels {

struct DelayedNesterov {
  static constexpr std::string_view kName = "delayed_nesterov";
  static constexpr std::string_view kCitation = "Liu et al. 2024 (asynchronous local SGD), algorithm 3";
  static constexpr std::array<SlotInfo, 2> kSlots = {{{"velocity", 0.0f, true}, {"buffer", 0.0f, false}}};
  static constexpr std::array<HyperInfo, 4> kHypers = {{
      {"lr", 0.7, 0, kFloatMax, "outer learning rate"},
      {"momentum", 0.9, 0, 1, "outer momentum; 0 keeps no state", false, true},
      {"delay", 1, 1, 65536, "N: outer steps per momentum step, usually the number of workers; 1 is nesterov",
       false, false, true},
      {"spread", 0, 0, 1, "c: share of the momentum in each of the N - 1 steps between; at most 1 / delay"},
  }};
  using Values = HyperValues<DelayedNesterov>;

  struct Scalars {
    float neg_lr, momentum, inverse_delay;
    float share;  // of the velocity in this step: beta (1 - cN + c), or beta c
    float fires;  // 1: the N-th step
  };
  static uint32_t UsedSlots(Values h) {
    if (h["momentum"] == 0) return 0;
    return h["delay"] > 1 ? 0b11 : 0b01;
  }
  static bool Check(Values h, char* error, size_t size) {
    if (h["spread"] * h["delay"] <= 1) return true;
    std::snprintf(error, size, "spread is %g, expected at most 1 / delay = %g", h["spread"], 1 / h["delay"]);
    return false;
  }
  static Scalars Prepare(Values h, int64_t step, double* /*carry*/) {
    const double n = h["delay"], c = h["spread"];
    const bool fires = step % static_cast<int64_t>(n) == 0;
    return {float(-h["lr"]), float(h["momentum"]), float(1 / n),
            float(h["momentum"] * (fires ? 1 - c * n + c : c)), fires ? 1.0f : 0.0f};
  }

  PS_HD static void Step(const Scalars& s, float delta, float& w, float& velocity, float& buffer) {
    const bool fires = s.fires != 0.0f;
    const float sum = buffer + delta;
    const float next = Fma(s.momentum, velocity, s.inverse_delay * sum);
    velocity = fires ? next : velocity;
    buffer = fires ? 0.0f : sum;
    w = Fma(s.neg_lr, Fma(s.share, velocity, s.inverse_delay * delta), w);
  }
};

}  // namespace stepback::kernels
