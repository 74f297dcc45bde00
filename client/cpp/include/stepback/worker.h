// One worker's place in a model: a session, kept alive by a heartbeat thread, and the data calls.
//
// The worker remembers the weights of its last pull or step as its base and forms base - theta itself;
// callers hand over weights or gradients. Calls survive broken connections and server restarts: the same
// sequence number is sent again, the session is opened again, pushes that the server lost are replayed. Only
// when the server stays away for RetryOptions.give_up_after does a call fail with UNAVAILABLE.
//
// Threads: one data call at a time (a second waits), beside up to max_in_flight pushes of PushAsync; Cancel,
// statistics and settings from any thread. The caller's memory is neither read nor written after a call has
// returned.
//
//   auto worker = model.Join("worker-0");
//   (*worker)->Pull(weights.sinks());
//   for (...) { train(weights); (*worker)->Step(weights.data(), weights.sinks(), {.samples = 512,
//   .local_steps = 20}); }
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "stepback/options.h"
#include "stepback/push_future.h"
#include "stepback/results.h"

namespace stepback::client {

class WorkerImpl;

class Worker {
 public:
  explicit Worker(std::unique_ptr<WorkerImpl> impl);  // Model::Join makes workers
  ~Worker();                                          // Close
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  // Receives the newest version; it becomes the base, unless the view is an average. One sink per tensor of
  // the table.
  absl::StatusOr<PullInfo> Pull(std::span<const TensorSink> sinks, const PullOptions& options = {});

  // Pushes base - weights, waits for the round, receives the new version, which becomes the base. `sinks` may
  // be the same memory as `weights`.
  absl::StatusOr<StepResult> Step(std::span<const TensorData> weights, std::span<const TensorSink> sinks,
                                  const PushOptions& options = {});
  // The same with gradients (gradient mode).
  absl::StatusOr<StepResult> StepGradient(std::span<const TensorData> gradients,
                                          std::span<const TensorSink> sinks, const PushOptions& options = {});

  // Pushes base - weights and returns when the push is decided. The base stays.
  absl::StatusOr<PushResult> PushWeights(std::span<const TensorData> weights,
                                         const PushOptions& options = {});
  // Pushes gradients taken at the base.
  absl::StatusOr<PushResult> PushGradient(std::span<const TensorData> gradients,
                                          const PushOptions& options = {});

  // Pushes base - weights (delta mode) or gradients (gradient mode) without waiting for the decision. The payload is
  // formed and copied before the call returns. At most JoinOptions::max_in_flight pushes are in flight: the call waits
  // for a place (and, durability ROUND, for room within replay_bytes_max). They are applied in the order of the calls,
  // one after the other: those that wait for rounds of others, too. PushOptions.timeout bounds that wait and the push.
  // FAILED_PRECONDITION with several ranks or error_feedback. Pull runs beside pushes in flight; calls that push and
  // wait, first let them end.
  absl::StatusOr<PushFuture> PushAsync(std::span<const TensorData> data, const PushOptions& options = {});

  // Sends the numbers with the next heartbeat.
  void ReportHealth(const Health& health);

  // Ends the call in progress, pushes in flight and all later calls with CANCELLED, from any thread. Close still
  // works.
  void Cancel();
  // Leaves the model: the round no longer waits for this worker. Idempotent. Ranks above 0 only detach. Waits for
  // pushes in flight as long as one of them moves within control_timeout; the others end with CANCELLED.
  absl::Status Close();

  const std::string& client_id() const;
  uint64_t epoch() const;
  uint64_t last_sequence() const;                   // highest decided push
  uint64_t durable_sequence() const;                // highest push on disk
  Version base_version() const;                     // term 0: nothing pulled yet; of fragments the newest
  Version newest_version() const;                   // heard of, through any answer or heartbeat
  bool finished() const;                            // the model's stop condition is reached
  Settings settings() const;                        // the newest heard of
  uint32_t local_steps() const;                     // H: to run before the next push; 0: its own choice
  const std::vector<ElementRange>& ranges() const;  // of this rank
  Statistics statistics() const;

 private:
  std::unique_ptr<WorkerImpl> impl_;
};

}  // namespace stepback::client
