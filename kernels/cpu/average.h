// One sample of an average: a single elementwise pass over the arena.
#pragma once

#include "kernels/backend.h"
#include "kernels/cpu/loops.h"

namespace stepback::kernels::cpu {

AverageResult AverageArena(const Loops& loops, const AveragePlan& plan, Executor* executor);

}  // namespace stepback::kernels::cpu
