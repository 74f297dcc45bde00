// A load from beginning to end: a temporary model, workers, warm-up, measurement, clean-up.
#pragma once

#include "absl/status/statusor.h"
#include "client/cli/load/worker_loop.h"

namespace stepback::cli::load {

struct Result {
  Options options;
  Measurement total;   // latencies sorted
  double seconds = 0;  // measured wall time
  std::string server_version, server_device;
};

absl::StatusOr<Result> RunScenario(const client::ConnectOptions& connect, const Options& options);

}  // namespace stepback::cli::load
