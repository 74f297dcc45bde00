#include "server/telemetry/log_budget.h"

#include <algorithm>
#include <utility>

namespace stepback {

LogBudget::Bucket& LogBudget::BucketOf(std::string_view event, TimePoint now) {
  auto it = buckets_.find(event);
  if (it == buckets_.end() && buckets_.size() >= kNamesMax) {
    event = "_other";
    it = buckets_.find(event);
  }
  if (it == buckets_.end()) it = buckets_.emplace(event, Bucket{.refilled = now}).first;
  return it->second;
}

std::optional<uint64_t> LogBudget::Take(std::string_view event, TimePoint now) {
  MutexLock lock(&mu_);
  Bucket& bucket = BucketOf(event, now);
  const double seconds = std::max(0.0, std::chrono::duration<double>(now - bucket.refilled).count());
  bucket.tokens = std::min(kBurst, bucket.tokens + seconds * kPerSecond);
  bucket.refilled = now;
  if (bucket.tokens < 1) {
    ++bucket.suppressed;
    return std::nullopt;
  }
  bucket.tokens -= 1;
  return std::exchange(bucket.suppressed, 0);
}

}  // namespace stepback
