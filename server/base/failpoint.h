// Named places where a test makes something happen: the process dies there, or the caller does what a bug
// would do. In builds with STEPBACK_FAILPOINTS only (presets dev, ci, asan, tsan); elsewhere the places cost
// nothing and cannot be set.
//
//   FAILPOINT("snapshot.before_rename");                        // a place to die at
//   if (!FAILPOINT("plant.unfenced_epoch")) RETURN_IF_ERROR(CheckEpoch());   // a bug to plant
//
// STEPBACK_FAILPOINTS in the environment sets them at their first use: "name=crash" (as kill -9, at the first
// visit), "name=crash:3" (at the third), "name=on"; several are separated by ';'. Threads: any.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace stepback {

class Failpoints {
 public:
  // INVALID_ARGUMENT for an action that is none of the above or "off".
  static absl::Status Set(const std::string& name, std::string_view action);
  // True when the place is "on"; counts the visit, and may end the process.
  static bool Reached(std::string_view name);
};

inline bool NoFailpoint() { return false; }

}  // namespace stepback

#ifdef STEPBACK_FAILPOINTS
#define FAILPOINT(name) ::stepback::Failpoints::Reached(name)
#else
#define FAILPOINT(name) ::stepback::NoFailpoint()
#endif
