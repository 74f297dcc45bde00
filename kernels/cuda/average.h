// One sample of an average on the device: a launch per run of numbers, a copy per run of bytes.
#pragma once

#include "kernels/cuda/memory.h"

namespace stepback::kernels::cuda {

AverageResult AverageArena(Scratch& results, cudaStream_t stream, const AveragePlan& plan);

}  // namespace stepback::kernels::cuda
