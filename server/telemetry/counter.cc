#include "server/telemetry/counter.h"

namespace stepback::telemetry {

size_t ThisThreadShard() {
  static std::atomic<size_t> threads_seen{0};
  thread_local const size_t shard = threads_seen.fetch_add(1, std::memory_order_relaxed) % kShards;
  return shard;
}

uint64_t Counter::Value() const {
  uint64_t sum = 0;
  for (const Shard& shard : shards_) sum += shard.value.load(std::memory_order_relaxed);
  return sum;
}

}  // namespace stepback::telemetry
