#include "kernels/cuda/check/device_timer.h"

#include <cuda_runtime_api.h>

#include <algorithm>
#include <vector>

namespace stepback::kernels::cuda {

std::string DeviceName(int device) {
  cudaDeviceProp properties;
  if (cudaGetDeviceProperties(&properties, device) != cudaSuccess) return "unknown device";
  return std::string(properties.name) + ", compute capability " + std::to_string(properties.major) + "." +
         std::to_string(properties.minor);
}

double MedianSeconds(const std::function<void()>& work, int warm_up, int runs) {
  cudaEvent_t begin = nullptr, end = nullptr;
  cudaEventCreate(&begin);
  cudaEventCreate(&end);
  std::vector<float> times;
  for (int i = 0; i < warm_up + runs; ++i) {
    cudaEventRecord(begin);
    work();
    cudaEventRecord(end);
    cudaEventSynchronize(end);
    float milliseconds = 0;
    cudaEventElapsedTime(&milliseconds, begin, end);
    if (i >= warm_up) times.push_back(milliseconds);
  }
  cudaEventDestroy(begin);
  cudaEventDestroy(end);
  std::nth_element(times.begin(), times.begin() + runs / 2, times.end());
  return times[runs / 2] * 1e-3;
}

double CopyBytesPerSecond(size_t bytes) {
  void *from = nullptr, *to = nullptr;
  double rate = 0;
  if (cudaMalloc(&from, bytes) == cudaSuccess && cudaMalloc(&to, bytes) == cudaSuccess) {
    cudaMemset(from, 1, bytes);
    const auto copy = [&] { cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice); };
    rate = 2.0 * static_cast<double>(bytes) / MedianSeconds(copy, 20, 50);
  }
  cudaFree(from);
  cudaFree(to);
  return rate;
}

}  // namespace stepback::kernels::cuda
