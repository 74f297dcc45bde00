// Threads of a block are fibers of one host thread: each runs until a barrier, where it hands over to the
// next.
#include <ucontext.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <vector>

#include "kernels/cpu/fp_mode.h"
#include "tests/conformance/cuda_emulation/cuda_runtime_api.h"

EmulatedIndex blockIdx, threadIdx;

namespace emulated_cuda {
namespace {

constexpr size_t kStackBytes = 64 * 1024;
constexpr int kWarp = 32;

// Everybody of a group waits until all have come; `Arrive` returns once they have.
struct Barrier {
  int expected = 0;
  int arrived = 0;
  unsigned generation = 0;
};

class Block {
 public:
  Block(int threads, const std::function<void()>& thread)
      : thread_(thread), fibers_(threads), warps_(threads / kWarp) {
    for (Fiber& fiber : fibers_) fiber.stack.resize(kStackBytes);
  }

  void Run() {
    all_ = {static_cast<int>(fibers_.size()), 0, 0};
    for (Warp& warp : warps_) warp.barrier = {kWarp, 0, 0};
    for (Fiber& fiber : fibers_) Start(&fiber);
    for (size_t running = fibers_.size(); running > 0;) {
      for (size_t i = 0; i < fibers_.size(); ++i) {
        if (fibers_[i].done) continue;
        threadIdx.x = static_cast<unsigned>(i);
        swapcontext(&scheduler_, &fibers_[i].context);
        running -= fibers_[i].done ? 1 : 0;
      }
    }
  }

  int And(int value) {
    all_and_ = (all_.arrived == 0 ? 1 : all_and_) & (value != 0 ? 1 : 0);
    Arrive(&all_);
    return all_and_;
  }

  double ShuffleDown(double value, unsigned lanes) {
    const unsigned lane = threadIdx.x % kWarp;
    Warp& warp = warps_[threadIdx.x / kWarp];
    double* const values = warp.values[warp.barrier.generation % 2];
    values[lane] = value;
    Arrive(&warp.barrier);
    return lane + lanes < kWarp ? values[lane + lanes] : value;
  }

 private:
  struct Fiber {
    ucontext_t context;
    std::vector<char> stack;
    bool done = false;
  };
  struct Warp {
    Barrier barrier;
    double values[2][kWarp];
  };

  static void Entry(unsigned high, unsigned low) {
    auto* const block = reinterpret_cast<Block*>(static_cast<uintptr_t>(high) << 32 | low);
    block->thread_();
    block->fibers_[threadIdx.x].done = true;
  }

  void Start(Fiber* fiber) {
    fiber->done = false;
    getcontext(&fiber->context);
    fiber->context.uc_stack.ss_sp = fiber->stack.data();
    fiber->context.uc_stack.ss_size = fiber->stack.size();
    fiber->context.uc_link = &scheduler_;
    const auto self = reinterpret_cast<uintptr_t>(this);
    makecontext(&fiber->context, reinterpret_cast<void (*)()>(&Block::Entry), 2,
                static_cast<unsigned>(self >> 32), static_cast<unsigned>(self));
  }

  void Arrive(Barrier* barrier) {
    const unsigned generation = barrier->generation;
    if (++barrier->arrived == barrier->expected) {
      barrier->arrived = 0;
      ++barrier->generation;
    }
    while (barrier->generation == generation) swapcontext(&fibers_[threadIdx.x].context, &scheduler_);
  }

  const std::function<void()>& thread_;
  std::vector<Fiber> fibers_;
  std::vector<Warp> warps_;
  ucontext_t scheduler_;
  Barrier all_;
  int all_and_ = 1;
};

Block* current = nullptr;

constexpr size_t kGuard = 4096;
constexpr unsigned char kGuardByte = 0xa5;
std::map<void*, size_t> allocations;
std::mutex mutex;  // of the allocations; kernels run under the back-end's lock

void CheckGuard(const unsigned char* guard) {
  for (size_t i = 0; i < kGuard; ++i) {
    if (guard[i] == kGuardByte) continue;
    std::fprintf(stderr, "emulated device: a write outside its allocation\n");
    std::abort();
  }
}

}  // namespace

void Run(uint64_t blocks, int threads, const std::function<void()>& thread) {
  const stepback::kernels::cpu::FpMode mode;  // a device has no flush-to-zero mode to inherit
  Block block(threads, thread);
  current = &block;
  for (uint64_t i = 0; i < blocks; ++i) {
    blockIdx.x = static_cast<unsigned>(i);
    block.Run();
  }
  current = nullptr;
}

}  // namespace emulated_cuda

using emulated_cuda::kGuard;

int __syncthreads_and(int value) { return emulated_cuda::current->And(value); }
double __shfl_down_sync(unsigned, double value, unsigned lanes) {
  return emulated_cuda::current->ShuffleDown(value, lanes);
}
uint32_t atomicMin(uint32_t* at, uint32_t value) {
  const uint32_t before = *at;
  if (value < before) *at = value;
  return before;
}

// guard | bytes | guard
cudaError_t cudaMalloc(void** p, size_t bytes) {
  auto* const base =
      bytes < (size_t{1} << 40)
          ? static_cast<unsigned char*>(std::aligned_alloc(256, (bytes + 2 * kGuard + 255) / 256 * 256))
          : nullptr;
  if (base == nullptr) return cudaErrorMemoryAllocation;
  std::memset(base, emulated_cuda::kGuardByte, kGuard);
  std::memset(base + kGuard + bytes, emulated_cuda::kGuardByte, kGuard);
  *p = base + kGuard;
  const std::lock_guard<std::mutex> lock(emulated_cuda::mutex);
  emulated_cuda::allocations[*p] = bytes;
  return cudaSuccess;
}

cudaError_t cudaFree(void* p) {
  if (p == nullptr) return cudaSuccess;
  const std::lock_guard<std::mutex> lock(emulated_cuda::mutex);
  auto* const at = static_cast<unsigned char*>(p);
  emulated_cuda::CheckGuard(at - kGuard);
  emulated_cuda::CheckGuard(at + emulated_cuda::allocations.at(p));
  emulated_cuda::allocations.erase(p);
  std::free(at - kGuard);
  return cudaSuccess;
}

cudaError_t cudaMallocHost(void** p, size_t bytes) { return cudaMalloc(p, bytes); }
cudaError_t cudaFreeHost(void* p) { return cudaFree(p); }

cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind, cudaStream_t) {
  if (bytes > 0) std::memcpy(to, from, bytes);
  return cudaSuccess;
}

cudaError_t cudaMemsetAsync(void* p, int value, size_t bytes, cudaStream_t) {
  if (bytes > 0) std::memset(p, value, bytes);
  return cudaSuccess;
}
