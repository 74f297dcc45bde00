// Values as people write them. The parsers take the whole text or refuse it, and name text and bound. Pure.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "server/base/clock.h"

namespace stepback {

// "8MiB", "64KiB", "1.5GiB", "10MB" (decimal), "4096" (bytes). Formatted in the largest unit that is exact.
absl::StatusOr<uint64_t> ParseBytes(const std::string& text);
std::string FormatBytes(uint64_t bytes);

// "30s", "500ms", "1h30m"; a number without unit is refused, 0 is not.
absl::StatusOr<Duration> ParseDuration(const std::string& text);
std::string FormatDuration(Duration duration);

absl::StatusOr<uint64_t> ParseCount(const std::string& text);
absl::StatusOr<bool> ParseBool(const std::string& text);  // "true" or "false"

}  // namespace stepback
