// Folds one contribution into a running sum straight from the slices it arrived in.
#pragma once

#include "kernels/backend.h"
#include "kernels/cpu/loops.h"

namespace stepback::kernels::cpu {

void FoldContribution(const Loops& loops, Buffer* acc, Accumulate type, const EncodedView& bytes,
                      std::span<const Fold> folds, double weight, Executor* executor);

}  // namespace stepback::kernels::cpu
