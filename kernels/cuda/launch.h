// How a kernel is started, apart from passes.cu, so that the same file also compiles as plain C++ against the
// emulated runtime of tests/conformance/cuda_emulation.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

namespace stepback::kernels::cuda {

inline constexpr int kThreads = 256;  // per CUDA block, which handles one cache block of kBlockElements

#if defined(__CUDACC__)
template <class... Parameters, class... Arguments>
void StartGrid(void (*kernel)(Parameters...), uint64_t blocks, cudaStream_t stream,
               const Arguments&... arguments) {
  kernel<<<static_cast<unsigned>(blocks), kThreads, 0, stream>>>(arguments...);
}
#endif

}  // namespace stepback::kernels::cuda
