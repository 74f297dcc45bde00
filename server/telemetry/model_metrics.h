// Everything one model reports, by intent; callers know no Prometheus.
//
// Got from Metrics::ForModel and shared: a handle stays valid after the model is removed (it then counts into
// nothing that is shown). All its series exist at 0 from the moment it exists. Names, kinds and labels:
// docs/metrics.md. Thread: any. On* and Set* are lock-free, except those that take a worker or a reported
// name (one mutex per model).
//
//   auto metrics = server_metrics.ForModel("lm");
//   metrics->OnPush(PushKind::kDelta, PushOutcome::kApplied, header.total_bytes);
//   metrics->OnPushStage(PushStage::kTotal, seconds);
//   metrics->OnSync(SyncTrigger::kRound, seconds);
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "server/telemetry/metric_labels.h"
#include "server/telemetry/metric_store.h"
#include "server/telemetry/worker_metrics.h"

namespace stepback::telemetry {

struct ModelInfo {
  std::string inner_optimizer;  // rule names; "none" where there is none
  std::string outer_optimizer;
  std::string dtype;   // of the trainer's tensors; "mixed" when they differ
  std::string device;  // "cpu", "cuda:0"
};

struct MetricLimits {
  size_t max_models = 200;                               // then model="_other"
  size_t max_workers = 64;                               // per model, then worker="_other"
  size_t max_reported_names = 64;                        // of ReportMetrics, per model, then name="_other"
  std::vector<std::string> encodings = {"f32", "bf16"};  // codec names; any other counts as "_other"
};

class ModelMetrics {
 public:
  // `gauges` is kNo for the model "_other", whose gauges would mix several models into one number.
  ModelMetrics(MetricStore* store, std::string model, const MetricLimits& limits, MetricStore::Export gauges);

  // Pushes. `bytes` is the payload as sent; OnReceivedBytes counts it while it arrives, complete or not.
  void OnPush(PushKind kind, PushOutcome outcome, uint64_t bytes);
  void OnPushStage(PushStage stage, double seconds) { push_seconds_(stage).Observe(seconds); }
  void OnStaleness(uint64_t steps) { staleness_().Observe(static_cast<double>(steps)); }
  void OnNonfinite(NonfiniteAction action) { nonfinite_(action).Add(); }
  void OnReceivedBytes(std::string_view encoding, uint64_t bytes) {
    ByEncoding(received_, encoding).Add(bytes);
  }
  void OnSentBytes(std::string_view encoding, uint64_t bytes) { ByEncoding(sent_, encoding).Add(bytes); }

  // Pulls, of any kind (Pull, and the second half of Step).
  void OnPull(PullResult result, double seconds);

  // Steps. OnSync counts one outer step and its total time; OnSyncStage says where the time went.
  void OnInnerSteps(uint64_t steps = 1) { inner_steps_().Add(steps); }
  void OnSync(SyncTrigger trigger, double seconds);
  void OnSyncStage(SyncStage stage, double seconds) { sync_seconds_(stage).Observe(seconds); }

  // What the model is now.
  void SetInfo(const ModelInfo& info);
  void SetParameters(uint64_t count) { parameters_().Set(static_cast<double>(count)); }
  void SetLookahead(uint64_t steps, double alpha);
  void SetStateBytes(StateKind kind, MemoryTier tier, uint64_t bytes);
  void SetVersion(uint64_t counter) { version_().Set(static_cast<double>(counter)); }
  void SetUpdateNorm(NormKind kind, double norm) { update_norm_(kind).Set(norm); }
  void SetSlowWeightNorm(double norm) { slow_norm_().Set(norm); }
  void SetSlowFastDistance(double distance) { slow_fast_distance_().Set(distance); }
  void SetQueue(Queue queue, uint64_t depth, uint64_t limit);

  // Sessions and workers. RemoveWorker when a worker's session ends for good.
  void SetSessions(SessionState state, uint64_t count) { sessions_(state).Set(static_cast<double>(count)); }
  void OnSessionEnd(SessionEnd reason) { sessions_closed_(reason).Add(); }
  void SetWorker(std::string_view worker, const WorkerHealth& health) { workers_.Set(worker, health); }
  void SetWaitingFor(const std::vector<std::string>& workers) { workers_.SetWaitingFor(workers); }
  void RemoveWorker(std::string_view worker) { workers_.Remove(worker); }
  // An evaluation that somebody reported (ReportMetrics).
  void SetReportedValue(std::string_view name, double value);

  // Durability. A finished save is OnCheckpoint(kSave, ...) and SetLastCheckpoint.
  void OnCheckpoint(CheckpointOp op, double seconds) { checkpoint_seconds_(op).Observe(seconds); }
  void OnCheckpointFailure(CheckpointOp op, CheckpointFailure reason) {
    checkpoint_failures_(op, reason).Add();
  }
  void SetLastCheckpoint(double unix_seconds, uint64_t bytes);
  void OnEventsDropped(uint64_t records) { events_dropped_().Add(records); }
  void SetCheckpointInterval(double seconds) { checkpoint_interval_().Set(seconds); }
  // One write to the log, with its sync.
  void OnLogWrite(uint64_t entries, uint64_t payload_bytes, double seconds, bool ok);

  // Metrics::RemoveModel calls this: nothing of this handle is exported any more.
  void Detach();

 private:
  using Encodings = std::vector<std::pair<std::string, Grid<Counter>>>;  // fixed; the last is "_other"
  static Counter& ByEncoding(const Encodings& counters, std::string_view encoding);
  Encodings MakeEncodings(std::string_view name, const MetricLimits& limits);

  MetricStore* const store_;
  const std::string model_;
  const size_t max_reported_names_;
  const Grid<Counter> pushes_, pulls_, inner_steps_, syncs_, nonfinite_, sessions_closed_,
      checkpoint_failures_, events_dropped_, log_bytes_, log_failures_;
  const Grid<Histogram> push_bytes_, push_seconds_, pull_seconds_, staleness_, sync_seconds_,
      checkpoint_seconds_, log_seconds_, log_entries_;
  const Grid<Gauge> parameters_, lookahead_steps_, lookahead_alpha_, state_bytes_, version_, update_norm_,
      slow_norm_, slow_fast_distance_, queue_depth_, queue_limit_, sessions_, last_checkpoint_,
      checkpoint_interval_, checkpoint_bytes_;
  const Encodings received_, sent_;
  WorkerMetrics workers_;

  Mutex mu_;
  MetricStore::Export gauges_ GUARDED_BY(mu_);
  std::map<std::string, Grid<Gauge>, std::less<>> reported_ GUARDED_BY(mu_);
};

}  // namespace stepback::telemetry
