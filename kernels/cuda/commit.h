// The commit on the device: describes the plan to the kernels, launches one pass per inner rule over the
// blocks of its tensors, and adds up what comes back in block order. Staged contributions are brought over in
// windows of blocks through the pinned ring, so device memory does not grow with the number of workers.
#pragma once

#include "kernels/cuda/memory.h"

namespace stepback::kernels::cuda {

// What a device keeps between commits.
struct CommitScratch {
  Scratch tables;   // tensors, contributions, rule scalars
  Scratch results;  // flag, partial sums of the norms
};

CommitResult CommitArena(CommitScratch& scratch, StagingRing& ring, cudaStream_t stream,
                         const CommitPlan& plan);

}  // namespace stepback::kernels::cuda
