#include "server/tools/inspect_log.h"

#include <algorithm>

#include "server/base/status_macros.h"
#include "server/store/log_reader.h"

namespace stepback {
namespace {

absl::Status ReadEntries(LogReader* reader, const std::function<void(const LogEntry&)>& visit,
                         InspectedLog* log) {
  for (;;) {
    LogEntry entry;
    ASSIGN_OR_RETURN(const bool more, reader->Next(&entry));
    if (!more) return absl::OkStatus();
    ++log->entries;
    log->payload_bytes += entry.payload_bytes;
    visit(entry);
  }
}

}  // namespace

absl::StatusOr<InspectedLog> InspectLog(FileSystem* fs, const ModelDirectory& model, LogRecovery recovery,
                                        const std::function<void(const LogEntry&)>& entry) {
  InspectedLog log;
  ASSIGN_OR_RETURN(log.segments, ListLogSegments(fs, model.path, model.model));
  // Segments that a snapshot covers are gone: the log begins where the oldest one does.
  const auto first = std::find_if(log.segments.begin(), log.segments.end(),
                                  [](const LogSegment& segment) { return segment.damage.ok(); });
  const uint64_t from = first == log.segments.end() ? 0 : first->header.base;
  const absl::StatusOr<std::unique_ptr<LogReader>> reader = LogReader::Open(
      fs, model.path, model.model, {.from = from, .recovery = recovery, .keep_payloads = false});
  log.status = reader.status();
  if (absl::IsDataLoss(log.status)) return log;
  RETURN_IF_ERROR(log.status);
  log.status = ReadEntries(reader->get(), entry, &log);
  if (!log.status.ok() && !absl::IsDataLoss(log.status)) return log.status;
  log.end = (*reader)->end();
  log.report = (*reader)->report();
  return log;
}

}  // namespace stepback
