// A call of a model as its log has it (durability PUSH, decision record 107): what decides, with its time;
// and its record in the log, a protobuf (durable.proto, LoggedCall). Pure.
//
//   LogAppend append{.record = RecordOf(call, version), .payload = push.payload};
//   ASSIGN_OR_RETURN(LoggedCall call, ParseCall(entry.record));
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "server/base/clock.h"
#include "server/core/model.h"
#include "server/store/log_entry.h"

namespace stepback {

struct LoggedPush {  // its payload is the entry's
  PushHeader header;
  bool finite = true;
};
struct LoggedOpen {
  std::string client_id;
  SessionRole role = SessionRole::kTrainer;
};
struct LoggedClose {
  std::string client_id;
  uint64_t epoch = 0;
};
struct LoggedEvict {
  std::string client_id;
};
struct LoggedTick {
  std::vector<std::string> lapsed;
};
struct LoggedUpdate {
  std::vector<std::pair<std::string, double>> values;
  uint64_t expected_settings_version = 0;
};
struct LoggedRestore {
  uint64_t generation = 0;
  uint64_t term = 0;
};
struct LoggedImport {};  // the weights are the entry's payload: dense fp32 in table order
struct LoggedTerm {
  uint64_t term = 0;
};
// Of the call whose entry is at `position`: what depended on the machine.
struct LoggedFailures {
  uint64_t position = 0;
  bool refused = false;  // the call returned an error and changed nothing
  StepFailures steps;
};

struct LoggedCall {
  // In this order: index + 1 is the record's type, and the number of the field in LoggedCall of
  // durable.proto.
  using Call = std::variant<LoggedPush, LoggedOpen, LoggedClose, LoggedEvict, LoggedTick, LoggedUpdate,
                            LoggedRestore, LoggedImport, LoggedTerm, LoggedFailures>;
  Duration time{};  // since the model's creation, without the time in which no server ran
  Call call;
};

// `version` is the model's when the call was made; for people.
LogRecord RecordOf(const LoggedCall& call, Version version);
// DATA_LOSS(LOG_DAMAGED) when the record does not say what its type promises;
// FAILED_PRECONDITION(NEWER_FORMAT) for a type of a newer program.
absl::StatusOr<LoggedCall> ParseCall(const LogRecord& record);

}  // namespace stepback
