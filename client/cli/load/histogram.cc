#include "client/cli/load/histogram.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace stepback::cli {
namespace {

constexpr int kSubBits = 6;  // 64 buckets per power of two
constexpr uint64_t kSub = uint64_t{1} << kSubBits;
constexpr int kExponents = 58 - kSubBits + 2;

// Values below 64 have a bucket of their own; above, the top seven bits choose it.
size_t IndexOf(uint64_t nanos) {
  if (nanos < kSub) return nanos;
  const int exponent = std::bit_width(nanos) - 1 - kSubBits;
  return static_cast<size_t>(exponent + 1) * kSub + (nanos >> exponent) - kSub;
}

// The largest value of a bucket.
uint64_t TopOf(size_t index) {
  if (index < kSub) return index;
  const int exponent = static_cast<int>(index / kSub) - 1;
  return ((index % kSub + kSub + 1) << exponent) - 1;
}

}  // namespace

LatencyHistogram::LatencyHistogram() : buckets_(kExponents * kSub) {}

void LatencyHistogram::Add(double seconds) {
  const double nanos = std::clamp(seconds * 1e9, 0.0, 2.8e17);
  ++buckets_[IndexOf(static_cast<uint64_t>(std::llround(nanos)))];
  min_seconds_ = count_ == 0 ? seconds : std::min(min_seconds_, seconds);
  max_seconds_ = std::max(max_seconds_, seconds);
  sum_seconds_ += seconds;
  ++count_;
}

void LatencyHistogram::Merge(const LatencyHistogram& other) {
  if (other.count_ == 0) return;
  for (size_t i = 0; i < buckets_.size(); ++i) buckets_[i] += other.buckets_[i];
  min_seconds_ = count_ == 0 ? other.min_seconds_ : std::min(min_seconds_, other.min_seconds_);
  max_seconds_ = std::max(max_seconds_, other.max_seconds_);
  sum_seconds_ += other.sum_seconds_;
  count_ += other.count_;
}

double LatencyHistogram::Quantile(double quantile) const {
  if (count_ == 0) return 0;
  const double wanted = std::ceil(quantile * static_cast<double>(count_));
  const uint64_t rank = std::clamp<uint64_t>(static_cast<uint64_t>(wanted), 1, count_);
  uint64_t seen = 0;
  for (size_t i = 0; i < buckets_.size(); ++i) {
    seen += buckets_[i];
    if (seen >= rank) return std::min(static_cast<double>(TopOf(i)) * 1e-9, max_seconds_);
  }
  return max_seconds_;
}

}  // namespace stepback::cli
