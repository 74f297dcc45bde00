// Latencies in buckets whose width is at most 1/64 of their value, from 1 ns to 9 years, in constant memory.
// Exact count, sum, minimum and maximum. A value; one thread at a time, merged at the end.
#pragma once

#include <cstdint>
#include <vector>

namespace stepback::cli {

class LatencyHistogram {
 public:
  LatencyHistogram();

  void Add(double seconds);
  void Merge(const LatencyHistogram& other);

  uint64_t count() const { return count_; }
  double mean() const { return count_ == 0 ? 0 : sum_seconds_ / static_cast<double>(count_); }
  double min() const { return count_ == 0 ? 0 : min_seconds_; }
  double max() const { return max_seconds_; }
  // The smallest value that a share of `quantile` of the samples does not exceed, up to the bucket's width; 0
  // when empty.
  double Quantile(double quantile) const;

 private:
  std::vector<uint64_t> buckets_;
  uint64_t count_ = 0;
  double sum_seconds_ = 0;
  double min_seconds_ = 0;
  double max_seconds_ = 0;
};

}  // namespace stepback::cli
