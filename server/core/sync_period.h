// The sync period in force: k of gradient mode, the H that workers are told in delta mode. Pure.
#pragma once

#include <cstdint>

#include "server/core/spec.h"

namespace stepback {

// At outer step `outer_steps` (from 0): max(1, round(sync_period x factor)), halves away from 0; sync_period
// without a schedule, and 0 (the workers' own choice) when it is 0. `spec` has passed ValidateSpec.
uint32_t SyncPeriodAt(const ModelSpec& spec, uint64_t outer_steps);

}  // namespace stepback
