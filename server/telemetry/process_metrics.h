// process_*: what the operating system says about this process, read from /proc/self at a scrape
// (prometheus-cpp has no such collector). Owned by Metrics. Thread: any.
#pragma once

#include "server/telemetry/metric_store.h"

namespace stepback::telemetry {

struct ProcessStats {
  double cpu_seconds = 0;
  double resident_bytes = 0;
  double virtual_bytes = 0;
  double open_fds = 0;
  double max_fds = 0;
  double start_time_seconds = 0;  // Unix time
  double threads = 0;
};

// Fields that cannot be read (no /proc) stay 0.
ProcessStats ReadProcessStats();

class ProcessMetrics {
 public:
  explicit ProcessMetrics(MetricStore* store);
  void Update(const ProcessStats& stats);

 private:
  const Grid<Gauge> cpu_, resident_, virtual_, open_fds_, max_fds_, start_time_, threads_;
};

}  // namespace stepback::telemetry
