// Lookahead: the slow weights move a share alpha towards the fast weights, phi = lerp(phi, theta, alpha).
#pragma once

#include "kernels/rule.h"

namespace stepback::kernels {

struct Lookahead {
  static constexpr std::string_view kName = "lookahead";
  static constexpr std::string_view kCitation = "Zhang et al. 2019, algorithm 1";
  static constexpr std::array<SlotInfo, 0> kSlots = {};
  static constexpr std::array<HyperInfo, 1> kHypers = {{
      {"alpha", 0.5, 0, 1,
       "slow weights step size; 1 is the inner optimizer alone, 0 freezes the slow weights"},
  }};
  using Values = HyperValues<Lookahead>;

  struct Scalars {
    float alpha;
  };
  static Scalars Prepare(Values h, int64_t /*step*/, double* /*carry*/) { return {float(h["alpha"])}; }

  // Delta mode: the worker sent phi_base - theta.
  PS_HD static void Step(const Scalars& s, float delta, float& w) { w = Fma(-s.alpha, delta, w); }

  // Gradient mode: both weights are here. alpha = 1 is a copy: the arithmetic would turn 0 x inf into NaN.
  PS_HD static void Merge(const Scalars& s, float theta, float& w) {
    const float mixed = Lerp(w, theta, s.alpha);
    w = s.alpha == 1.0f ? theta : mixed;
  }
};

}  // namespace stepback::kernels
