// A histogram with fixed bounds, sharded like Counter: the one of prometheus-cpp takes a mutex per
// observation. Thread: any, lock-free. A snapshot taken during observations may miss the newest of them, but
// its total is always the sum of its buckets.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "server/telemetry/counter.h"

namespace stepback::telemetry {

class Histogram {
 public:
  // `bounds` are the inclusive upper bounds, ascending, without infinity; they outlive the histogram.
  explicit Histogram(std::span<const double> bounds);

  // NaN is not counted: it has no bucket and would turn the sum into NaN for good.
  void Observe(double value);

  struct Snapshot {
    std::vector<uint64_t> cumulative;  // one per bound, then the total
    double sum = 0;
  };
  Snapshot Read() const;
  std::span<const double> bounds() const { return bounds_; }

 private:
  struct alignas(64) Shard {
    std::unique_ptr<std::atomic<uint64_t>[]> counts;
    std::atomic<double> sum{0};
  };
  size_t BucketOf(double value) const;

  std::span<const double> bounds_;
  std::array<Shard, kShards> shards_;
};

}  // namespace stepback::telemetry
