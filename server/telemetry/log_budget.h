// How many lines each event may still write: a burst, then a steady rate, per event name.
// Bounded: beyond 1,024 names the rest share one budget. Thread: any; time is an argument.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "server/base/clock.h"
#include "server/base/mutex.h"

namespace stepback {

class LogBudget {
 public:
  static constexpr double kBurst = 100;
  static constexpr double kPerSecond = 10;
  static constexpr size_t kNamesMax = 1024;

  // Nothing: leave the line out. Otherwise: write it, and say how many were left out since the last one.
  std::optional<uint64_t> Take(std::string_view event, TimePoint now);

 private:
  struct Bucket {
    double tokens = kBurst;
    TimePoint refilled;
    uint64_t suppressed = 0;
  };
  Bucket& BucketOf(std::string_view event, TimePoint now) REQUIRES(mu_);

  Mutex mu_;
  std::map<std::string, Bucket, std::less<>> buckets_ GUARDED_BY(mu_);
};

}  // namespace stepback
