// Folds a contribution on the device: its bytes go through the pinned ring, a few MiB at a time, each run
// aligned in staging memory, so that copying one part overlaps with folding the part before.
#pragma once

#include "kernels/cuda/memory.h"

namespace stepback::kernels::cuda {

cudaError_t FoldContribution(StagingRing& ring, cudaStream_t stream, Buffer* acc, Accumulate type,
                             const EncodedView& bytes, std::span<const Fold> folds, double weight);

}  // namespace stepback::kernels::cuda
