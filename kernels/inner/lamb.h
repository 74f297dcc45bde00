// Layer-wise adaptive moments: AdamW's direction, scaled per tensor to the length of its weights.
#pragma once

#include <cmath>

#include "kernels/rule.h"

namespace stepback::kernels {

struct Lamb {
  static constexpr std::string_view kName = "lamb";
  static constexpr std::string_view kCitation = "You et al. 2020 (LAMB), algorithm 2; NVIDIA apex FusedLAMB";
  static constexpr std::array<SlotInfo, 2> kSlots = {{
      {"exp_avg", 0.0f, true},
      {"exp_avg_sq", 0.0f, false},
  }};
  static constexpr std::array<HyperInfo, 6> kHypers = {{
      {"lr", 1e-3, 0, kFloatMax, "learning rate"},
      {"beta1", 0.9, 0, 1, "decay of the first moment", false, true},
      {"beta2", 0.999, 0, 1, "decay of the second moment", false, true},
      {"eps", 1e-6, 0, kFloatMax, "added to the root of the second moment"},
      {"weight_decay", 1e-2, 0, kFloatMax, "decoupled: share of the weights that joins the direction"},
      {"always_adapt", 0, 0, 1, "1: trust ratio without weight_decay too", false, false, true},
  }};
  using Values = HyperValues<Lamb>;
  static constexpr int kCarry = 2;  // beta1^t, beta2^t
  static constexpr int kSums = 2;   // squares of the weights, of the direction

  struct Scalars {
    double lr;
    float neg_step;      // -lr x trust ratio
    float first_scale;   // 1 / (1 - beta1^t)
    float inverse_root;  // 1 / sqrt(1 - beta2^t)
    float beta1_rest;    // 1 - beta1
    float beta2, beta2_rest;
    float eps, decay;
  };
  static constexpr int kCurvatureSlot = 1;  // v, without its bias
  PS_HD static float CurvatureScale(const Scalars& s) { return s.inverse_root * s.inverse_root; }

  // Without decay the trust ratio is 1, as in apex and timm.
  static bool Reduces(Values h) { return h["weight_decay"] != 0 || h["always_adapt"] != 0; }

  static Scalars Prepare(Values h, int64_t /*step*/, double* carry) {
    carry[0] *= h["beta1"];
    carry[1] *= h["beta2"];
    return {h["lr"],
            float(-h["lr"]),
            float(1 / (1 - carry[0])),
            float(1 / std::sqrt(1 - carry[1])),
            float(1 - h["beta1"]),
            float(h["beta2"]),
            float(1 - h["beta2"]),
            float(h["eps"]),
            float(h["weight_decay"])};
  }

  // r = |w| / |u|, 1 where either is zero; the step is then lr |w| long whatever the gradient.
  static void Finish(Scalars& s, const double* sums) {
    const bool both = sums[0] > 0 && sums[1] > 0;
    s.neg_step = float(-s.lr * (both ? std::sqrt(sums[0]) / std::sqrt(sums[1]) : 1));
  }

  PS_HD static void Reduce(const Scalars& s, float g, float w, float m, float v, double (&sums)[kSums]) {
    const float u = Direction(s, g, w, m, v);
    sums[0] = double{w} * double{w};
    sums[1] = double{u} * double{u};
  }

  // w -= lr r u
  PS_HD static void Step(const Scalars& s, float g, float& w, float& m, float& v) {
    w = Fma(s.neg_step, Direction(s, g, w, m, v), w);
  }

  // m = lerp(m, g, 1 - beta1); v = beta2 v + (1 - beta2) g^2; u = m^ / (sqrt(v^) + eps) + lambda w
  PS_HD static float Direction(const Scalars& s, float g, float w, float& m, float& v) {
    m = Lerp(m, g, s.beta1_rest);
    v = Fma(s.beta2_rest, g * g, s.beta2 * v);
    const float root = Fma(Sqrt(v), s.inverse_root, s.eps);
    return Fma(s.decay, w, s.first_scale * m / root);
  }
};

}  // namespace stepback::kernels
