#include "kernels/cpu/host_memory.h"

#include <atomic>
#include <cstdlib>
#include <new>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace stepback::kernels::cpu {
namespace {

constexpr size_t kLine = 64;
constexpr size_t kHugePage = size_t{2} << 20;
constexpr size_t kStaggerStep = 4096 + 128;
constexpr size_t kStaggerSlots = 16;

// [base ... offset: the base pointer | the caller's bytes]
class StaggeredAllocator final : public HostAllocator {
 public:
  std::byte* Allocate(size_t bytes) noexcept override {
    const bool large = bytes >= kHugePage;
    const size_t alignment = large ? kHugePage : kLine;
    const size_t offset = large ? NextOffset() : kLine;
    const size_t total = (offset + bytes + alignment - 1) / alignment * alignment;
    if (total < bytes) return nullptr;
    auto* base = static_cast<std::byte*>(std::aligned_alloc(alignment, total));
    if (base == nullptr) return nullptr;
    if (large) AdviseHugePages(base, total);
    std::byte* const p = base + offset;
    reinterpret_cast<std::byte**>(p)[-1] = base;
    return p;
  }

  void Free(std::byte* p, size_t /*bytes*/) noexcept override {
    if (p != nullptr) std::free(reinterpret_cast<std::byte**>(p)[-1]);
  }

 private:
  size_t NextOffset() {
    const size_t slot = next_.fetch_add(1, std::memory_order_relaxed) % kStaggerSlots;
    return (2 * slot + 1) * kStaggerStep;
  }

  static void AdviseHugePages([[maybe_unused]] std::byte* base, [[maybe_unused]] size_t bytes) {
#if defined(__linux__)
    (void)madvise(base, bytes, MADV_HUGEPAGE);  // advice only: small pages work too
#endif
  }

  std::atomic<size_t> next_{0};
};

class HostBuffer final : public Buffer {
 public:
  HostBuffer(HostAllocator* allocator, std::byte* data, size_t bytes)
      : Buffer(bytes), allocator_(allocator), data_(data) {}
  ~HostBuffer() override { allocator_->Free(data_, bytes()); }
  std::byte* host() override { return data_; }

 private:
  HostAllocator* allocator_;
  std::byte* data_;
};

}  // namespace

HostAllocator* DefaultHostAllocator() {
  static StaggeredAllocator allocator;
  return &allocator;
}

std::unique_ptr<Buffer> AllocateHostBuffer(HostAllocator* allocator, size_t bytes) {
  std::byte* const data = allocator->Allocate(bytes);
  if (data == nullptr) return nullptr;
  return std::unique_ptr<Buffer>(new (std::nothrow) HostBuffer(allocator, data, bytes));
}

}  // namespace stepback::kernels::cpu
