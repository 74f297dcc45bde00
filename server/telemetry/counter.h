// A counter that many threads raise without meeting on one cache line: each thread adds to one of a few
// shards, a scrape adds the shards up. Thread: any, lock-free. Never goes down.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace stepback::telemetry {

inline constexpr size_t kShards = 8;

// The shard of the calling thread: threads are dealt out in the order in which they first count something.
size_t ThisThreadShard();

class Counter {
 public:
  void Add(uint64_t n = 1) { shards_[ThisThreadShard()].value.fetch_add(n, std::memory_order_relaxed); }
  uint64_t Value() const;

 private:
  struct alignas(64) Shard {
    std::atomic<uint64_t> value{0};
  };
  std::array<Shard, kShards> shards_;
};

}  // namespace stepback::telemetry
