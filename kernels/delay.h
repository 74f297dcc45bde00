// Compensation of a stale gradient: a first-order correction of g, computed at `base`, towards the gradient
// at the present weights, with the outer product of the gradient as curvature, its diagonal only. Zheng et
// al. 2017 (DC-ASGD), equation 10: g + lambda g g (now - base).
#pragma once

#include "kernels/rule.h"

namespace stepback::kernels {

PS_HD float Compensated(float g, float now, float base, float lambda) {
  return Fma(lambda * (g * g), now - base, g);
}

}  // namespace stepback::kernels
