// STEPBACK_SECTION__NAME variables. Internal to server/config.
#pragma once

#include "absl/status/status.h"
#include "server/config/assignment.h"
#include "server/config/command_line.h"

namespace stepback {

// A variable of our form that names no setting is refused; others (also STEPBACK_SERVICE_HOST and the like,
// which Kubernetes sets for a service of that name) are left alone.
absl::Status AssignFromEnvironment(const Environment& environment, Assigned* assigned);

}  // namespace stepback
