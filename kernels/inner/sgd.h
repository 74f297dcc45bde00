// Stochastic gradient descent with momentum, dampening, Nesterov momentum and coupled weight decay, as
// torch.optim.SGD.
#pragma once

#include <cstdio>

#include "kernels/rule.h"

namespace stepback::kernels {

struct Sgd {
  static constexpr std::string_view kName = "sgd";
  static constexpr std::string_view kCitation = "torch.optim.SGD; Sutskever et al. 2013, section 2";
  static constexpr std::array<SlotInfo, 1> kSlots = {{{"momentum_buffer", 0.0f, true}}};
  static constexpr std::array<HyperInfo, 5> kHypers = {{
      {"lr", 1e-3, 0, kFloatMax, "learning rate"},
      {"momentum", 0, 0, 1, "momentum factor; 0 keeps no buffer", false, true},
      {"dampening", 0, 0, 1, "dampening of the gradient that enters the buffer (not on the first step)"},
      {"weight_decay", 0, 0, kFloatMax, "L2 penalty, added to the gradient"},
      {"nesterov", 0, 0, 1, "1: step along gradient + momentum x buffer", false, false, true},
  }};
  using Values = HyperValues<Sgd>;

  struct Scalars {
    float neg_lr, momentum, gain, weight_decay, look_ahead;
  };

  static uint32_t UsedSlots(Values h) { return h["momentum"] != 0 ? 1 : 0; }

  static bool Check(Values h, char* error, size_t error_size) {
    if (h["nesterov"] == 0 || h["dampening"] == 0) return true;
    std::snprintf(error, error_size, "dampening is %g, expected 0 with nesterov = 1", h["dampening"]);
    return false;
  }

  // The buffer starts at zero, so "first buffer = gradient" is a gain of 1 on the first step. Without
  // momentum the buffer is the gradient itself, whatever the dampening.
  static Scalars Prepare(Values h, int64_t step, double* /*carry*/) {
    const bool plain = h["momentum"] == 0;
    const double gain = step <= 1 || plain ? 1 : 1 - h["dampening"];
    const double look_ahead = h["nesterov"] != 0 && !plain ? 1 : 0;
    return {float(-h["lr"]), float(h["momentum"]), float(gain), float(h["weight_decay"]), float(look_ahead)};
  }

  // g += lambda w; b = mu b + (1 - tau) g; w -= lr (nesterov ? g + mu b : b)
  PS_HD static void Step(const Scalars& s, float g, float& w, float& b) {
    g = Fma(s.weight_decay, w, g);
    b = Fma(s.momentum, b, s.gain * g);
    const float ahead = Fma(s.momentum, b, g);
    w = Fma(s.neg_lr, s.look_ahead != 0.0f ? ahead : b, w);
  }
};

}  // namespace stepback::kernels
