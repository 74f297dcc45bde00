#include "server/telemetry/histogram.h"

#include <algorithm>
#include <cmath>

namespace stepback::telemetry {

Histogram::Histogram(std::span<const double> bounds) : bounds_(bounds) {
  for (Shard& shard : shards_) shard.counts = std::make_unique<std::atomic<uint64_t>[]>(bounds.size() + 1);
}

// Prometheus buckets include their upper bound.
size_t Histogram::BucketOf(double value) const {
  return static_cast<size_t>(std::lower_bound(bounds_.begin(), bounds_.end(), value) - bounds_.begin());
}

void Histogram::Observe(double value) {
  if (std::isnan(value)) return;
  Shard& shard = shards_[ThisThreadShard()];
  shard.counts[BucketOf(value)].fetch_add(1, std::memory_order_relaxed);
  shard.sum.fetch_add(value, std::memory_order_relaxed);
}

Histogram::Snapshot Histogram::Read() const {
  Snapshot result{std::vector<uint64_t>(bounds_.size() + 1), 0};
  for (const Shard& shard : shards_) {
    for (size_t i = 0; i <= bounds_.size(); ++i) {
      result.cumulative[i] += shard.counts[i].load(std::memory_order_relaxed);
    }
    result.sum += shard.sum.load(std::memory_order_relaxed);
  }
  for (size_t i = 1; i <= bounds_.size(); ++i) result.cumulative[i] += result.cumulative[i - 1];
  return result;
}

}  // namespace stepback::telemetry
