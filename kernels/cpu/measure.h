// Norms and distances of whole contributions, for aggregators that compare them.
#pragma once

#include <span>
#include <vector>

#include "kernels/aggregator_info.h"
#include "kernels/cpu/contribution_rows.h"
#include "kernels/executor.h"

namespace stepback::kernels::cpu {

struct MeasuredRound {
  std::vector<double> norms_sq;
  std::vector<double> distances_sq;

  Measures view() const { return {norms_sq.size(), norms_sq, distances_sq}; }
};

// Over the elements of the trained and averaged tensors of `tensors`; distances only when `input` asks for
// them. kOutOfMemory leaves `measured` unspecified.
Status Measure(const Loops& loops, std::span<const TensorStep> tensors, Contributions from,
               AggregatorInput input, Executor* executor, MeasuredRound* measured);

}  // namespace stepback::kernels::cpu
