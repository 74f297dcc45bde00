#include "server/telemetry/model_metrics.h"

#include <utility>

namespace stepback::telemetry {

// Gauges of the model "_other" are kept but not shown; its counters and histograms are.
ModelMetrics::ModelMetrics(MetricStore* store, std::string model, const MetricLimits& limits,
                           MetricStore::Export gauges)
    : store_(store),
      model_(std::move(model)),
      max_reported_names_(limits.max_reported_names),
      pushes_(store->Counters("stepback_pushes_total", {model_})),
      pulls_(store->Counters("stepback_pulls_total", {model_})),
      inner_steps_(store->Counters("stepback_inner_steps_total", {model_})),
      syncs_(store->Counters("stepback_outer_syncs_total", {model_})),
      nonfinite_(store->Counters("stepback_nonfinite_updates_total", {model_})),
      sessions_closed_(store->Counters("stepback_sessions_closed_total", {model_})),
      checkpoint_failures_(store->Counters("stepback_checkpoint_failures_total", {model_})),
      events_dropped_(store->Counters("stepback_events_dropped_total", {model_})),
      log_bytes_(store->Counters("stepback_wal_bytes_total", {model_})),
      log_failures_(store->Counters("stepback_wal_failures_total", {model_})),
      push_bytes_(store->Histograms("stepback_push_bytes", {model_})),
      push_seconds_(store->Histograms("stepback_push_duration_seconds", {model_})),
      pull_seconds_(store->Histograms("stepback_pull_duration_seconds", {model_})),
      staleness_(store->Histograms("stepback_staleness_steps", {model_})),
      sync_seconds_(store->Histograms("stepback_outer_sync_duration_seconds", {model_})),
      checkpoint_seconds_(store->Histograms("stepback_checkpoint_duration_seconds", {model_})),
      log_seconds_(store->Histograms("stepback_wal_fsync_duration_seconds", {model_})),
      log_entries_(store->Histograms("stepback_wal_sync_entries", {model_})),
      parameters_(store->Gauges("stepback_model_parameters", {model_}, gauges)),
      lookahead_steps_(store->Gauges("stepback_model_lookahead_steps", {model_}, gauges)),
      lookahead_alpha_(store->Gauges("stepback_model_lookahead_alpha", {model_}, gauges)),
      state_bytes_(store->Gauges("stepback_model_state_bytes", {model_}, gauges)),
      version_(store->Gauges("stepback_model_version", {model_}, gauges)),
      update_norm_(store->Gauges("stepback_update_norm", {model_}, gauges)),
      slow_norm_(store->Gauges("stepback_slow_weight_norm", {model_}, gauges)),
      slow_fast_distance_(store->Gauges("stepback_slow_fast_distance", {model_}, gauges)),
      queue_depth_(store->Gauges("stepback_queue_depth", {model_}, gauges)),
      queue_limit_(store->Gauges("stepback_queue_limit", {model_}, gauges)),
      sessions_(store->Gauges("stepback_sessions", {model_}, gauges)),
      last_checkpoint_(store->Gauges("stepback_checkpoint_last_success_timestamp_seconds", {model_}, gauges)),
      checkpoint_interval_(store->Gauges("stepback_checkpoint_interval_seconds", {model_}, gauges)),
      checkpoint_bytes_(store->Gauges("stepback_checkpoint_size_bytes", {model_}, gauges)),
      received_(MakeEncodings("stepback_received_bytes_total", limits)),
      sent_(MakeEncodings("stepback_sent_bytes_total", limits)),
      workers_(store, model_, limits.max_workers, gauges),
      gauges_(gauges) {}

void ModelMetrics::OnLogWrite(uint64_t entries, uint64_t payload_bytes, double seconds, bool ok) {
  if (!ok) return log_failures_().Add();
  log_seconds_().Observe(seconds);
  log_entries_().Observe(static_cast<double>(entries));
  log_bytes_().Add(payload_bytes);
}

ModelMetrics::Encodings ModelMetrics::MakeEncodings(std::string_view name, const MetricLimits& limits) {
  Encodings counters;
  for (const std::string& encoding : limits.encodings) {
    counters.emplace_back(encoding, store_->Counters(name, {model_, encoding}));
  }
  counters.emplace_back("_other", store_->Counters(name, {model_, "_other"}));
  return counters;
}

Counter& ModelMetrics::ByEncoding(const Encodings& counters, std::string_view encoding) {
  for (const auto& [name, counter] : counters) {
    if (name == encoding) return counter(0);
  }
  return counters.back().second(0);  // transport: grpc, the only one
}

void ModelMetrics::OnPush(PushKind kind, PushOutcome outcome, uint64_t bytes) {
  pushes_(kind, outcome).Add();
  push_bytes_().Observe(static_cast<double>(bytes));
}

void ModelMetrics::OnPull(PullResult result, double seconds) {
  pulls_(result).Add();
  pull_seconds_().Observe(seconds);
}

void ModelMetrics::OnSync(SyncTrigger trigger, double seconds) {
  syncs_(trigger).Add();
  sync_seconds_(SyncStage::kTotal).Observe(seconds);
}

void ModelMetrics::SetInfo(const ModelInfo& info) {
  MutexLock lock(&mu_);
  if (gauges_ == MetricStore::Export::kNo) return;
  store_->Remove("stepback_model_info", {{"model", model_}});
  store_
      ->Gauges("stepback_model_info",
               {model_, info.inner_optimizer, info.outer_optimizer, info.dtype, info.device})()
      .Set(1);
}

void ModelMetrics::SetLookahead(uint64_t steps, double alpha) {
  lookahead_steps_().Set(static_cast<double>(steps));
  lookahead_alpha_().Set(alpha);
}

void ModelMetrics::SetStateBytes(StateKind kind, MemoryTier tier, uint64_t bytes) {
  state_bytes_(kind, tier).Set(static_cast<double>(bytes));
}

void ModelMetrics::SetQueue(Queue queue, uint64_t depth, uint64_t limit) {
  queue_depth_(queue).Set(static_cast<double>(depth));
  queue_limit_(queue).Set(static_cast<double>(limit));
}

void ModelMetrics::SetReportedValue(std::string_view name, double value) {
  MutexLock lock(&mu_);
  auto it = reported_.find(name);
  if (it == reported_.end() && reported_.size() >= max_reported_names_) {
    name = "_other";
    it = reported_.find(name);
  }
  if (it == reported_.end()) {
    auto gauge = store_->Gauges("stepback_reported_value", {model_, std::string(name)}, gauges_);
    it = reported_.emplace(name, std::move(gauge)).first;
  }
  it->second().Set(value);
}

void ModelMetrics::SetLastCheckpoint(double unix_seconds, uint64_t bytes) {
  last_checkpoint_().Set(unix_seconds);
  checkpoint_bytes_().Set(static_cast<double>(bytes));
}

void ModelMetrics::Detach() {
  workers_.Detach();
  MutexLock lock(&mu_);
  gauges_ = MetricStore::Export::kNo;
  store_->Remove({{"model", model_}});
}

}  // namespace stepback::telemetry
