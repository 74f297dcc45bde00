#include "kernels/contribution_norm.h"

#include <vector>

#include "kernels/cpu/dispatch.h"
#include "kernels/cpu/measure.h"

namespace stepback::kernels {

Status ContributionSquares(std::span<const TensorStep> tensors, const Contribution& from, Executor* executor,
                           double* sum) {
  std::vector<TensorStep> trained(tensors.begin(), tensors.end());
  for (TensorStep& step : trained) {
    if (step.action != TensorAction::kTrained) step.action = TensorAction::kKeep;
  }
  Contribution unweighted = from;
  unweighted.weight = 1;
  const Contribution* const one = &unweighted;
  cpu::MeasuredRound measured;
  const Status status = cpu::Measure(cpu::BestLoops(), trained, cpu::Contributions(&one, 1),
                                     AggregatorInput::kNorms, executor, &measured);
  if (status == Status::kOk) *sum = measured.norms_sq[0];
  return status;
}

}  // namespace stepback::kernels
