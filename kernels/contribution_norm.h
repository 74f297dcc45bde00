// The norm of one staged contribution, for clipping contributions before they meet (algorithms.md 3,
// clip_each).
#pragma once

#include <span>

#include "kernels/backend.h"

namespace stepback::kernels {

// Sum of the squares of the trained tensors' decoded elements (the contribution's weight aside), fp64, 32
// lanes within a block of 1,024 and blocks in index order, so the same bits on every machine and for any
// number of threads. The tensors that the contribution lacks count as zero. Host arithmetic, where
// contributions lie. kOutOfMemory: `sum` is unspecified.
Status ContributionSquares(std::span<const TensorStep> tensors, const Contribution& from, Executor* executor,
                           double* sum);

}  // namespace stepback::kernels
