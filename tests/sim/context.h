// What the parts of one simulation share.
#pragma once

#include <cstdint>

#include "tests/sim/event_queue.h"
#include "tests/sim/network.h"
#include "tests/sim/oracle.h"
#include "tests/sim/plan.h"
#include "tests/sim/random.h"
#include "tests/sim/server.h"

namespace stepback::sim {

struct Context {
  const Plan* plan;
  EventQueue* events;
  Random* random;
  Network* network;
  Server* server;
  Oracle* oracle;
  uint64_t commands = 0;  // calls that clients have made
};

}  // namespace stepback::sim
