// The machine-readable part of an error. Every call of the SDK returns absl::Status; the reason is one of
// docs/errors.md ("STALE_BASE", "FENCED", ...), with the server's words in the message.
#pragma once

#include <map>
#include <optional>
#include <string>

#include "absl/status/status.h"

namespace stepback::client {

// "" when the status carries none.
std::string ErrorReason(const absl::Status& status);
std::map<std::string, std::string> ErrorMetadata(const absl::Status& status);
// The proto path of the offending field ("spec.rounds.quorum"), or "".
std::string ErrorField(const absl::Status& status);
// Seconds after which the server asks to try again.
std::optional<double> ErrorRetryAfter(const absl::Status& status);

}  // namespace stepback::client
