// The CUDA back-end: one device, one stream, one lock. Models on the same device take turns; the host side of
// a call is short, and the device is busy with memory traffic that would not overlap anyway.
#include "kernels/backend.h"

#include <cuda_runtime_api.h>

#include <mutex>

#include "kernels/cuda/average.h"
#include "kernels/cuda/commit.h"
#include "kernels/cuda/fold.h"
#include "kernels/cuda/memory.h"
#include "kernels/cuda/passes.h"
#include "kernels/cuda/status.h"

namespace stepback::kernels {
namespace {

using cuda::DeviceAddress;
using cuda::DeviceScope;
using cuda::StatusOf;

class CudaBackend final : public Backend {
 public:
  CudaBackend(int device, cudaStream_t stream)
      : name_("cuda:" + std::to_string(device)), device_(device), stream_(stream) {}

  ~CudaBackend() override {
    const DeviceScope scope(device_);
    (void)cudaStreamSynchronize(stream_);
    (void)cudaStreamDestroy(stream_);
  }

  std::string_view name() const override { return name_; }

  std::unique_ptr<Buffer> Allocate(size_t bytes) override {
    return cuda::AllocateDeviceBuffer(device_, bytes);
  }

  Status Fill(Buffer* buffer, float value) override {
    return Locked([&] {
      auto* const floats = reinterpret_cast<float*>(DeviceAddress(buffer));
      return cuda::LaunchFill(floats, buffer->bytes() / sizeof(float), value, stream_);
    });
  }

  Status Zero(Buffer* buffer) override {
    return Locked([&] { return cudaMemsetAsync(DeviceAddress(buffer), 0, buffer->bytes(), stream_); });
  }

  Status Upload(Buffer* to, uint64_t byte_offset, const std::byte* from, size_t bytes) override {
    return Locked([&] {
      return cudaMemcpyAsync(DeviceAddress(to) + byte_offset, from, bytes, cudaMemcpyHostToDevice, stream_);
    });
  }

  Status Download(const Buffer& from, uint64_t byte_offset, std::byte* to, size_t bytes) override {
    return Locked([&] {
      return cudaMemcpyAsync(to, DeviceAddress(&from) + byte_offset, bytes, cudaMemcpyDeviceToHost, stream_);
    });
  }

  Status Copy(Buffer* to, const Buffer& from) override {
    return Locked([&] {
      return cudaMemcpyAsync(DeviceAddress(to), DeviceAddress(&from), from.bytes(), cudaMemcpyDeviceToDevice,
                             stream_);
    });
  }

  bool Runs(const RuleInfo& rule) const override { return !rule.whole_tensor; }

  Status FoldInto(Buffer* acc, Accumulate type, const EncodedView& bytes, std::span<const Fold> folds,
                  double weight, Executor* /*executor*/) override {
    return Locked([&] { return cuda::FoldContribution(ring_, stream_, acc, type, bytes, folds, weight); });
  }

  CommitResult Commit(const CommitPlan& plan, Executor* /*executor*/) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    const DeviceScope scope(device_);
    return cuda::CommitArena(scratch_, ring_, stream_, plan);
  }

  AverageResult Average(const AveragePlan& plan, Executor* /*executor*/) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    const DeviceScope scope(device_);
    return cuda::AverageArena(scratch_.results, stream_, plan);
  }

 private:
  // Calls on the device, waits for it, and translates what went wrong.
  template <class Call>
  Status Locked(Call call) {
    const std::lock_guard<std::mutex> lock(mutex_);
    const DeviceScope scope(device_);
    if (const cudaError_t error = call(); error != cudaSuccess) return StatusOf(error);
    return StatusOf(cudaStreamSynchronize(stream_));
  }

  const std::string name_;
  const int device_;
  const cudaStream_t stream_;
  std::mutex mutex_;  // guards the members below and the order of work on the stream
  cuda::StagingRing ring_;
  cuda::CommitScratch scratch_;
};

std::unique_ptr<Backend> Fail(std::string* error, const std::string& what) {
  if (error != nullptr) *error = what;
  return nullptr;
}

}  // namespace

std::unique_ptr<Backend> MakeCudaBackend(int device, std::string* error) {
  int count = 0;
  if (const cudaError_t status = cudaGetDeviceCount(&count); status != cudaSuccess) {
    (void)cudaGetLastError();
    return Fail(error, std::string("no CUDA device: ") + cudaGetErrorString(status));
  }
  if (device < 0 || device >= count) {
    return Fail(error, "CUDA device " + std::to_string(device) + " does not exist, this machine has " +
                           std::to_string(count));
  }
  const DeviceScope scope(device);
  cudaStream_t stream = nullptr;
  if (const cudaError_t status = cudaStreamCreate(&stream); status != cudaSuccess) {
    (void)cudaGetLastError();
    return Fail(error, "cuda:" + std::to_string(device) + ": " + cudaGetErrorString(status));
  }
  return std::make_unique<CudaBackend>(device, stream);
}

}  // namespace stepback::kernels
