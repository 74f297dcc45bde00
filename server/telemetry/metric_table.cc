#include "server/telemetry/metric_table.h"

#include "server/base/check.h"
#include "server/telemetry/metric_labels.h"

namespace stepback::telemetry {
namespace {

constexpr auto kCounter = MetricType::kCounter;
constexpr auto kGauge = MetricType::kGauge;
constexpr auto kHistogram = MetricType::kHistogram;

// To five minutes: a top bucket of ten seconds would hide exactly the waits people look for.
constexpr double kSeconds[] = {.0005, .001, .0025, .005, .01, .025, .05, .1,  .25,
                               .5,    1,    2.5,   5,    10,  30,   60,  120, 300};
constexpr double kBytes[] = {0x1p10, 0x1p12, 0x1p14, 0x1p16, 0x1p18, 0x1p20,
                             0x1p22, 0x1p24, 0x1p26, 0x1p28, 0x1p30, 0x1p32};
constexpr double kSteps[] = {0, 1, 2, 4, 8, 16, 32, 64, 128, 256};

constexpr LabelSpec kModel{"model", {}};
constexpr LabelSpec kWorker{"worker", {}};
constexpr LabelSpec kRpc[] = {{"grpc_type", {}}, {"grpc_service", {}}, {"grpc_method", {}}};

// clang-format off
const std::vector<MetricRow>& Rows() {
  static const auto* rows = new std::vector<MetricRow>{
      // Process
      {"stepback_build_info", kGauge, {{"version", {}}, {"revision", {}}, {"cuda", {}}, {"grpc", {}}}, {},
       "Always 1; what was built."},
      {"stepback_ready", kGauge, {}, {}, "1 when the server takes work: recovered, not draining."},
      {"stepback_draining", kGauge, {}, {},
       "1 while the server finishes and takes no new sessions or pushes."},
      {"process_cpu_seconds_total", kCounter, {}, {}, "User and system CPU time of the process, seconds."},
      {"process_resident_memory_bytes", kGauge, {}, {}, "Resident memory, bytes."},
      {"process_virtual_memory_bytes", kGauge, {}, {}, "Virtual memory, bytes."},
      {"process_open_fds", kGauge, {}, {}, "Open file descriptors."},
      {"process_max_fds", kGauge, {}, {}, "Limit of open file descriptors."},
      {"process_start_time_seconds", kGauge, {}, {}, "Start of the process, Unix time in seconds."},
      {"process_threads", kGauge, {}, {}, "Threads of the process."},
      // gRPC
      {"grpc_server_started_total", kCounter, {kRpc[0], kRpc[1], kRpc[2]}, {}, "Calls started."},
      {"grpc_server_handled_total", kCounter, {kRpc[0], kRpc[1], kRpc[2], {"grpc_code", kGrpcCodeNames}}, {},
       "Calls ended, by status code."},
      {"grpc_server_msg_received_total", kCounter, {kRpc[0], kRpc[1], kRpc[2]}, {}, "Messages received."},
      {"grpc_server_msg_sent_total", kCounter, {kRpc[0], kRpc[1], kRpc[2]}, {}, "Messages sent."},
      {"grpc_server_handling_seconds", kHistogram, {kRpc[0], kRpc[1], kRpc[2]}, kSeconds,
       "Time from the start of a call to its end, seconds."},
      // Models
      {"stepback_models", kGauge, {{"state", kModelPhaseNames}}, {}, "Models by state."},
      {"stepback_model_info", kGauge,
       {kModel, {"inner_optimizer", {}}, {"outer_optimizer", {}}, {"dtype", {}}, {"device", {}}}, {},
       "Always 1; what the model runs with."},
      {"stepback_model_parameters", kGauge, {kModel}, {}, "Elements of all tensors."},
      {"stepback_model_lookahead_steps", kGauge, {kModel}, {},
       "Sync period k: inner steps per outer step (delta mode: local steps H, when known)."},
      {"stepback_model_lookahead_alpha", kGauge, {kModel}, {},
       "Slow step size alpha, or the outer learning rate of rules that have no alpha."},
      {"stepback_model_state_bytes", kGauge,
       {kModel, {"kind", kStateKindNames}, {"tier", kMemoryTierNames}}, {},
       "Memory of the model's state, bytes."},
      {"stepback_model_version", kGauge, {kModel}, {}, "Counter of the published version."},
      {"stepback_inner_steps_total", kCounter, {kModel}, {}, "Inner steps committed."},
      {"stepback_outer_syncs_total", kCounter, {kModel, {"trigger", kSyncTriggerNames}}, {},
       "Outer steps committed, by what closed the round."},
      // Sessions and training health
      {"stepback_sessions", kGauge, {kModel, {"state", kSessionStateNames}}, {}, "Sessions by state."},
      {"stepback_sessions_closed_total", kCounter, {kModel, {"reason", kSessionEndNames}}, {},
       "Sessions ended, by reason."},
      {"stepback_worker_train_loss", kGauge, {kModel, kWorker}, {},
       "Training loss that the worker last reported."},
      {"stepback_worker_tokens_per_second", kGauge, {kModel, kWorker}, {},
       "Tokens (or samples) per second that the worker last reported."},
      {"stepback_worker_gradient_norm", kGauge, {kModel, kWorker}, {},
       "Gradient norm that the worker last reported."},
      {"stepback_worker_inner_learning_rate", kGauge, {kModel, kWorker}, {},
       "Learning rate of the worker's own optimizer."},
      {"stepback_worker_compute_seconds", kGauge, {kModel, kWorker}, {},
       "Computing time of the worker's last local round, seconds."},
      {"stepback_worker_wait_seconds", kGauge, {kModel, kWorker}, {},
       "Time the worker waited for others in its last round, seconds."},
      {"stepback_worker_staleness", kGauge, {kModel, kWorker}, {},
       "Commits between the base of the worker's last push and the version it was applied to."},
      {"stepback_reported_value", kGauge, {kModel, {"name", {}}}, {},
       "Evaluation of the slow weights last reported under this name."},
      {"stepback_round_waiting_for", kGauge, {kModel, kWorker}, {},
       "1 while the open round waits for this worker."},
      // Traffic
      {"stepback_pushes_total", kCounter,
       {kModel, {"kind", kPushKindNames}, {"outcome", kPushOutcomeNames}}, {},
       "Pushes, by kind and by what became of them."},
      {"stepback_received_bytes_total", kCounter,
       {kModel, {"encoding", {}}, {"transport", kTransportNames}}, {},
       "Payload bytes of pushes received, complete or not."},
      {"stepback_sent_bytes_total", kCounter, {kModel, {"encoding", {}}, {"transport", kTransportNames}}, {},
       "Payload bytes of pulls sent."},
      {"stepback_push_bytes", kHistogram, {kModel}, kBytes, "Payload size of complete pushes, bytes."},
      {"stepback_push_duration_seconds", kHistogram, {kModel, {"stage", kPushStageNames}}, kSeconds,
       "Time of a push, whole and by stage, seconds."},
      {"stepback_pulls_total", kCounter, {kModel, {"result", kPullResultNames}}, {}, "Pulls, by result."},
      {"stepback_pull_duration_seconds", kHistogram, {kModel}, kSeconds,
       "Time of a pull from the chosen version to the last byte handed over, seconds."},
      {"stepback_staleness_steps", kHistogram, {kModel}, kSteps,
       "Commits between a push's base and the version it met."},
      {"stepback_outer_sync_duration_seconds", kHistogram, {kModel, {"stage", kSyncStageNames}}, kSeconds,
       "Time of an outer step, whole and by stage, seconds."},
      // Limits
      {"stepback_queue_depth", kGauge, {kModel, {"queue", kQueueNames}}, {}, "Entries in the queue."},
      {"stepback_queue_limit", kGauge, {kModel, {"queue", kQueueNames}}, {},
       "Bound of the queue; 0: none set."},
      {"stepback_inflight_bytes", kGauge, {}, {},
       "Payload bytes received and not yet folded or dropped, all models."},
      {"stepback_inflight_limit_bytes", kGauge, {}, {}, "Bound of stepback_inflight_bytes; 0: none set."},
      {"stepback_rejected_total", kCounter, {{"reason", kRejectReasonNames}}, {},
       "Requests refused, by reason."},
      // Numbers
      {"stepback_nonfinite_updates_total", kCounter, {kModel, {"action", kNonfiniteActionNames}}, {},
       "Pushes or results with NaN or infinity, by what was done."},
      {"stepback_update_norm", kGauge, {kModel, {"kind", kNormKindNames}}, {},
       "L2 norm of the last update, by kind."},
      {"stepback_slow_weight_norm", kGauge, {kModel}, {}, "L2 norm of the slow weights."},
      {"stepback_slow_fast_distance", kGauge, {kModel}, {},
       "L2 distance of fast and slow weights before the last outer step."},
      // Durability
      {"stepback_checkpoint_duration_seconds", kHistogram, {kModel, {"op", kCheckpointOpNames}}, kSeconds,
       "Time of a snapshot operation, seconds."},
      {"stepback_checkpoint_failures_total", kCounter,
       {kModel, {"op", kCheckpointOpNames}, {"reason", kCheckpointFailureNames}}, {},
       "Snapshot operations that failed."},
      {"stepback_checkpoint_last_success_timestamp_seconds", kGauge, {kModel}, {},
       "Unix time of the last durable snapshot; 0: none yet."},
      {"stepback_checkpoint_interval_seconds", kGauge, {kModel}, {},
       "Interval of automatic snapshots; 0: off."},
      {"stepback_checkpoint_size_bytes", kGauge, {kModel}, {}, "Size of the last durable snapshot, bytes."},
      {"stepback_wal_fsync_duration_seconds", kHistogram, {kModel}, kSeconds,
       "Durability PUSH: time of one write to the log and its sync, seconds."},
      {"stepback_wal_sync_entries", kHistogram, {kModel}, kSteps, "Calls that one sync made durable."},
      {"stepback_wal_bytes_total", kCounter, {kModel}, {}, "Payload bytes written to the log."},
      {"stepback_wal_failures_total", kCounter, {kModel}, {},
       "Writes to the log that failed: the disk was full, or the model is read-only now."},
      {"stepback_events_dropped_total", kCounter, {kModel}, {},
       "Records that the model's event log had no room for, or that the disk did not take."},
      {"stepback_disk_free_bytes", kGauge, {{"path", {}}}, {},
       "Free bytes, to an unprivileged user, of the file system that holds the path."},
      {"stepback_disk_size_bytes", kGauge, {{"path", {}}}, {},
       "Size of the file system that holds the path, bytes."},
      // Operation
      {"stepback_tls_certificate_not_after_timestamp_seconds", kGauge, {{"file", {}}}, {},
       "Unix time at which the first certificate of the file expires."},
      {"stepback_log_messages_total", kCounter, {{"level", kLogLevelLabels}}, {},
       "Log events, those over the rate limit included."},
  };
  return *rows;
}
// clang-format on

}  // namespace

size_t MetricRow::OpenLabelCount() const {
  size_t count = 0;
  for (const LabelSpec& label : labels) count += label.values.empty();
  return count;
}

size_t MetricRow::SeriesPerBlock() const {
  size_t count = 1;
  for (const LabelSpec& label : labels) count *= label.values.empty() ? 1 : label.values.size();
  return count;
}

std::span<const MetricRow> MetricTable() { return Rows(); }

const MetricRow& FindMetric(std::string_view name) {
  for (const MetricRow& row : Rows()) {
    if (row.name == name) return row;
  }
  SB_CHECK(false, "no metric named %.*s", static_cast<int>(name.size()), name.data());
}

}  // namespace stepback::telemetry
