// What adam and adamw share: slots, scalars and the per-element step. They differ in one scalar, where weight
// decay enters, so with weight_decay = 0 their bits are the same.
#pragma once

#include <cmath>

#include "kernels/rule.h"

namespace stepback::kernels {

struct AdamStep {
  static constexpr std::array<SlotInfo, 3> kSlots = {{
      {"exp_avg", 0.0f, true},
      {"exp_avg_sq", 0.0f, false},
      {"max_exp_avg_sq", 0.0f, false},
  }};
  static constexpr int kCarry = 2;  // beta1^t, beta2^t

  struct Scalars {
    float neg_step_size;  // -lr / (1 - beta1^t)
    float inverse_root;   // 1 / sqrt(1 - beta2^t)
    float beta1_rest;     // 1 - beta1
    float beta2, beta2_rest;
    float eps;
    float l2;       // coupled decay: joins the gradient
    float keep;     // decoupled decay: 1 - lr * lambda
    float amsgrad;  // 1: the maximum of v so far divides, 0: v does
  };
  static constexpr int kCurvatureSlot = 1;  // v, without its bias
  PS_HD static float CurvatureScale(const Scalars& s) { return s.inverse_root * s.inverse_root; }

  // Every hyperparameter table of the family has the same names.
  template <class Values>
  static Scalars Prepare(const Values& h, double* carry, bool decoupled) {
    carry[0] *= h["beta1"];
    carry[1] *= h["beta2"];
    const double decay = h["weight_decay"];
    return {float(-h["lr"] / (1 - carry[0])),
            float(1 / std::sqrt(1 - carry[1])),
            float(1 - h["beta1"]),
            float(h["beta2"]),
            float(1 - h["beta2"]),
            float(h["eps"]),
            float(decoupled ? 0 : decay),
            float(decoupled ? 1 - h["lr"] * decay : 1),
            float(h["amsgrad"])};
  }

  // w *= 1 - lr lambda | g += lambda w; m = lerp(m, g, 1 - beta1); v = beta2 v + (1 - beta2) g^2; x = max(x,
  // v); w -= lr / (1 - beta1^t) m / (sqrt(x or v) / sqrt(1 - beta2^t) + eps). v is never negative, so without
  // amsgrad max(0 x, v) is v.
  PS_HD static void Step(const Scalars& s, float g, float& w, float& m, float& v, float& v_max) {
    g = Fma(s.l2, w, g);
    m = Lerp(m, g, s.beta1_rest);
    v = Fma(s.beta2_rest, g * g, s.beta2 * v);
    v_max = Max(s.amsgrad * v_max, v);
    const float root = Fma(Sqrt(v_max), s.inverse_root, s.eps);
    w = Fma(s.neg_step_size, m / root, s.keep * w);
  }
};

}  // namespace stepback::kernels
