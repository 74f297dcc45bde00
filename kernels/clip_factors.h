// From the norms of the tensors to what clipping multiplies them by. Host only, fp64, pure.
#pragma once

#include <cmath>
#include <span>
#include <vector>

#include "kernels/clip.h"

namespace stepback::kernels {

// min(1, bound / (norm + 1e-6)), torch's formula; 1 without a bound. A norm that is no number clips nothing:
// the step that follows finds the bad element itself.
inline double ClipFactor(double bound, double norm) {
  if (bound <= 0) return 1;
  const double factor = bound / (norm + 1e-6);
  return factor < 1 ? factor : 1;
}

// What each tensor's mean is multiplied by, from the sums of its squares after the limit on values. The
// global norm is taken of the tensors as their own norms leave them.
inline std::vector<float> ClipFactors(const Clip& clip, std::span<const double> squares) {
  std::vector<double> factors;
  double total = 0;
  for (const double sum : squares) {
    const double norm = std::sqrt(sum);
    factors.push_back(ClipFactor(clip.tensor_norm, norm));
    total += norm * factors.back() * norm * factors.back();
  }
  const double global = ClipFactor(clip.global_norm, std::sqrt(total));
  std::vector<float> rounded;
  for (const double factor : factors) rounded.push_back(static_cast<float>(factor * global));
  return rounded;
}

}  // namespace stepback::kernels
