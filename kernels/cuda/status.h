// From CUDA errors to the back-end's answers, and the current device of a scope.
#pragma once

#include <cuda_runtime_api.h>

#include "kernels/backend.h"

namespace stepback::kernels::cuda {

// Also clears the error, so that the next call does not report it again. A fault of a kernel is sticky: every
// later call on the device fails too, and the caller sees kDeviceError each time.
inline Status StatusOf(cudaError_t error) {
  if (error == cudaSuccess) return Status::kOk;
  (void)cudaGetLastError();
  return error == cudaErrorMemoryAllocation ? Status::kOutOfMemory : Status::kDeviceError;
}

#define SB_CUDA_RETURN_IF_ERROR(expression)                                         \
  do {                                                                              \
    if (const cudaError_t error = (expression); error != cudaSuccess) return error; \
  } while (false)

// The current device is per thread, and compute threads are shared by models on different devices.
class DeviceScope {
 public:
  explicit DeviceScope(int device) {
    (void)cudaGetDevice(&saved_);
    (void)cudaSetDevice(device);
  }
  ~DeviceScope() { (void)cudaSetDevice(saved_); }
  DeviceScope(const DeviceScope&) = delete;
  DeviceScope& operator=(const DeviceScope&) = delete;

 private:
  int saved_ = 0;
};

}  // namespace stepback::kernels::cuda
