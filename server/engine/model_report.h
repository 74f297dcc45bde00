// Turns what a model is and what a call of it did into metrics and log lines. Owned by the model's worker;
// methods on its strand unless noted.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "server/base/clock.h"
#include "server/core/model.h"
#include "server/engine/intake.h"
#include "server/telemetry/metrics.h"

namespace stepback {

// One line of the log.
void LogModelEvent(const std::string& model, const Effects::Event& event);

class ModelReport {
 public:
  enum class Cause : uint8_t { kPush, kTick, kCommand };

  ModelReport(std::string model, std::shared_ptr<telemetry::ModelMetrics> metrics, std::string device)
      : model_(std::move(model)), metrics_(std::move(metrics)), device_(std::move(device)) {}

  // The model as it is: at the start, and when its settings changed.
  void Describe(const ModelVersion& version, double snapshot_interval_seconds);
  // `version` was published; `before` is the one before it (null at the start).
  void Published(const ModelVersion& version, const ModelVersion* before);
  void Called(const Effects& effects, const ModelVersion& version, Cause cause, Duration took);
  void Sessions(uint32_t trainers, const std::vector<std::string>& awaited);
  void Queues(uint64_t commands, uint64_t commands_max, const Intake::Stats& intake);
  void Worker(const std::string& client_id, const WorkerHealth& health);
  void WorkerGone(const std::string& client_id, telemetry::SessionEnd how);

 private:
  const std::string model_;
  const std::shared_ptr<telemetry::ModelMetrics> metrics_;
  const std::string device_;
};

}  // namespace stepback
