// A back-end whose memory the host cannot address, on a machine without such a device: every access goes
// through Upload and Download, which can be made to fail. The arithmetic is that of the back-end underneath.
//
//   DeviceBackend device(cpu.get());
//   device.FailDownloads(true);
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "kernels/backend.h"

namespace stepback {

class DeviceBackend final : public kernels::Backend {
 public:
  explicit DeviceBackend(kernels::Backend* host) : host_(host) {}

  void FailDownloads(bool fail) { fail_downloads_ = fail; }

  std::string_view name() const override { return "fake:0"; }
  bool Runs(const kernels::RuleInfo& rule) const override { return !rule.whole_tensor; }
  std::unique_ptr<kernels::Buffer> Allocate(size_t bytes) override {
    std::unique_ptr<kernels::Buffer> memory = host_->Allocate(bytes);
    return memory == nullptr ? nullptr : std::make_unique<DeviceBuffer>(std::move(memory));
  }
  kernels::Status Fill(kernels::Buffer* buffer, float value) override {
    return host_->Fill(Inside(buffer), value);
  }
  kernels::Status Zero(kernels::Buffer* buffer) override { return host_->Zero(Inside(buffer)); }
  kernels::Status Upload(kernels::Buffer* to, uint64_t byte_offset, const std::byte* from,
                         size_t bytes) override {
    return host_->Upload(Inside(to), byte_offset, from, bytes);
  }
  kernels::Status Download(const kernels::Buffer& from, uint64_t byte_offset, std::byte* to,
                           size_t bytes) override {
    if (fail_downloads_) return kernels::Status::kDeviceError;
    return host_->Download(*Inside(&from), byte_offset, to, bytes);
  }
  kernels::Status Copy(kernels::Buffer* to, const kernels::Buffer& from) override {
    return host_->Copy(Inside(to), *Inside(&from));
  }
  kernels::Status FoldInto(kernels::Buffer* acc, kernels::Accumulate type, const kernels::EncodedView& bytes,
                           std::span<const kernels::Fold> folds, double weight,
                           kernels::Executor* executor) override {
    return host_->FoldInto(Inside(acc), type, bytes, folds, weight, executor);
  }
  kernels::CommitResult Commit(const kernels::CommitPlan& plan, kernels::Executor* executor) override {
    kernels::CommitPlan inside = plan;
    const auto unwrap = [](auto& buffer) {
      if (buffer != nullptr) buffer = Inside(buffer);
    };
    unwrap(inside.acc);
    unwrap(inside.theta);
    unwrap(inside.theta_next);
    unwrap(inside.phi);
    unwrap(inside.phi_next);
    unwrap(inside.delta_next);
    for (int i = 0; i < kernels::kMaxSlots; ++i) {
      unwrap(inside.inner_slots[i]);
      unwrap(inside.inner_slots_next[i]);
      unwrap(inside.outer_slots[i]);
      unwrap(inside.outer_slots_next[i]);
      unwrap(inside.caches[i]);
      unwrap(inside.caches_next[i]);
    }
    return host_->Commit(inside, executor);
  }
  kernels::AverageResult Average(const kernels::AveragePlan& plan, kernels::Executor* executor) override {
    kernels::AveragePlan inside = plan;
    inside.phi = Inside(plan.phi);
    inside.average = Inside(plan.average);
    inside.next = Inside(plan.next);
    return host_->Average(inside, executor);
  }

 private:
  class DeviceBuffer final : public kernels::Buffer {
   public:
    explicit DeviceBuffer(std::unique_ptr<kernels::Buffer> memory)
        : Buffer(memory->bytes()), memory_(std::move(memory)) {}
    std::byte* host() override { return nullptr; }
    kernels::Buffer* memory() const { return memory_.get(); }

   private:
    const std::unique_ptr<kernels::Buffer> memory_;
  };
  static kernels::Buffer* Inside(const kernels::Buffer* buffer) {
    return static_cast<const DeviceBuffer*>(buffer)->memory();
  }

  kernels::Backend* const host_;
  std::atomic<bool> fail_downloads_{false};
};

}  // namespace stepback
