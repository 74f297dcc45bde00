// A model on a server: a cheap handle to copy and pass around. Threads: any.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "stepback/info.h"
#include "stepback/options.h"
#include "stepback/results.h"
#include "stepback/worker.h"

namespace stepback::client {

struct ModelImpl;

class Model {
 public:
  explicit Model(std::shared_ptr<const ModelImpl> impl);  // Server makes models

  const std::string& name() const;
  const std::vector<Tensor>& tensors() const;
  const std::string& fingerprint() const;  // 32 raw bytes
  uint64_t elements() const;               // in all tensors
  const ModelInfo& info() const;           // as of CreateModel or OpenModel; Server::DescribeModel asks again
  bool created() const;                    // false: CreateModel found it there

  // Opens a session. `client_id` identifies the worker for exactly-once and is stable across its restarts.
  absl::StatusOr<std::unique_ptr<Worker>> Join(const std::string& client_id,
                                               const JoinOptions& options = {}) const;

  // Reads a version without a session.
  absl::StatusOr<PullInfo> Pull(std::span<const TensorSink> sinks, const PullOptions& options = {}) const;

  // Calls `on_change` with the published version now and after every change, until it returns false.
  absl::Status Watch(const std::function<bool(const VersionEvent&)>& on_change) const;
  // Evaluations of the slow weights, shown as gauges.
  absl::Status ReportMetrics(Version version, const std::map<std::string, double>& values) const;

 private:
  std::shared_ptr<const ModelImpl> impl_;
};

}  // namespace stepback::client
