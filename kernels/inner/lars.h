// Layer-wise adaptive rate scaling: SGD whose gradient is scaled per tensor to a share of the weights'
// length.
#pragma once

#include <cmath>
#include <cstdio>

#include "kernels/rule.h"

namespace stepback::kernels {

struct Lars {
  static constexpr std::string_view kName = "lars";
  static constexpr std::string_view kCitation = "You et al. 2017 (LARS), algorithm 1; timm.optim.Lars";
  static constexpr std::array<SlotInfo, 1> kSlots = {{{"momentum_buffer", 0.0f, true}}};
  static constexpr std::array<HyperInfo, 9> kHypers = {{
      {"lr", 1, 0, kFloatMax, "learning rate"},
      {"momentum", 0, 0, 1, "momentum factor; 0 keeps no buffer", false, true},
      {"dampening", 0, 0, 1, "dampening of the gradient that enters the buffer (not on the first step)"},
      {"weight_decay", 0, 0, kFloatMax, "L2 penalty, added to the gradient and to its norm"},
      {"nesterov", 0, 0, 1, "1: step along gradient + momentum x buffer", false, false, true},
      {"trust_coeff", 1e-3, 0, kFloatMax, "share of the weights' norm that a step of rate 1 may be long"},
      {"eps", 1e-8, 0, kFloatMax, "added to the norm that divides"},
      {"trust_clip", 0, 0, 1, "1: LARC, the trust ratio is min(ratio / lr, 1)", false, false, true},
      {"always_adapt", 0, 0, 1, "1: trust ratio without weight_decay too", false, false, true},
  }};
  using Values = HyperValues<Lars>;
  static constexpr int kSums = 2;  // squares of the weights, of the gradient

  struct Scalars {
    double lr, decay, trust_coeff, eps;
    bool clips;
    float neg_lr, momentum, gain, weight_decay, look_ahead;
    float trust;  // multiplies the decayed gradient
  };

  static uint32_t UsedSlots(Values h) { return h["momentum"] != 0 ? 1 : 0; }
  // Without decay the rule is SGD with momentum, as in timm.
  static bool Reduces(Values h) { return h["weight_decay"] != 0 || h["always_adapt"] != 0; }

  static bool Check(Values h, char* error, size_t error_size) {
    if (h["nesterov"] == 0 || h["dampening"] == 0) return true;
    std::snprintf(error, error_size, "dampening is %g, expected 0 with nesterov = 1", h["dampening"]);
    return false;
  }

  // Buffer and gain as in sgd.h.
  static Scalars Prepare(Values h, int64_t step, double* /*carry*/) {
    const bool plain = h["momentum"] == 0;
    const double gain = step <= 1 || plain ? 1 : 1 - h["dampening"];
    return {h["lr"],
            h["weight_decay"],
            h["trust_coeff"],
            h["eps"],
            h["trust_clip"] != 0,
            float(-h["lr"]),
            float(h["momentum"]),
            float(gain),
            float(h["weight_decay"]),
            h["nesterov"] != 0 && !plain ? 1.0f : 0.0f,
            1.0f};
  }

  // r = tc |w| / (|g| + lambda |w| + eps), 1 where a norm is zero; LARC: min(r / lr, 1).
  static void Finish(Scalars& s, const double* sums) {
    const double weights = std::sqrt(sums[0]), gradient = std::sqrt(sums[1]);
    double trust = 1;
    if (weights > 0 && gradient > 0) trust = s.trust_coeff * weights / (gradient + s.decay * weights + s.eps);
    if (s.clips) trust = trust / s.lr < 1 ? trust / s.lr : 1;
    s.trust = float(trust);
  }

  PS_HD static void Reduce(const Scalars&, float g, float w, float /*b*/, double (&sums)[kSums]) {
    sums[0] = double{w} * double{w};
    sums[1] = double{g} * double{g};
  }

  // g = r (g + lambda w); b = mu b + (1 - tau) g; w -= lr (nesterov ? g + mu b : b)
  PS_HD static void Step(const Scalars& s, float g, float& w, float& b) {
    g = s.trust * Fma(s.weight_decay, w, g);
    b = Fma(s.momentum, b, s.gain * g);
    const float ahead = Fma(s.momentum, b, g);
    w = Fma(s.neg_lr, s.look_ahead != 0.0f ? ahead : b, w);
  }
};

}  // namespace stepback::kernels
