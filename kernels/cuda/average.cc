#include "kernels/cuda/average.h"

#include "kernels/cuda/passes.h"
#include "kernels/cuda/status.h"

namespace stepback::kernels::cuda {
namespace {

float* Floats(const Buffer* buffer) { return reinterpret_cast<float*>(DeviceAddress(buffer)); }

cudaError_t LaunchRun(const AveragePlan& plan, const AverageRun& run, uint32_t* bad, cudaStream_t stream) {
  const float* const phi = Floats(plan.phi) + run.begin;
  float* const next = Floats(plan.next) + run.begin;
  if (!run.numbers) {
    return cudaMemcpyAsync(next, phi, run.count * sizeof(float), cudaMemcpyDeviceToDevice, stream);
  }
  return LaunchAverage(plan.rule, plan.scalars.data(), phi, Floats(plan.average) + run.begin, next, run.count,
                       bad, stream);
}

cudaError_t Execute(Scratch& results, cudaStream_t stream, const AveragePlan& plan, uint32_t* bad) {
  SB_CUDA_RETURN_IF_ERROR(results.Reserve(sizeof *bad));
  auto* const flag = reinterpret_cast<uint32_t*>(results.data());
  SB_CUDA_RETURN_IF_ERROR(cudaMemsetAsync(flag, 0, sizeof *flag, stream));
  for (const AverageRun& run : plan.runs) {
    if (run.count > 0) SB_CUDA_RETURN_IF_ERROR(LaunchRun(plan, run, flag, stream));
  }
  SB_CUDA_RETURN_IF_ERROR(cudaMemcpyAsync(bad, flag, sizeof *bad, cudaMemcpyDeviceToHost, stream));
  return cudaStreamSynchronize(stream);
}

}  // namespace

AverageResult AverageArena(Scratch& results, cudaStream_t stream, const AveragePlan& plan) {
  uint32_t bad = 0;
  const Status status = StatusOf(Execute(results, stream, plan, &bad));
  return {.status = status, .finite = bad == 0};
}

}  // namespace stepback::kernels::cuda
