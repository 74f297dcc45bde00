// What an errno means to a caller. The one table.
#pragma once

#include <string_view>

#include "absl/status/status.h"

namespace stepback {

absl::StatusCode CodeOfErrno(int error_number);
// "write '/data/x': No space left on device"
absl::Status ErrnoStatus(int error_number, std::string_view call, std::string_view path);

}  // namespace stepback
