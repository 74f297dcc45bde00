// Errors with a machine-readable reason. The reason and metadata ride in an absl::Status payload and become
// google.rpc.ErrorInfo at the rpc edge (docs/errors.md lists every reason).
#pragma once

#include <map>
#include <optional>
#include <string>

#include "absl/status/status.h"

namespace stepback {

// reason: UPPER_SNAKE, listed in docs/errors.md.
absl::Status Error(absl::StatusCode code, std::string reason, const std::string& message,
                   const std::map<std::string, std::string>& metadata = {});
// The reason of a status made by Error, "" when it has none.
std::string ReasonOf(const absl::Status& status);
std::map<std::string, std::string> MetadataOf(const absl::Status& status);

// Asks the caller to try again after `seconds` (RetryInfo at the edge).
absl::Status WithRetryAfter(absl::Status status, double seconds);
std::optional<double> RetryAfterOf(const absl::Status& status);
// Names the offending field (BadRequest at the edge); `field` is the proto path, e.g. "spec.rounds.quorum".
absl::Status WithField(absl::Status status, std::string field);
std::string FieldOf(const absl::Status& status);

}  // namespace stepback
