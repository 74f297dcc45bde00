// The version of this program; set by the build (client/cli/CMakeLists.txt).
#pragma once

namespace stepback::cli {

inline constexpr char kVersion[] = STEPBACK_CLI_VERSION;

}  // namespace stepback::cli
