// Values of the labels whose set is closed: each enum stands beside its names, in the same order.
//
// The metric table refers to the name arrays, so a new value is one line here and its series exist at 0 at
// once. Labels that are open (model, worker, method, ...) are bounded where they are created, see metrics.h.
#pragma once

#include <string_view>

namespace stepback::telemetry {

enum class PushKind { kGradient, kDelta, kWeights };
inline constexpr std::string_view kPushKindNames[] = {"gradient", "delta", "weights"};

// What became of one complete push, or of one that ended before it was complete (rejected, error).
enum class PushOutcome { kApplied, kBuffered, kDuplicate, kStale, kRejected, kError };
inline constexpr std::string_view kPushOutcomeNames[] = {"applied", "buffered", "duplicate",
                                                         "stale",   "rejected", "error"};

// Where a push spends its time: first byte to answer (total), waiting for its turn, decoding, copying to the
// device, arithmetic.
enum class PushStage { kTotal, kQueue, kDecode, kH2d, kApply };
inline constexpr std::string_view kPushStageNames[] = {"total", "queue", "decode", "h2d", "apply"};

enum class PullResult { kFull, kDelta, kNotModified, kError };
inline constexpr std::string_view kPullResultNames[] = {"full", "delta", "not_modified", "error"};

// Why an outer step ran: k inner steps, every live worker has contributed, quorum at the deadline, asked for.
enum class SyncTrigger { kSteps, kRound, kDeadline, kManual };
inline constexpr std::string_view kSyncTriggerNames[] = {"steps", "round", "deadline", "manual"};

enum class SyncStage { kTotal, kWait, kKernel, kD2h, kPublish };
inline constexpr std::string_view kSyncStageNames[] = {"total", "wait", "kernel", "d2h", "publish"};

enum class ModelPhase { kLoading, kServing, kFrozen, kFailed };
inline constexpr std::string_view kModelPhaseNames[] = {"loading", "serving", "frozen", "failed"};

enum class StateKind { kSlow, kFast, kMomentum, kAverages, kStaging };
inline constexpr std::string_view kStateKindNames[] = {"slow", "fast", "momentum", "averages", "staging"};

enum class MemoryTier { kHost, kGpu, kDisk };
inline constexpr std::string_view kMemoryTierNames[] = {"host", "gpu", "disk"};

enum class SessionState { kActive, kIdle, kLagging };
inline constexpr std::string_view kSessionStateNames[] = {"active", "idle", "lagging"};

// closed by the client, lease ran out, evicted by an operator, replaced by a newer epoch, model restored or
// deleted, server draining, too many pushes that were not finite.
enum class SessionEnd { kClosed, kExpired, kEvicted, kFenced, kRolledBack, kModelDeleted, kDrained, kQuarantined };
inline constexpr std::string_view kSessionEndNames[] = {
    "closed", "expired", "evicted", "fenced", "rolled_back", "model_deleted", "drained", "quarantined"};

// ingress: uploads waiting for budget; apply: commands waiting for the model's strand; sync: pushes staged
// for the open round.
enum class Queue { kIngress, kApply, kSync, kLog };
inline constexpr std::string_view kQueueNames[] = {"ingress", "apply", "sync", "log"};

enum class RejectReason {
  kQuota,
  kMemory,
  kAuth,
  kSchema,
  kChecksum,
  kSession,
  kStale,
  kNonfinite,
  kDraining,
  kTooLarge
};
inline constexpr std::string_view kRejectReasonNames[] = {"quota",    "memory",   "auth",  "schema",
                                                          "checksum", "session",  "stale", "nonfinite",
                                                          "draining", "too_large"};

// dropped: refused as wrong; overflow: a loss-scaled push whose scale was too high (the scaler backs off).
enum class NonfiniteAction { kDropped, kOverflow };
inline constexpr std::string_view kNonfiniteActionNames[] = {"dropped", "overflow"};

enum class NormKind { kGradient, kDelta, kOuter };
inline constexpr std::string_view kNormKindNames[] = {"gradient", "delta", "outer"};

enum class CheckpointOp { kSave, kRestore, kExport, kImport };
inline constexpr std::string_view kCheckpointOpNames[] = {"save", "restore", "export", "import"};

enum class CheckpointFailure { kIo, kNoSpace, kCorrupt, kMemory, kOther };
inline constexpr std::string_view kCheckpointFailureNames[] = {"io", "no_space", "corrupt", "memory",
                                                               "other"};

// The label of what is beyond the bound on a label's values.
inline constexpr char kOtherLabel[] = "_other";

// Of stepback_log_messages_total, in the order of LogLevel (log.h).
inline constexpr std::string_view kLogLevelLabels[] = {"trace", "debug", "info", "warn", "error"};

inline constexpr std::string_view kTransportNames[] = {"grpc"};

// In the order of the numeric codes; spelled as stock gRPC dashboards expect.
inline constexpr std::string_view kGrpcCodeNames[] = {
    "OK",       "Canceled",       "Unknown",          "InvalidArgument",   "DeadlineExceeded",
    "NotFound", "AlreadyExists",  "PermissionDenied", "ResourceExhausted", "FailedPrecondition",
    "Aborted",  "OutOfRange",     "Unimplemented",    "Internal",          "Unavailable",
    "DataLoss", "Unauthenticated"};

}  // namespace stepback::telemetry
