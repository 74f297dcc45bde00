// Turns answers and refusals of pushes into metrics. Threads: any.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "server/core/push.h"
#include "server/telemetry/metrics.h"

namespace stepback {

// One whole push of `bytes` payload bytes was answered, `seconds` after its first header.
void ReportPush(telemetry::ModelMetrics* metrics, const PushHeader& header, uint64_t bytes, double seconds,
                const PushAnswer& answer);

// Something was refused before it was a whole push (header, chunk, admission, session).
void ReportRefusal(telemetry::Metrics* metrics, const absl::Status& status);

}  // namespace stepback
