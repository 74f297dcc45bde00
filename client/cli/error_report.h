// How a failed command ends: one line, or one JSON object, on standard error; and the exit status.
#pragma once

#include <ostream>

#include "absl/status/status.h"
#include "client/cli/context.h"

namespace stepback::cli {

// Exit statuses of `stepback`; docs/cli.md.
inline constexpr int kExitOk = 0;
inline constexpr int kExitRuntime = 1;
inline constexpr int kExitUsage = 2;

// "error: NOT_FOUND: model 'lm' does not exist (MODEL_NOT_FOUND)".
void ReportError(const absl::Status& status, Output output, std::ostream& out);
// INVALID_ARGUMENT made by the command line itself, before any server was asked.
absl::Status UsageError(const std::string& message);
int ExitStatusOf(const absl::Status& status);

}  // namespace stepback::cli
