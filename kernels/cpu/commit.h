// The commit on host memory: cuts the arena into tasks of whole blocks, runs the fused pass over each, and
// adds up the norms in block order.
#pragma once

#include "kernels/backend.h"
#include "kernels/cpu/loops.h"

namespace stepback::kernels::cpu {

// `allocator` gives the memory in which rules step whole tensors. kOutOfMemory: nothing has been written.
CommitResult CommitArena(const Loops& loops, const CommitPlan& plan, HostAllocator* allocator,
                         Executor* executor);

}  // namespace stepback::kernels::cpu
