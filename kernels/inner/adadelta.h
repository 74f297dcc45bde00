// Adadelta with coupled weight decay, as torch.optim.Adadelta (eps inside both roots).
#pragma once

#include "kernels/rule.h"

namespace stepback::kernels {

struct Adadelta {
  static constexpr std::string_view kName = "adadelta";
  static constexpr std::string_view kCitation = "torch.optim.Adadelta; Zeiler 2012, algorithm 1";
  static constexpr std::array<SlotInfo, 2> kSlots = {{
      {"square_avg", 0.0f, false},
      {"acc_delta", 0.0f, false},
  }};
  static constexpr std::array<HyperInfo, 4> kHypers = {{
      {"lr", 1, 0, kFloatMax, "multiplies the update"},
      {"rho", 0.9, 0, 1, "decay of both mean squares"},
      {"eps", 1e-6, 0, kFloatMax, "added to both mean squares"},
      {"weight_decay", 0, 0, kFloatMax, "L2 penalty, added to the gradient"},
  }};
  using Values = HyperValues<Adadelta>;

  struct Scalars {
    float neg_lr, rho, rho_rest, eps, weight_decay;
  };
  static Scalars Prepare(Values h, int64_t /*step*/, double* /*carry*/) {
    return {float(-h["lr"]), float(h["rho"]), float(1 - h["rho"]), float(h["eps"]), float(h["weight_decay"])};
  }

  // g += lambda w; v = rho v + (1 - rho) g^2; d = sqrt(x + eps) / sqrt(v + eps) g; x = rho x + (1 - rho) d^2;
  // w -= lr d
  PS_HD static void Step(const Scalars& s, float g, float& w, float& v, float& x) {
    g = Fma(s.weight_decay, w, g);
    v = Fma(s.rho_rest, g * g, s.rho * v);
    const float d = Sqrt(x + s.eps) / Sqrt(v + s.eps) * g;
    x = Fma(s.rho_rest, d * d, s.rho * x);
    w = Fma(s.neg_lr, d, w);
  }
};

}  // namespace stepback::kernels
