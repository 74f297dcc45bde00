#include "kernels/cuda/memory.h"

#include <new>

#include "kernels/cuda/status.h"

namespace stepback::kernels::cuda {
namespace {

class DeviceBuffer final : public Buffer {
 public:
  DeviceBuffer(int device, std::byte* data, size_t bytes) : Buffer(bytes), device_(device), data_(data) {}
  ~DeviceBuffer() override {
    const DeviceScope scope(device_);
    (void)cudaFree(data_);
  }
  std::byte* host() override { return nullptr; }
  std::byte* address() const { return data_; }

 private:
  const int device_;
  std::byte* const data_;
};

}  // namespace

std::unique_ptr<Buffer> AllocateDeviceBuffer(int device, size_t bytes) {
  const DeviceScope scope(device);
  void* data = nullptr;
  if (bytes > 0 && StatusOf(cudaMalloc(&data, bytes)) != Status::kOk) return nullptr;
  auto* buffer = new (std::nothrow) DeviceBuffer(device, static_cast<std::byte*>(data), bytes);
  if (buffer == nullptr) (void)cudaFree(data);
  return std::unique_ptr<Buffer>(buffer);
}

std::byte* DeviceAddress(const Buffer* buffer) {
  return buffer == nullptr ? nullptr : static_cast<const DeviceBuffer*>(buffer)->address();
}

Scratch::~Scratch() { (void)cudaFree(data_); }

cudaError_t Scratch::Reserve(size_t bytes) {
  if (bytes <= bytes_) return cudaSuccess;
  (void)cudaFree(data_);
  data_ = nullptr;
  bytes_ = 0;
  void* data = nullptr;
  SB_CUDA_RETURN_IF_ERROR(cudaMalloc(&data, bytes));
  data_ = static_cast<std::byte*>(data);
  bytes_ = bytes;
  return cudaSuccess;
}

StagingRing::~StagingRing() { Release(); }

cudaError_t StagingRing::Reserve(size_t slot_bytes) {
  if (slot_bytes <= slot_bytes_) return cudaSuccess;
  SB_CUDA_RETURN_IF_ERROR(cudaDeviceSynchronize());  // nothing may still read the old pairs
  Release();
  for (Slot& slot : slots_) {
    if (const cudaError_t error = Allocate(&slot, slot_bytes); error != cudaSuccess) return Release(), error;
  }
  slot_bytes_ = slot_bytes;
  return cudaSuccess;
}

cudaError_t StagingRing::Allocate(Slot* slot, size_t bytes) {
  void* p = nullptr;
  SB_CUDA_RETURN_IF_ERROR(cudaMallocHost(&p, bytes));
  slot->host = static_cast<std::byte*>(p);
  SB_CUDA_RETURN_IF_ERROR(cudaMalloc(&p, bytes));
  slot->device = static_cast<std::byte*>(p);
  return cudaEventCreateWithFlags(&slot->free, cudaEventDisableTiming);
}

void StagingRing::Release() {
  for (Slot& slot : slots_) {
    (void)cudaFreeHost(slot.host);
    (void)cudaFree(slot.device);
    if (slot.free != nullptr) (void)cudaEventDestroy(slot.free);
    slot = {};
  }
  slot_bytes_ = 0;
}

cudaError_t StagingRing::Next(Slot* slot) {
  at_ = (at_ + 1) % slots_.size();
  *slot = slots_[at_];
  return cudaEventSynchronize(slot->free);
}

cudaError_t StagingRing::Send(size_t bytes, cudaStream_t stream) {
  return cudaMemcpyAsync(slots_[at_].device, slots_[at_].host, bytes, cudaMemcpyHostToDevice, stream);
}

cudaError_t StagingRing::Done(cudaStream_t stream) { return cudaEventRecord(slots_[at_].free, stream); }

}  // namespace stepback::kernels::cuda
