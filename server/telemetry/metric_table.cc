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

const LabelSpec kModel{"model", {}};
const LabelSpec kWorker{"worker", {}};
const LabelSpec kMethod[] = {{"grpc_type", {}}, {"grpc_service", {}}, {"grpc_method", {}}};

// clang-format off: one row, one metric
const std::vector<MetricRow>& Rows() {
  static const auto* rows = new std::vector<MetricRow>{
      // Process
      {"stepback_build_info",
       kGauge,
       "Always 1; what was built.",
       {{"version", {}}, {"revision", {}}, {"cuda", {}}, {"grpc", {}}},
       {}},
      {"stepback_ready", kGauge, "1 when the server takes work: recovered, not draining.", {}, {}},
      {"stepback_draining",
       kGauge,
       "1 while the server finishes and takes no new sessions or pushes.",
       {},
       {}},
      {"process_cpu_seconds_total", kCounter, "User and system CPU time of the process, seconds.", {}, {}},
      {"process_resident_memory_bytes", kGauge, "Resident memory, bytes.", {}, {}},
      {"process_virtual_memory_bytes", kGauge, "Virtual memory, bytes.", {}, {}},
      {"process_open_fds", kGauge, "Open file descriptors.", {}, {}},
      {"process_max_fds", kGauge, "Limit of open file descriptors.", {}, {}},
      {"process_start_time_seconds", kGauge, "Start of the process, Unix time in seconds.", {}, {}},
      {"process_threads", kGauge, "Threads of the process.", {}, {}},
      // gRPC
      {"grpc_server_started_total", kCounter, "Calls started.", {kMethod[0], kMethod[1], kMethod[2]}, {}},
      {"grpc_server_handled_total",
       kCounter,
       "Calls ended, by status code.",
       {kMethod[0], kMethod[1], kMethod[2], {"grpc_code", kGrpcCodeNames}},
       {}},
      {"grpc_server_msg_received_total",
       kCounter,
       "Messages received.",
       {kMethod[0], kMethod[1], kMethod[2]},
       {}},
      {"grpc_server_msg_sent_total", kCounter, "Messages sent.", {kMethod[0], kMethod[1], kMethod[2]}, {}},
      {"grpc_server_handling_seconds",
       kHistogram,
       "Time from the start of a call to its end, seconds.",
       {kMethod[0], kMethod[1], kMethod[2]},
       kSeconds},
      // Models
      {"stepback_models", kGauge, "Models by state.", {{"state", kModelPhaseNames}}, {}},
      {"stepback_model_info",
       kGauge,
       "Always 1; what the model runs with.",
       {kModel, {"inner_optimizer", {}}, {"outer_optimizer", {}}, {"dtype", {}}, {"device", {}}},
       {}},
      {"stepback_model_parameters", kGauge, "Elements of all tensors.", {kModel}, {}},
      {"stepback_model_lookahead_steps",
       kGauge,
       "Sync period k: inner steps per outer step (delta mode: local steps H, when known).",
       {kModel},
       {}},
      {"stepback_model_lookahead_alpha",
       kGauge,
       "Slow step size alpha, or the outer learning rate of rules that have no alpha.",
       {kModel},
       {}},
      {"stepback_model_state_bytes",
       kGauge,
       "Memory of the model's state, bytes.",
       {kModel, {"kind", kStateKindNames}, {"tier", kMemoryTierNames}},
       {}},
      {"stepback_model_version", kGauge, "Counter of the published version.", {kModel}, {}},
      {"stepback_inner_steps_total", kCounter, "Inner steps committed.", {kModel}, {}},
      {"stepback_outer_syncs_total",
       kCounter,
       "Outer steps committed, by what closed the round.",
       {kModel, {"trigger", kSyncTriggerNames}},
       {}},
      // Sessions and training health
      {"stepback_sessions", kGauge, "Sessions by state.", {kModel, {"state", kSessionStateNames}}, {}},
      {"stepback_sessions_closed_total",
       kCounter,
       "Sessions ended, by reason.",
       {kModel, {"reason", kSessionEndNames}},
       {}},
      {"stepback_worker_train_loss",
       kGauge,
       "Training loss that the worker last reported.",
       {kModel, kWorker},
       {}},
      {"stepback_worker_tokens_per_second",
       kGauge,
       "Tokens (or samples) per second that the worker last reported.",
       {kModel, kWorker},
       {}},
      {"stepback_worker_gradient_norm",
       kGauge,
       "Gradient norm that the worker last reported.",
       {kModel, kWorker},
       {}},
      {"stepback_worker_inner_learning_rate",
       kGauge,
       "Learning rate of the worker's own optimizer.",
       {kModel, kWorker},
       {}},
      {"stepback_worker_compute_seconds",
       kGauge,
       "Computing time of the worker's last local round, seconds.",
       {kModel, kWorker},
       {}},
      {"stepback_worker_wait_seconds",
       kGauge,
       "Time the worker waited for others in its last round, seconds.",
       {kModel, kWorker},
       {}},
      {"stepback_worker_staleness",
       kGauge,
       "Commits between the base of the worker's last push and the version it was applied to.",
       {kModel, kWorker},
       {}},
      {"stepback_reported_value",
       kGauge,
       "Evaluation of the slow weights last reported under this name.",
       {kModel, {"name", {}}},
       {}},
      {"stepback_round_waiting_for",
       kGauge,
       "1 while the open round waits for this worker.",
       {kModel, kWorker},
       {}},
      // Traffic
      {"stepback_pushes_total",
       kCounter,
       "Pushes, by kind and by what became of them.",
       {kModel, {"kind", kPushKindNames}, {"outcome", kPushOutcomeNames}},
       {}},
      {"stepback_received_bytes_total",
       kCounter,
       "Payload bytes of pushes received, complete or not.",
       {kModel, {"encoding", {}}, {"transport", kTransportNames}},
       {}},
      {"stepback_sent_bytes_total",
       kCounter,
       "Payload bytes of pulls sent.",
       {kModel, {"encoding", {}}, {"transport", kTransportNames}},
       {}},
      {"stepback_push_bytes", kHistogram, "Payload size of complete pushes, bytes.", {kModel}, kBytes},
      {"stepback_push_duration_seconds",
       kHistogram,
       "Time of a push, whole and by stage, seconds.",
       {kModel, {"stage", kPushStageNames}},
       kSeconds},
      {"stepback_pulls_total", kCounter, "Pulls, by result.", {kModel, {"result", kPullResultNames}}, {}},
      {"stepback_pull_duration_seconds",
       kHistogram,
       "Time of a pull from the chosen version to the last byte handed over, seconds.",
       {kModel},
       kSeconds},
      {"stepback_staleness_steps",
       kHistogram,
       "Commits between a push's base and the version it met.",
       {kModel},
       kSteps},
      {"stepback_outer_sync_duration_seconds",
       kHistogram,
       "Time of an outer step, whole and by stage, seconds.",
       {kModel, {"stage", kSyncStageNames}},
       kSeconds},
      // Limits
      {"stepback_queue_depth", kGauge, "Entries in the queue.", {kModel, {"queue", kQueueNames}}, {}},
      {"stepback_queue_limit",
       kGauge,
       "Bound of the queue; 0: none set.",
       {kModel, {"queue", kQueueNames}},
       {}},
      {"stepback_inflight_bytes",
       kGauge,
       "Payload bytes received and not yet folded or dropped, all models.",
       {},
       {}},
      {"stepback_inflight_limit_bytes", kGauge, "Bound of stepback_inflight_bytes; 0: none set.", {}, {}},
      {"stepback_rejected_total",
       kCounter,
       "Requests refused, by reason.",
       {{"reason", kRejectReasonNames}},
       {}},
      // Numbers
      {"stepback_nonfinite_updates_total",
       kCounter,
       "Pushes or results with NaN or infinity, by what was done.",
       {kModel, {"action", kNonfiniteActionNames}},
       {}},
      {"stepback_update_norm",
       kGauge,
       "L2 norm of the last update, by kind.",
       {kModel, {"kind", kNormKindNames}},
       {}},
      {"stepback_slow_weight_norm", kGauge, "L2 norm of the slow weights.", {kModel}, {}},
      {"stepback_slow_fast_distance",
       kGauge,
       "L2 distance of fast and slow weights before the last outer step.",
       {kModel},
       {}},
      // Durability
      {"stepback_checkpoint_duration_seconds",
       kHistogram,
       "Time of a snapshot operation, seconds.",
       {kModel, {"op", kCheckpointOpNames}},
       kSeconds},
      {"stepback_checkpoint_failures_total",
       kCounter,
       "Snapshot operations that failed.",
       {kModel, {"op", kCheckpointOpNames}, {"reason", kCheckpointFailureNames}},
       {}},
      {"stepback_checkpoint_last_success_timestamp_seconds",
       kGauge,
       "Unix time of the last durable snapshot; 0: none yet.",
       {kModel},
       {}},
      {"stepback_checkpoint_interval_seconds",
       kGauge,
       "Interval of automatic snapshots; 0: off.",
       {kModel},
       {}},
      {"stepback_checkpoint_size_bytes", kGauge, "Size of the last durable snapshot, bytes.", {kModel}, {}},
      {"stepback_disk_free_bytes",
       kGauge,
       "Free bytes, to an unprivileged user, of the file system that holds the path.",
       {{"path", {}}},
       {}},
      {"stepback_disk_size_bytes",
       kGauge,
       "Size of the file system that holds the path, bytes.",
       {{"path", {}}},
       {}},
      // Operation
      {"stepback_tls_certificate_not_after_timestamp_seconds",
       kGauge,
       "Unix time at which the first certificate of the file expires.",
       {{"file", {}}},
       {}},
      {"stepback_log_messages_total",
       kCounter,
       "Log events, those over the rate limit included.",
       {{"level", kLogLevelLabels}},
       {}},
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
