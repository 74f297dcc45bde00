// One worker of the load: a connection and a session of its own, the same request over and over, a latency
// for each.
#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "client/cli/load/options.h"
#include "stepback/client.h"

namespace stepback::cli::load {

using SteadyTime = std::chrono::steady_clock::time_point;

// What one worker measured. Latencies of an open loop count from the scheduled time, so a slow server cannot
// hide requests that had to wait (no coordinated omission).
struct Measurement {
  std::vector<float> latencies_seconds;  // at most kLatenciesMax
  uint64_t requests = 0;
  uint64_t errors = 0;
  std::string first_error;
  uint64_t bytes_sent = 0;
  uint64_t bytes_received = 0;
};
inline constexpr size_t kLatenciesMax = 10'000'000;

class WorkerLoop {
 public:
  static absl::StatusOr<std::unique_ptr<WorkerLoop>> Start(const client::ConnectOptions& connect,
                                                           const std::string& model, int number,
                                                           const Options& options);
  // Sends requests until `end`; measures those that are due at `begin` or later.
  Measurement Run(SteadyTime begin, SteadyTime end);

 private:
  WorkerLoop(const Options& options, std::shared_ptr<client::Server> server, client::Model model,
             std::unique_ptr<client::Worker> worker);
  absl::Status Request();
  SteadyTime NextDue(SteadyTime previous) const;

  const Options options_;
  std::shared_ptr<client::Server> server_;
  client::Model model_;
  std::unique_ptr<client::Worker> worker_;
  client::TensorBuffers weights_, received_;
};

}  // namespace stepback::cli::load
