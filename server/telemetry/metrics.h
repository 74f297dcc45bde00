// The server's metrics: one object, made by main (or the embedded server) and handed to whoever reports.
//
// Label bounds: at most `max_models` models have their own series, further ones share counters and histograms
// under model="_other"; workers and reported names likewise per model. No session or push id is ever a label.
// A model's series appear at 0 with ForModel and go with RemoveModel. Thread: any. Counting takes no lock;
// ForModel, RemoveModel and Scrape take short ones.
//
//   telemetry::Metrics metrics({.build = CurrentBuild()});
//   auto model = metrics.ForModel("lm");               // keep the handle, it is the hot path
//   model->OnPush(telemetry::PushKind::kDelta, telemetry::PushOutcome::kApplied, bytes);
//   http_handlers.metrics = [&] { return metrics.Scrape(); };
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "server/telemetry/build_info.h"
#include "server/telemetry/metric_labels.h"
#include "server/telemetry/metric_store.h"
#include "server/telemetry/model_metrics.h"
#include "server/telemetry/process_metrics.h"
#include "server/telemetry/rpc_metrics.h"

namespace stepback::telemetry {

class Metrics {
 public:
  struct Options {
    BuildInfo build;  // main passes CurrentBuild()
    MetricLimits limits;
  };
  Metrics() : Metrics(Options{}) {}
  explicit Metrics(Options options);

  // Never null; the same handle for the same name until it is removed. Beyond the bound: the handle of
  // "_other".
  std::shared_ptr<ModelMetrics> ForModel(std::string_view name);
  // Stops exporting the model's series. A later ForModel of that name starts at 0.
  void RemoveModel(std::string_view name);
  // How many models there are in each phase, "_other" ones included.
  void SetModelCount(ModelPhase phase, uint64_t count) { models_(phase).Set(static_cast<double>(count)); }

  // Lives as long as Metrics; the same pointer for the same method. rpc asks for every method at start.
  RpcMetrics* ForMethod(RpcType type, std::string_view service, std::string_view method);

  void SetReady(bool ready) { ready_().Set(ready ? 1 : 0); }
  void SetDraining(bool draining) { draining_().Set(draining ? 1 : 0); }
  void OnRejected(RejectReason reason) { rejected_(reason).Add(); }
  // Payload bytes received and not yet folded or dropped, over all models; pair every +n with a -n.
  void AddInflightBytes(int64_t delta) { inflight_().Add(static_cast<double>(delta)); }
  void SetInflightLimit(uint64_t bytes) { inflight_limit_().Set(static_cast<double>(bytes)); }

  // Read at every scrape: free and total bytes of the file system that holds `path`; end of a PEM
  // certificate's life.
  void WatchDisk(std::string path);
  void WatchCertificate(std::string pem_file);

  // The Prometheus text format (version 0.0.4).
  std::string Scrape();
  static constexpr std::string_view kContentType = "text/plain; version=0.0.4; charset=utf-8";

 private:
  struct Disk {
    Grid<Gauge> free_bytes, size_bytes;
  };
  void ReadLogCounts();
  void ReadDisks() REQUIRES(mu_);
  void ReadCertificates() REQUIRES(mu_);

  const MetricLimits limits_;
  MetricStore store_;
  ProcessMetrics process_;
  const Grid<Gauge> ready_, draining_, models_, inflight_, inflight_limit_, log_messages_;
  const Grid<Counter> rejected_;

  Mutex mu_;
  std::map<std::string, std::shared_ptr<ModelMetrics>, std::less<>> by_model_ GUARDED_BY(mu_);
  std::map<std::string, std::unique_ptr<RpcMetrics>, std::less<>> by_method_ GUARDED_BY(mu_);
  std::shared_ptr<ModelMetrics> other_ GUARDED_BY(mu_);  // made when the first model goes over the bound
  std::map<std::string, Disk> disks_ GUARDED_BY(mu_);
  std::map<std::string, Grid<Gauge>> certificates_ GUARDED_BY(mu_);
};

}  // namespace stepback::telemetry

namespace stepback {
using telemetry::Metrics;
}  // namespace stepback
