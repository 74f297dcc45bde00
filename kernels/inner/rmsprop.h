// RMSProp, plain or centered, with momentum and coupled weight decay, as torch.optim.RMSprop (eps outside the
// root, the rate after the momentum buffer).
#pragma once

#include "kernels/rule.h"

namespace stepback::kernels {

struct RmsProp {
  static constexpr std::string_view kName = "rmsprop";
  static constexpr std::string_view kCitation =
      "torch.optim.RMSprop; Tieleman and Hinton 2012, lecture 6e; Graves 2013, section 4.2 (centered)";
  static constexpr std::array<SlotInfo, 3> kSlots = {{
      {"square_avg", 0.0f, false},
      {"grad_avg", 0.0f, false},
      {"momentum_buffer", 0.0f, true},
  }};
  static constexpr std::array<HyperInfo, 6> kHypers = {{
      {"lr", 1e-2, 0, kFloatMax, "learning rate"},
      {"alpha", 0.99, 0, 1, "decay of the mean square"},
      {"eps", 1e-8, 0, kFloatMax, "added to the root of the mean square"},
      {"weight_decay", 0, 0, kFloatMax, "L2 penalty, added to the gradient"},
      {"momentum", 0, 0, 1, "share of the last step that is kept; 0 keeps no buffer", false, true},
      {"centered", 0, 0, 1, "1: divide by the root of the variance", false, false, true},
  }};
  using Values = HyperValues<RmsProp>;

  struct Scalars {
    float neg_lr, alpha, alpha_rest, eps, weight_decay, momentum;
    float centered;  // 1: the mean's square is subtracted, 0: it is not
  };
  static constexpr int kCurvatureSlot = 0;  // v
  PS_HD static float CurvatureScale(const Scalars&) { return 1.0f; }

  static uint32_t UsedSlots(Values h) {
    return 0b001 | (h["centered"] != 0 ? 0b010 : 0) | (h["momentum"] != 0 ? 0b100 : 0);
  }
  static Scalars Prepare(Values h, int64_t /*step*/, double* /*carry*/) {
    return {float(-h["lr"]),          float(h["alpha"]),    float(1 - h["alpha"]), float(h["eps"]),
            float(h["weight_decay"]), float(h["momentum"]), float(h["centered"])};
  }

  // g += lambda w; v = alpha v + (1 - alpha) g^2; a = lerp(a, g, 1 - alpha);
  // b = mu b + g / (sqrt(v - a^2) + eps); w -= lr b. Rounding can take v - a^2 below zero, where torch gives
  // NaN: it is zero here.
  PS_HD static void Step(const Scalars& s, float g, float& w, float& v, float& mean, float& b) {
    g = Fma(s.weight_decay, w, g);
    v = Fma(s.alpha_rest, g * g, s.alpha * v);
    mean = Lerp(mean, g, s.alpha_rest);
    const float variance = Max(Fma(-s.centered * mean, mean, v), 0.0f);
    b = Fma(s.momentum, b, g / (Sqrt(variance) + s.eps));
    w = Fma(s.neg_lr, b, w);
  }
};

}  // namespace stepback::kernels
