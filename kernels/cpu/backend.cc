// The CPU back-end: host memory and the loops of one instruction set.
#include "kernels/backend.h"

#include <algorithm>
#include <cassert>
#include <cstring>
#include <new>

#include "kernels/cpu/aggregate.h"
#include "kernels/cpu/average.h"
#include "kernels/cpu/commit.h"
#include "kernels/cpu/dispatch.h"
#include "kernels/cpu/fold.h"
#include "kernels/cpu/host_memory.h"

namespace stepback::kernels {
namespace {

class CpuBackend final : public Backend {
 public:
  CpuBackend(const cpu::Target& target, HostAllocator* allocator)
      : name_("cpu/" + std::string(target.name)), loops_(*target.loops), allocator_(allocator) {}

  std::string_view name() const override { return name_; }

  std::unique_ptr<Buffer> Allocate(size_t bytes) override {
    return cpu::AllocateHostBuffer(allocator_, bytes);
  }

  Status Fill(Buffer* buffer, float value) override {
    std::fill_n(buffer->host_floats(), buffer->bytes() / sizeof(float), value);
    return Status::kOk;
  }

  Status Zero(Buffer* buffer) override {
    std::memset(buffer->host(), 0, buffer->bytes());
    return Status::kOk;
  }

  Status Upload(Buffer* to, uint64_t byte_offset, const std::byte* from, size_t bytes) override {
    assert(byte_offset + bytes <= to->bytes());
    if (bytes > 0) std::memcpy(to->host() + byte_offset, from, bytes);
    return Status::kOk;
  }

  Status Download(const Buffer& from, uint64_t byte_offset, std::byte* to, size_t bytes) override {
    assert(byte_offset + bytes <= from.bytes());
    if (bytes > 0) std::memcpy(to, const_cast<Buffer&>(from).host() + byte_offset, bytes);
    return Status::kOk;
  }

  Status Copy(Buffer* to, const Buffer& from) override {
    assert(to->bytes() == from.bytes());
    std::memcpy(to->host(), const_cast<Buffer&>(from).host(), from.bytes());
    return Status::kOk;
  }

  Status FoldInto(Buffer* acc, Accumulate type, const EncodedView& bytes,
                  std::span<const kernels::Fold> folds, double weight, Executor* executor) override {
    cpu::FoldContribution(loops_, acc, type, bytes, folds, weight, executor);
    return Status::kOk;
  }

  Status Aggregate(const AggregatePlan& plan, Buffer* out, Executor* executor) override {
    return cpu::AggregateStaged(loops_, this, plan, out, executor);
  }

  CommitResult Commit(const CommitPlan& plan, Executor* executor) override {
    return cpu::CommitArena(loops_, plan, allocator_, executor);
  }

  AverageResult Average(const AveragePlan& plan, Executor* executor) override {
    return cpu::AverageArena(loops_, plan, executor);
  }

 private:
  const std::string name_;
  const cpu::Loops& loops_;
  HostAllocator* const allocator_;
};

}  // namespace

std::vector<std::string_view> CpuTargets() {
  std::vector<std::string_view> names;
  for (const cpu::Target& target : cpu::Targets()) names.push_back(target.name);
  return names;
}

std::unique_ptr<Backend> MakeCpuBackend(std::string_view target, HostAllocator* allocator) {
  const cpu::Target* const found = cpu::FindTarget(target);
  if (found == nullptr) return nullptr;
  return std::make_unique<CpuBackend>(*found, allocator != nullptr ? allocator : cpu::DefaultHostAllocator());
}

}  // namespace stepback::kernels
