// Reading the log of a model of durability PUSH as calls: what a recovery does before it writes, and all that
// somebody who only looks back does. Nothing is written.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "server/core/model.h"
#include "server/core/open_state.h"
#include "server/engine/logged_call.h"
#include "server/engine/replay.h"
#include "server/engine/stored_open_state.h"
#include "server/store/log_reader.h"

namespace stepback {

// Where a log is, and how it is read.
struct LogFiles {
  FileSystem* fs = nullptr;
  std::string directory;
  std::string model;
  LogRecovery recovery = LogRecovery::kStrict;
  kernels::HostAllocator* allocator = nullptr;  // of payloads

  absl::StatusOr<std::unique_ptr<LogReader>> Read(const LogReader::Options& options) const {
    return LogReader::Open(fs, directory, model, options);
  }
  LogReader::Options From(const OpenPlace& open) const {
    return {.from = open.place.end, .chain = open.place.chain, .recovery = recovery, .allocator = allocator};
  }
};

// The first pass, without payloads: the whole log verifies before anything is made of it, and what calls met
// on their machine is known before they are made again.
struct LogScan {
  Replay::Failures failures;
  std::map<uint64_t, uint64_t> restored;
  Duration time{};  // of the last call
};
absl::StatusOr<LogScan> ScanLog(const LogFiles& files, const OpenPlace& open);

// A push that the open state names.
absl::StatusOr<Push> FetchPush(const LogFiles& files, const PushRef& ref);

// Gives out the calls behind `open` in order, with their payloads; `make` says whether to go on. The reader
// tells how the log ends.
absl::StatusOr<std::unique_ptr<LogReader>> ReadCalls(
    const LogFiles& files, const OpenPlace& open,
    const std::function<absl::StatusOr<bool>(const LoggedCall& call, LogEntry entry)>& make);

}  // namespace stepback
