#include "server/telemetry/worker_metrics.h"

#include <set>
#include <utility>

#include "server/telemetry/metric_labels.h"

namespace stepback::telemetry {
namespace {

struct HealthField {
  std::string_view metric;
  std::optional<double> WorkerHealth::*value;
};
constexpr HealthField kHealthFields[] = {
    {"stepback_worker_train_loss", &WorkerHealth::train_loss},
    {"stepback_worker_tokens_per_second", &WorkerHealth::tokens_per_second},
    {"stepback_worker_gradient_norm", &WorkerHealth::gradient_norm},
    {"stepback_worker_inner_learning_rate", &WorkerHealth::inner_learning_rate},
    {"stepback_worker_compute_seconds", &WorkerHealth::compute_seconds},
    {"stepback_worker_wait_seconds", &WorkerHealth::wait_seconds},
    {"stepback_worker_staleness", &WorkerHealth::staleness},
};

}  // namespace

WorkerMetrics::WorkerMetrics(MetricStore* store, std::string model, size_t max_workers,
                             MetricStore::Export shown)
    : store_(store), model_(std::move(model)), max_workers_(max_workers), shown_(shown) {}

void WorkerMetrics::Set(std::string_view worker, const WorkerHealth& health) {
  MutexLock lock(&mu_);
  const std::string label = LabelFor(worker);
  for (const HealthField& field : kHealthFields) SetOne(label, field.metric, health.*field.value);
}

void WorkerMetrics::SetWaitingFor(const std::vector<std::string>& workers) {
  MutexLock lock(&mu_);
  std::set<std::string> waiting;
  for (const std::string& worker : workers) waiting.insert(LabelFor(worker));
  for (const auto& [label, _] : series_) WaitingOf(label)().Set(waiting.contains(label) ? 1 : 0);
}

void WorkerMetrics::Remove(std::string_view worker) {
  MutexLock lock(&mu_);
  const auto it = series_.find(worker);
  if (it == series_.end() || it->first == kOtherLabel) return;
  store_->Remove({{"model", model_}, {"worker", it->first}});
  series_.erase(it);
}

void WorkerMetrics::Detach() {
  MutexLock lock(&mu_);
  shown_ = MetricStore::Export::kNo;
  series_.clear();
}

// A worker has a place of its own as soon as it is named and one is free.
std::string WorkerMetrics::LabelFor(std::string_view worker) {
  if (series_.find(worker) != series_.end()) return std::string(worker);
  const size_t own_places = series_.size() - series_.count(kOtherLabel);
  std::string label(worker == kOtherLabel || own_places >= max_workers_ ? kOtherLabel : worker);
  series_.try_emplace(label);
  return label;
}

void WorkerMetrics::SetOne(const std::string& label, std::string_view metric, std::optional<double> value) {
  if (!value) return;
  auto& reported = series_[label].reported;
  auto it = reported.find(metric);
  if (it == reported.end())
    it = reported.emplace(metric, store_->Gauges(metric, {model_, label}, shown_)).first;
  it->second().Set(*value);
}

Grid<Gauge>& WorkerMetrics::WaitingOf(const std::string& label) {
  auto& waiting = series_[label].waiting;
  if (!waiting) waiting = store_->Gauges("stepback_round_waiting_for", {model_, label}, shown_);
  return *waiting;
}

}  // namespace stepback::telemetry
