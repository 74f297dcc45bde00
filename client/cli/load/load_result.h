// What a load run measured.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <string>

#include "client/cli/load/histogram.h"

namespace stepback::cli {

struct LoadResult {
  LatencyHistogram latency;  // of counted requests that succeeded
  uint64_t requests = 0;     // counted, errors included
  uint64_t errors = 0;
  uint64_t warmup_requests = 0;
  std::map<std::string, uint64_t> errors_by_code;  // "UNAVAILABLE", "STAGING_FULL", ...
  uint64_t resyncs = 0;
  double seconds = 0;  // of the counted part
  uint64_t payload_bytes_sent = 0;
  uint64_t payload_bytes_received = 0;
  std::chrono::system_clock::time_point started_at;
  bool interrupted = false;

  double PerSecond(uint64_t amount) const { return seconds > 0 ? static_cast<double>(amount) / seconds : 0; }
};

}  // namespace stepback::cli
