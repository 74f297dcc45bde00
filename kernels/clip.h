// Gradient clipping of a commit, applied to the mean of the contributions before any rule sees it: by value,
// then each tensor to a norm, then all tensors together (algorithms.md 0.1 step 7 and 3).
#pragma once

#include "kernels/rule.h"

namespace stepback::kernels {

// Bounds of the trained tensors' mean gradient (gradient mode) or mean delta; 0: none. Finite and >= 0.
struct Clip {
  double value = 0;        // elements to [-value, value]; torch.nn.utils.clip_grad_value_
  double tensor_norm = 0;  // L2 norm of each tensor
  double global_norm = 0;  // L2 norm of all tensors together; torch.nn.utils.clip_grad_norm_

  bool any() const { return value > 0 || by_norm(); }
  bool by_norm() const { return tensor_norm > 0 || global_norm > 0; }
  // What Clipped takes: beyond every number when values are not limited.
  float limit() const { return static_cast<float>(value > 0 ? value : kFloatMax); }
};

// An infinity stays one, and a NaN: clipping must not hide an aggregate that overflowed.
PS_HD float Clipped(float x, float limit, float factor) {
  const float limited = x > limit ? limit : (x < -limit ? -limit : x);
  const bool infinite = x - x != 0.0f;
  return (infinite ? x : limited) * factor;
}

}  // namespace stepback::kernels
