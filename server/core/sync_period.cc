#include "server/core/sync_period.h"

#include <algorithm>
#include <cmath>

#include "server/base/check.h"
#include "server/core/schedule.h"

namespace stepback {

uint32_t SyncPeriodAt(const ModelSpec& spec, uint64_t outer_steps) {
  if (!spec.sync_period_schedule.has_value() || spec.sync_period == 0) return spec.sync_period;
  const auto schedule = Schedule::Make(*spec.sync_period_schedule, "spec.sync_period_schedule");
  SB_CHECK(schedule.ok(), "%s", schedule.status().ToString().c_str());
  const double period =
      std::round(spec.sync_period * schedule->FactorAt(outer_steps));  // factors are at most 1
  return static_cast<uint32_t>(std::max(period, 1.0));
}

}  // namespace stepback
