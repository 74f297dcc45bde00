#include "server/base/pool.h"

#include <gtest/gtest.h>

#include <cstring>
#include <limits>
#include <random>
#include <set>
#include <thread>
#include <vector>

namespace stepback {
namespace {

constexpr size_t kMiB = 1 << 20;

uintptr_t Address(const std::byte* p) { return reinterpret_cast<uintptr_t>(p); }

TEST(BufferPool, EveryByteOfABufferIsUsableAndAligned) {
  BufferPool pool;
  for (size_t bytes :
       {size_t{0}, size_t{1}, size_t{255}, size_t{256}, size_t{257}, size_t{4096}, size_t{65535},
        size_t{65537}, kMiB - 1, 2 * kMiB - 1, 2 * kMiB, 2 * kMiB + 1, 37 * kMiB + 13}) {
    std::byte* p = pool.Allocate(bytes);
    ASSERT_NE(p, nullptr) << bytes;
    EXPECT_EQ(Address(p) % 64, 0u) << bytes;
    std::memset(p, 0x5b, bytes);
    pool.Free(p, bytes);
  }
}

TEST(BufferPool, AFreedBufferIsHandedOutAgain) {
  BufferPool pool;
  std::byte* first = pool.Allocate(5 * kMiB);
  pool.Free(first, 5 * kMiB);
  std::byte* second = pool.Allocate(5 * kMiB - 4096);  // same size class
  EXPECT_EQ(first, second);
  EXPECT_EQ(pool.stats().reuse_count, 1u);
  EXPECT_EQ(pool.stats().fresh_count, 1u);
  pool.Free(second, 5 * kMiB - 4096);
}

TEST(BufferPool, ARequestIsChargedAtMostAnEighthMorePlusAFixedRoom) {
  std::mt19937_64 random(1);
  for (int i = 0; i < 100'000; ++i) {
    const size_t bytes = 256 + random() % (size_t{1} << (9 + random() % 30));
    const uint64_t room = bytes <= 56 * 1024 ? 128 : bytes < 1700 * 1024 ? 160 * 1024 : 2 * kMiB + 160 * 1024;
    ASSERT_GE(BufferPool::ChargedBytes(bytes), bytes);
    ASSERT_LE(BufferPool::ChargedBytes(bytes), bytes + bytes / 8 + room) << bytes;
  }
}

TEST(BufferPool, EqualBuffersNeverStartAPowerOfTwoApart) {
  BufferPool pool;
  std::vector<std::byte*> buffers;
  for (int i = 0; i < 12; ++i) buffers.push_back(pool.Allocate(8 * kMiB));
  for (size_t i = 0; i < buffers.size(); ++i) {
    for (size_t j = 0; j < i; ++j) {
      const uint64_t distance = std::max(Address(buffers[i]), Address(buffers[j])) -
                                std::min(Address(buffers[i]), Address(buffers[j]));
      EXPECT_NE(distance % 4096, 0u) << i << " and " << j;
    }
  }
  for (std::byte* p : buffers) pool.Free(p, 8 * kMiB);
}

TEST(BufferPool, NeverHoldsMoreThanItsBudget) {
  const uint64_t one = BufferPool::ChargedBytes(4 * kMiB);
  BufferPool pool({.budget_bytes = 2 * one});
  std::byte* a = pool.Allocate(4 * kMiB);
  std::byte* b = pool.Allocate(4 * kMiB);
  ASSERT_NE(a, nullptr);
  ASSERT_NE(b, nullptr);
  EXPECT_EQ(pool.Allocate(1), nullptr);
  EXPECT_EQ(pool.stats().failure_count, 1u);
  pool.Free(a, 4 * kMiB);
  pool.Free(b, 4 * kMiB);
  EXPECT_EQ(pool.stats().peak_bytes, 2 * one);
}

TEST(BufferPool, GivesUpCachedBuffersOfOtherSizesBeforeItRefuses) {
  BufferPool pool({.budget_bytes = BufferPool::ChargedBytes(9 * kMiB)});
  pool.Free(pool.Allocate(4 * kMiB), 4 * kMiB);
  std::byte* p = pool.Allocate(9 * kMiB);
  ASSERT_NE(p, nullptr);
  EXPECT_EQ(pool.stats().cached_bytes, 0u);
  pool.Free(p, 9 * kMiB);
}

TEST(BufferPool, TrimReturnsTheCacheAndOnlyTheCache) {
  BufferPool pool;
  std::byte* kept = pool.Allocate(3 * kMiB);
  pool.Free(pool.Allocate(3 * kMiB), 3 * kMiB);
  EXPECT_EQ(pool.Trim(), BufferPool::ChargedBytes(3 * kMiB));
  EXPECT_EQ(pool.stats().cached_bytes, 0u);
  EXPECT_EQ(pool.stats().in_use_bytes, BufferPool::ChargedBytes(3 * kMiB));
  pool.Free(kept, 3 * kMiB);
}

TEST(BufferPool, RefusesSizesBeyondAnyMachine) {
  BufferPool pool;
  for (size_t bytes : {size_t{1} << 47, size_t{1} << 63, std::numeric_limits<size_t>::max()}) {
    EXPECT_EQ(pool.Allocate(bytes), nullptr);
  }
  EXPECT_EQ(pool.Allocate(size_t{1} << 46), nullptr);  // asks the system, which has not that much
  EXPECT_EQ(pool.stats().in_use_bytes, 0u);
  EXPECT_EQ(pool.stats().failure_count, 4u);
}

TEST(BufferPool, TheNthAllocationFailsOnRequest) {
  BufferPool pool;
  pool.FailAllocation(2);
  std::byte* first = pool.Allocate(100);
  EXPECT_NE(first, nullptr);
  EXPECT_EQ(pool.Allocate(100), nullptr);
  std::byte* third = pool.Allocate(100);
  EXPECT_NE(third, nullptr);
  pool.Free(first, 100);
  pool.Free(third, 100);
}

TEST(BufferPool, ThreadsNeverShareABuffer) {
  BufferPool pool({.budget_bytes = 24 * kMiB});
  auto work = [&pool](int id) {
    std::mt19937 random(id);
    for (int i = 0; i < 2'000; ++i) {
      const size_t bytes = 1 + random() % (size_t{1} << (8 + random() % 15));
      std::byte* p = pool.Allocate(bytes);
      if (p == nullptr) continue;
      std::memset(p, id, bytes);
      std::this_thread::yield();
      ASSERT_EQ(p[0], std::byte(id));
      ASSERT_EQ(p[bytes - 1], std::byte(id));
      pool.Free(p, bytes);
    }
  };
  std::vector<std::thread> threads;
  for (int id = 1; id <= 4; ++id) threads.emplace_back(work, id);
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(pool.stats().in_use_bytes, 0u);
  EXPECT_LE(pool.stats().peak_bytes, 24 * kMiB);
}

TEST(BufferPoolDeathTest, FreeingTwiceEndsTheProgram) {
  BufferPool pool;
  std::byte* p = pool.Allocate(100);
  pool.Free(p, 100);
  EXPECT_DEATH(pool.Free(p, 100), "freed twice");
}

}  // namespace
}  // namespace stepback
