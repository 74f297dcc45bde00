// Where payload-sized memory comes from: versions, accumulators, staged bytes, encoded forms. Freed buffers
// are kept by size class and handed out again, because the first touch of fresh memory costs more than the
// work done on it.
//
// Every buffer is 64-byte aligned. Buffers of 2 MiB and more sit on huge pages where the kernel allows.
// Starts are staggered by odd multiples of 4 KiB + 128 B, so that elements with the same index in different
// buffers never lie a power of two apart, which would make them evict each other from every cache level.
//
// Bounded: bytes held (handed out + kept for re-use) never exceed `budget_bytes`. Failure is nullptr, never
// an exception. Threads: any. The pool outlives its buffers (checked).
//
//   BufferPool pool({.budget_bytes = 8ull << 30});
//   std::byte* p = pool.Allocate(bytes);   // nullptr: over budget or out of memory
//   pool.Free(p, bytes);
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "kernels/backend.h"
#include "server/base/mutex.h"

namespace stepback {

class BufferPool final : public kernels::HostAllocator {
 public:
  struct Options {
    uint64_t budget_bytes = 0;  // 0: no bound but the machine's memory
  };
  struct Stats {
    uint64_t in_use_bytes = 0;   // handed out, rounded up to size classes
    uint64_t cached_bytes = 0;   // kept for re-use
    uint64_t peak_bytes = 0;     // highest in_use + cached so far
    uint64_t in_use_count = 0;   // buffers handed out
    uint64_t reuse_count = 0;    // allocations served from the cache
    uint64_t fresh_count = 0;    // allocations that took new memory
    uint64_t failure_count = 0;  // allocations refused
  };

  explicit BufferPool(const Options& options);
  BufferPool() : BufferPool(Options()) {}
  ~BufferPool() override;
  BufferPool(const BufferPool&) = delete;
  BufferPool& operator=(const BufferPool&) = delete;

  std::byte* Allocate(size_t bytes) noexcept override;
  // `bytes` as given to Allocate. nullptr is ignored.
  void Free(std::byte* p, size_t bytes) noexcept override;

  // Gives the cache back to the system; returns the bytes given back.
  uint64_t Trim();
  Stats stats() const;

  // Tests: the n-th allocation from now (1 = the next) fails; 0 switches it off.
  void FailAllocation(int64_t n);

  // Bytes a request of `bytes` takes from the budget: at most 1/8 more, plus the header and the stagger.
  static uint64_t ChargedBytes(size_t bytes);

 private:
  struct Header;  // in the 64 bytes before each buffer
  static constexpr int kClassCount = 8 * 40;

  Header* Reuse(int size_class) REQUIRES(mu_);
  bool Reserve(uint64_t bytes) REQUIRES(mu_);
  Header* TakeCached(uint64_t bytes) REQUIRES(mu_);
  Header* Fresh(int size_class);
  uint64_t Release(Header* list);
  std::byte* Refuse();

  const uint64_t budget_bytes_;
  mutable Mutex mu_;
  std::array<Header*, kClassCount> cached_ GUARDED_BY(mu_) = {};
  Stats stats_ GUARDED_BY(mu_);
  int64_t fail_in_ GUARDED_BY(mu_) = 0;
  std::atomic<uint32_t> next_stagger_ = 0;
};

}  // namespace stepback
