#include "server/engine/model_report.h"

#include <algorithm>
#include <cstdlib>

#include "kernels/rule_info.h"
#include "server/telemetry/log.h"

namespace stepback {
namespace {

using telemetry::StateKind;

const char* NameOf(DataType type) {
  static constexpr const char* kNames[] = {"",    "f32", "f64", "f16", "bf16", "i8",
                                           "i16", "i32", "i64", "u8",  "bool"};
  return kNames[static_cast<size_t>(type)];
}

std::string TypeOf(const ModelSpec& spec) {
  std::string type;
  for (const TensorSpec& tensor : spec.tensors) {
    if (tensor.role == Role::kCarried) continue;
    if (!type.empty() && type != NameOf(tensor.dtype)) return "mixed";
    type = NameOf(tensor.dtype);
  }
  return type.empty() ? "mixed" : type;
}

// A hyperparameter of the outer rule, 0 when it has none of that name.
double OuterHyper(const ModelSpec& spec, const char* name) {
  const kernels::RuleInfo* const rule = kernels::FindOuterRule(spec.outer.name);
  const int index = rule == nullptr ? -1 : kernels::HyperIndex(*rule, name);
  if (index < 0) return 0;
  const auto value = spec.outer.values.find(name);
  return value == spec.outer.values.end() ? rule->hypers[index].default_value : value->second;
}

uint64_t BytesOf(const Array& array) { return array == nullptr ? 0 : array->bytes(); }

uint64_t BytesOf(const std::vector<Array>& arrays) {
  uint64_t bytes = 0;
  for (const Array& array : arrays) bytes += BytesOf(array);
  return bytes;
}

uint64_t BytesOf(const std::vector<AverageState>& averages) {
  uint64_t bytes = 0;
  for (const AverageState& average : averages) {
    bytes += BytesOf(average.value) + BytesOf(average.iterates.arrays) + BytesOf(average.iterates.deltas);
  }
  return bytes;
}

double Seconds(Duration duration) { return std::chrono::duration<double>(duration).count(); }

}  // namespace

void ModelReport::Describe(const ModelVersion& version, double snapshot_interval_seconds) {
  const ModelSpec& spec = *version.spec;
  metrics_->SetInfo({.inner_optimizer = spec.mode == Mode::kGradient ? spec.inner.name : "none",
                     .outer_optimizer = spec.outer.name,
                     .dtype = TypeOf(spec),
                     .device = device_});
  metrics_->SetParameters(version.layout->elements());
  metrics_->SetLookahead(spec.sync_period, OuterHyper(spec, "alpha"));
  metrics_->SetCheckpointInterval(snapshot_interval_seconds);
}

void ModelReport::Published(const ModelVersion& version, const ModelVersion* before) {
  const auto tier =
      device_.rfind("cuda", 0) == 0 ? telemetry::MemoryTier::kGpu : telemetry::MemoryTier::kHost;
  metrics_->SetVersion(version.version.counter);
  metrics_->SetStateBytes(StateKind::kSlow, tier, BytesOf(version.phi));
  metrics_->SetStateBytes(StateKind::kFast, tier, version.theta == version.phi ? 0 : BytesOf(version.theta));
  metrics_->SetStateBytes(
      StateKind::kMomentum, tier,
      BytesOf(version.inner_slots) + BytesOf(version.outer_slots) + BytesOf(version.caches));
  metrics_->SetStateBytes(StateKind::kAverages, tier, BytesOf(version.averages));
  metrics_->SetSlowWeightNorm(version.weight_norm);
  metrics_->SetSlowFastDistance(version.distance);
  const bool gradient = version.spec->mode == Mode::kGradient;
  metrics_->SetUpdateNorm(gradient ? telemetry::NormKind::kGradient : telemetry::NormKind::kDelta,
                          version.update_norm);
  if (before != nullptr && version.inner_steps > before->inner_steps) {
    metrics_->OnInnerSteps(version.inner_steps - before->inner_steps);
  }
}

void ModelReport::Called(const Effects& effects, const ModelVersion& version, Cause cause, Duration took) {
  if (effects.synced) {
    const bool gradient = version.spec->mode == Mode::kGradient;
    const RoundSpec& rounds = version.spec->rounds;
    const bool timed = rounds.deadline_seconds > 0 || rounds.grace_seconds > 0 || rounds.grace_factor > 0;
    const bool deadline = cause == Cause::kTick && timed;
    metrics_->OnSync(gradient   ? telemetry::SyncTrigger::kSteps
                     : deadline ? telemetry::SyncTrigger::kDeadline
                                : telemetry::SyncTrigger::kRound,
                     Seconds(took));
  }
  for (const Effects::Event& event : effects.events) LogModelEvent(model_, event);
}

void ModelReport::Sessions(uint32_t trainers, const std::vector<std::string>& awaited) {
  metrics_->SetSessions(telemetry::SessionState::kActive, trainers);
  metrics_->SetWaitingFor(awaited);
}

void ModelReport::Queues(uint64_t commands, uint64_t commands_max, const Intake::Stats& intake) {
  metrics_->SetQueue(telemetry::Queue::kApply, commands, commands_max);
  metrics_->SetQueue(telemetry::Queue::kIngress, intake.waiting, intake.pushes_max);
  metrics_->SetQueue(telemetry::Queue::kSync, intake.pending, intake.pushes_max);
  metrics_->SetStateBytes(StateKind::kStaging, telemetry::MemoryTier::kHost, intake.used_bytes);
}

void ModelReport::Worker(const std::string& client_id, const WorkerHealth& health) {
  metrics_->SetWorker(client_id, {.train_loss = health.train_loss,
                                  .tokens_per_second = health.tokens_per_second,
                                  .gradient_norm = health.gradient_norm,
                                  .inner_learning_rate = health.inner_learning_rate,
                                  .compute_seconds = health.compute_seconds,
                                  .wait_seconds = health.wait_seconds});
}

void ModelReport::WorkerGone(const std::string& client_id, telemetry::SessionEnd how) {
  metrics_->OnSessionEnd(how);
  metrics_->RemoveWorker(client_id);
}

void LogModelEvent(const std::string& model, const Effects::Event& event) {
  std::string details;
  for (const auto& [name, value] : event.fields) details += (details.empty() ? "" : " ") + name + "=" + value;
  const bool bad = event.name == "round_dropped" || event.name == "round_delayed" ||
                   event.name == "session_quarantined";
  Log(bad ? LogLevel::kWarn : LogLevel::kInfo, event.name,
      {{"model", model}, {"reason", event.reason}, {"details", details}});
}

}  // namespace stepback
