#include "server/engine/push_metrics.h"

#include <string>
#include <string_view>
#include <utility>

#include "server/base/errors.h"

namespace stepback {
namespace {

using telemetry::RejectReason;

constexpr std::pair<std::string_view, RejectReason> kReasons[] = {
    {"STAGING_FULL", RejectReason::kQuota},     {"QUEUE_FULL", RejectReason::kQuota},
    {"MEMORY_FULL", RejectReason::kMemory},     {"BAD_CRC", RejectReason::kChecksum},
    {"FENCED", RejectReason::kSession},         {"NO_SESSION", RejectReason::kSession},
    {"QUARANTINED", RejectReason::kSession},    {"READER_SESSION", RejectReason::kSession},
    {"SEQUENCE_GAP", RejectReason::kSession},
    {"STALE_BASE", RejectReason::kStale},       {"RESYNC", RejectReason::kStale},
    {"NONFINITE", RejectReason::kNonfinite},    {"DRAINING", RejectReason::kDraining},
    {"SHUTTING_DOWN", RejectReason::kDraining}, {"TOO_MANY_BYTES", RejectReason::kTooLarge},
    {"PUSH_TOO_LARGE", RejectReason::kTooLarge}};

RejectReason ReasonFor(const absl::Status& status) {
  const std::string reason = ReasonOf(status);
  for (const auto& [name, metric] : kReasons) {
    if (reason == name) return metric;
  }
  return RejectReason::kSchema;
}

telemetry::PushKind KindOf(const PushHeader& header) {
  switch (header.kind) {
    case PushKind::kGradient:
      return telemetry::PushKind::kGradient;
    case PushKind::kDelta:
      return telemetry::PushKind::kDelta;
    case PushKind::kWeights:
      return telemetry::PushKind::kWeights;
  }
  return telemetry::PushKind::kDelta;
}

telemetry::PushOutcome OutcomeOf(const PushAnswer& answer) {
  if (!answer.refusal.ok()) {
    return ReasonFor(answer.refusal) == RejectReason::kStale ? telemetry::PushOutcome::kStale
                                                             : telemetry::PushOutcome::kRejected;
  }
  switch (answer.outcome) {
    case PushOutcome::kApplied:
      return telemetry::PushOutcome::kApplied;
    case PushOutcome::kBuffered:
      return telemetry::PushOutcome::kBuffered;
    case PushOutcome::kDuplicate:
      return telemetry::PushOutcome::kDuplicate;
    case PushOutcome::kSkipped:
      return telemetry::PushOutcome::kRejected;
  }
  return telemetry::PushOutcome::kError;
}

}  // namespace

void ReportPush(telemetry::ModelMetrics* metrics, const PushHeader& header, uint64_t bytes, double seconds,
                const PushAnswer& answer) {
  metrics->OnPush(KindOf(header), OutcomeOf(answer), bytes);
  metrics->OnPushStage(telemetry::PushStage::kTotal, seconds);
  if (!answer.refusal.ok()) {
    if (ReasonFor(answer.refusal) == RejectReason::kNonfinite)
      metrics->OnNonfinite(telemetry::NonfiniteAction::kDropped);
    return;
  }
  if (answer.outcome == PushOutcome::kSkipped) metrics->OnNonfinite(telemetry::NonfiniteAction::kOverflow);
  if (answer.outcome == PushOutcome::kDuplicate) return;
  metrics->OnStaleness(answer.staleness);
}

void ReportRefusal(telemetry::Metrics* metrics, const absl::Status& status) {
  metrics->OnRejected(ReasonFor(status));
}

}  // namespace stepback
