// A CUDA runtime for machines without one: just enough of its interface for the CUDA back-end to run in
// tests, kernels and all, one thread after another on the host. It checks what a device would only punish:
// writes outside an allocation end the program, and so do loads that are not aligned to their type (passes.cu
// is compiled with -fsanitize=alignment here). It says nothing about speed, and nothing about races between
// threads of one block other than at barriers. Included as <cuda_runtime_api.h>, ahead of any real one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>

enum cudaError_t { cudaSuccess = 0, cudaErrorMemoryAllocation = 2 };
enum cudaMemcpyKind { cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost, cudaMemcpyDeviceToDevice };
enum { cudaEventDisableTiming = 2 };
using cudaStream_t = struct EmulatedStream*;
using cudaEvent_t = struct EmulatedEvent*;

cudaError_t cudaMalloc(void** p, size_t bytes);
cudaError_t cudaFree(void* p);  // ends the program when the allocation's guards were written to
cudaError_t cudaMallocHost(void** p, size_t bytes);
cudaError_t cudaFreeHost(void* p);
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream);
cudaError_t cudaMemsetAsync(void* p, int value, size_t bytes, cudaStream_t stream);
inline cudaError_t cudaGetDeviceCount(int* count) { return *count = 1, cudaSuccess; }
inline cudaError_t cudaGetDevice(int* device) { return *device = 0, cudaSuccess; }
inline cudaError_t cudaSetDevice(int) { return cudaSuccess; }
inline cudaError_t cudaGetLastError() { return cudaSuccess; }
inline const char* cudaGetErrorString(cudaError_t) { return "emulated error"; }
inline cudaError_t cudaStreamCreate(cudaStream_t* stream) { return *stream = nullptr, cudaSuccess; }
inline cudaError_t cudaStreamDestroy(cudaStream_t) { return cudaSuccess; }
inline cudaError_t cudaStreamSynchronize(cudaStream_t) { return cudaSuccess; }
inline cudaError_t cudaDeviceSynchronize() { return cudaSuccess; }
inline cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  return *event = nullptr, cudaSuccess;
}
inline cudaError_t cudaEventDestroy(cudaEvent_t) { return cudaSuccess; }
inline cudaError_t cudaEventSynchronize(cudaEvent_t) { return cudaSuccess; }
inline cudaError_t cudaEventRecord(cudaEvent_t, cudaStream_t) { return cudaSuccess; }

// --- the device side ---

#define __global__
#define __device__
#define __shared__ static  // blocks run one after another
#define __grid_constant__
#define __launch_bounds__(threads)

struct EmulatedIndex {
  unsigned x;
};
extern EmulatedIndex blockIdx, threadIdx;

int __syncthreads_and(int value);
double __shfl_down_sync(unsigned mask, double value, unsigned lanes);
uint32_t atomicMin(uint32_t* at, uint32_t value);

namespace emulated_cuda {
// Runs `thread` for every thread of every block; threads of one block meet at barriers.
void Run(uint64_t blocks, int threads, const std::function<void()>& thread);
}  // namespace emulated_cuda

namespace stepback::kernels::cuda {
template <class... Parameters, class... Arguments>
void StartGrid(void (*kernel)(Parameters...), uint64_t blocks, cudaStream_t, const Arguments&... arguments) {
  emulated_cuda::Run(blocks, 256, [&] { kernel(arguments...); });
}
}  // namespace stepback::kernels::cuda
