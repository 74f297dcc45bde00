// The log of one model as it lies on disk: segments, entries, where it ends and why. Reads only.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "absl/status/statusor.h"
#include "server/store/log_entry.h"
#include "server/store/log_segments.h"
#include "server/tools/model_directories.h"

namespace stepback {

struct InspectedLog {
  std::vector<LogSegment> segments;
  uint64_t entries = 0;
  uint64_t payload_bytes = 0;
  LogEnd end;
  LogReport report;     // torn tail; damage that was stepped over
  absl::Status status;  // DATA_LOSS: damaged, and `recovery` is strict
};

// Reads from the oldest segment on and verifies every byte; `entry` is called for each whole entry, without
// payload.
absl::StatusOr<InspectedLog> InspectLog(FileSystem* fs, const ModelDirectory& model, LogRecovery recovery,
                                        const std::function<void(const LogEntry&)>& entry);

}  // namespace stepback
