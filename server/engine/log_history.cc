#include "server/engine/log_history.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "server/base/status_macros.h"

namespace stepback {

absl::StatusOr<LogScan> ScanLog(const LogFiles& files, const OpenPlace& open) {
  LogReader::Options options = files.From(open);
  options.keep_payloads = false;
  ASSIGN_OR_RETURN(const auto reader, files.Read(options));
  LogScan scan{.time = open.time};
  for (;;) {
    LogEntry entry;
    ASSIGN_OR_RETURN(const bool more, reader->Next(&entry));
    if (!more) break;
    ASSIGN_OR_RETURN(LoggedCall call, ParseCall(entry.record));
    scan.time = std::max(scan.time, call.time);
    if (auto* failed = std::get_if<LoggedFailures>(&call.call))
      scan.failures[failed->position] = std::move(*failed);
    if (const auto* restore = std::get_if<LoggedRestore>(&call.call))
      scan.restored[entry.place.position] = restore->generation;
  }
  return scan;
}

absl::StatusOr<Push> FetchPush(const LogFiles& files, const PushRef& ref) {
  ASSIGN_OR_RETURN(const auto reader, files.Read({.from = ref.log_position, .allocator = files.allocator}));
  LogEntry entry;
  ASSIGN_OR_RETURN(const bool found, reader->Next(&entry));
  if (!found || entry.place.position != ref.log_position) {
    return absl::DataLossError(fmt::format("log: push {} of client '{}' is not at position {}", ref.sequence,
                                           ref.client_id, ref.log_position));
  }
  ASSIGN_OR_RETURN(LoggedCall call, ParseCall(entry.record));
  auto* push = std::get_if<LoggedPush>(&call.call);
  if (push == nullptr)
    return absl::DataLossError(fmt::format("log: there is no push at position {}", ref.log_position));
  return Push{.header = std::move(push->header),
              .payload = std::move(entry.payload),
              .finite = push->finite,
              .log_position = ref.log_position};
}

absl::StatusOr<std::unique_ptr<LogReader>> ReadCalls(
    const LogFiles& files, const OpenPlace& open,
    const std::function<absl::StatusOr<bool>(const LoggedCall& call, LogEntry entry)>& make) {
  ASSIGN_OR_RETURN(auto reader, files.Read(files.From(open)));
  for (bool go_on = true; go_on;) {
    LogEntry entry;
    ASSIGN_OR_RETURN(const bool more, reader->Next(&entry));
    if (!more) break;
    ASSIGN_OR_RETURN(const LoggedCall call, ParseCall(entry.record));
    ASSIGN_OR_RETURN(go_on, make(call, std::move(entry)));
  }
  return reader;
}

}  // namespace stepback
