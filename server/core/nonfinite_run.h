// How many pushes of one client in a row were not finite, and when they are too many to go on with it: a worker
// whose own weights are NaN sends nothing else, and a sync round would wait for it for ever. An overflow under
// loss scaling is part of training (decisions 9), and only many of them in a row are a fault.
//
//   ++run.refused;
//   if (run.TooLong(spec.quarantine)) ...            // the session ends (decision record 123)
//   run = {};                                        // a finite push
#pragma once

#include <cstdint>

#include "server/core/spec.h"

namespace stepback {

inline constexpr uint32_t kOverflowsInARow = 20;

struct NonfiniteRun {
  uint32_t refused = 0;   // NaN or infinity at loss scale 1
  uint32_t overflows = 0;  // at another loss scale

  bool TooLong(const QuarantineSpec& quarantine) const {
    return quarantine.after > 0 && (refused >= quarantine.after || overflows >= kOverflowsInARow);
  }
  friend bool operator==(const NonfiniteRun&, const NonfiniteRun&) = default;
};

}  // namespace stepback
