// The training-health gauges of one model's workers: what each worker last said about itself, and whether the
// open round waits for it.
//
// Bounded: the first `max_workers` worker ids have their own label value, later ones share "_other" (its
// gauges show the last report of any of them); Remove gives the place back, so ids that come and go do not
// use the bound up. Thread: any; one mutex per model, taken once per report, not per chunk.
#pragma once

#include <map>
#include <optional>

#include <string>
#include <string_view>
#include <vector>

#include "server/telemetry/metric_store.h"

namespace stepback::telemetry {

// What a push or heartbeat says; a field left out keeps its last value, one never given has no series.
struct WorkerHealth {
  std::optional<double> train_loss;
  std::optional<double> tokens_per_second;
  std::optional<double> gradient_norm;
  std::optional<double> inner_learning_rate;
  std::optional<double> compute_seconds;  // of the last local round
  std::optional<double> wait_seconds;     // of the last round, spent waiting for others
  std::optional<double> staleness;        // commits between the push's base and the version it was applied to
};

class WorkerMetrics {
 public:
  WorkerMetrics(MetricStore* store, std::string model, size_t max_workers, MetricStore::Export shown);

  void Set(std::string_view worker, const WorkerHealth& health);
  // The whole list: the workers named wait at 1, all others known at 0.
  void SetWaitingFor(const std::vector<std::string>& workers);
  void Remove(std::string_view worker);
  // Series made from now on are not exported: the model is gone, though handles may still report.
  void Detach();

 private:
  struct Series {
    std::map<std::string_view, Grid<Gauge>> reported;  // by metric name
    std::optional<Grid<Gauge>> waiting;
  };
  std::string LabelFor(std::string_view worker) REQUIRES(mu_);
  void SetOne(const std::string& label, std::string_view metric, std::optional<double> value) REQUIRES(mu_);
  Grid<Gauge>& WaitingOf(const std::string& label) REQUIRES(mu_);

  MetricStore* const store_;
  const std::string model_;
  const size_t max_workers_;
  Mutex mu_;
  MetricStore::Export shown_ GUARDED_BY(mu_);
  std::map<std::string, Series, std::less<>> series_ GUARDED_BY(mu_);
};

}  // namespace stepback::telemetry
