// What the store says, for a caller: with the model's name and a reason (docs/errors.md).
#pragma once

#include <fmt/format.h>

#include <string>

#include "absl/status/status.h"
#include "server/base/errors.h"

namespace stepback {

inline constexpr double kDiskFullRetryAfterSeconds = 10;

// RESOURCE_EXHAUSTED is DISK_FULL, everything else keeps its code and gets `reason`. A status that has a
// reason already, or is OK, stays as it is.
inline absl::Status StorageError(const std::string& model, const absl::Status& status,
                                 const std::string& reason = "STORAGE_FAILED") {
  if (status.ok() || !ReasonOf(status).empty()) return status;
  const std::string prefix = fmt::format("model '{}': ", model);
  const std::string said(status.message());
  const std::string message = said.rfind(prefix, 0) == 0 ? said : prefix + said;
  if (!absl::IsResourceExhausted(status)) return Error(status.code(), reason, message);
  return WithRetryAfter(Error(status.code(), "DISK_FULL", message), kDiskFullRetryAfterSeconds);
}

}  // namespace stepback
