// Device memory: the buffers callers own, growable scratch, and the pinned ring through which contributions
// travel. Plain cudaMalloc and cudaMallocHost only. Everything here belongs to one CudaBackend and is used
// under its lock.
#pragma once

#include <cuda_runtime_api.h>

#include <array>
#include <cstddef>
#include <memory>

#include "kernels/backend.h"

namespace stepback::kernels::cuda {

// nullptr when the device has no memory.
std::unique_ptr<Buffer> AllocateDeviceBuffer(int device, size_t bytes);
// Device address of a buffer that AllocateDeviceBuffer made; null for null.
std::byte* DeviceAddress(const Buffer* buffer);

// Scratch that grows and stays.
class Scratch {
 public:
  ~Scratch();
  cudaError_t Reserve(size_t bytes);
  std::byte* data() const { return data_; }

 private:
  std::byte* data_ = nullptr;
  size_t bytes_ = 0;
};

// Pairs of pinned host and device memory, used in turn: while the device reads one pair, the host fills the
// next.
//   Reserve(bytes); Next(&slot); fill slot.host; Send(n, stream); launch kernels that read slot.device;
//   Done(stream)
class StagingRing {
 public:
  struct Slot {
    std::byte* host = nullptr;
    std::byte* device = nullptr;
    cudaEvent_t free = nullptr;  // recorded after the last launch that reads the pair
  };

  ~StagingRing();
  cudaError_t Reserve(size_t slot_bytes);
  cudaError_t Next(Slot* slot);  // waits until the device is done with the pair
  cudaError_t Send(size_t bytes, cudaStream_t stream);
  cudaError_t Done(cudaStream_t stream);

 private:
  cudaError_t Allocate(Slot* slot, size_t bytes);
  void Release();

  std::array<Slot, 3> slots_;
  size_t slot_bytes_ = 0;
  size_t at_ = 0;
};

}  // namespace stepback::kernels::cuda
