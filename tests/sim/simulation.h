// One run: a plan's clients against the real server under a virtual clock, network and disk, single-threaded;
// the same plan gives the same run. Independent runs may run on different threads.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tests/sim/plan.h"

namespace stepback::sim {

struct RunResult {
  uint64_t commands = 0;
  uint64_t steps = 0;   // events and tasks
  uint64_t faults = 0;  // that struck, messages lost or repeated not counted
  double virtual_seconds = 0;
  uint64_t digest = 0;  // of the run: equal for equal plans
  std::vector<std::string> violations;
};

RunResult Run(const Plan& plan);

// A smaller plan that still fails: fewer faults, then fewer commands.
Plan Shrink(Plan plan);

}  // namespace stepback::sim
