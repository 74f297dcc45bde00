// Runs one configuration: W worker processes, rounds of the service and of raw sockets in turn, barriers
// between their halves, weights verified at the end.
#pragma once

#include <cstdint>
#include <vector>

#include "tests/bench/w100m/options.h"

namespace stepback::bench {

// Seconds of every worker in every counted round.
struct Timings {
  std::vector<double> push, pull, total;
};

struct Result {
  uint32_t workers = 0;
  Timings service, sockets;
  uint64_t server_peak_rss_bytes = 0;
  uint64_t worker_peak_rss_bytes = 0;  // of the largest worker
  double server_cpu_seconds = 0;       // per counted round of the service
  double bytes_per_direction = 0;      // of all workers, per round

  double ratio() const;  // medians of the totals
};

double Median(std::vector<double> values);
Result RunConfiguration(const Options& options, uint32_t workers);

}  // namespace stepback::bench
