// "10s", "500ms", "2m" to seconds, and "100M", "64K", "4Mi" to a count, as the load tool's flags say them.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"

namespace stepback::cli {

absl::StatusOr<double> ParseSeconds(const std::string& text);
absl::StatusOr<uint64_t> ParseCount(const std::string& text);

}  // namespace stepback::cli
