// What one run consists of, all of it drawn from the seed before the run begins, so that a failing run can be
// made smaller: fewer faults, fewer pushes, the same seed.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "server/base/clock.h"
#include "server/core/spec.h"

namespace stepback::sim {

struct NetworkPlan {
  double lost = 0, repeated = 0, late = 0;  // probability per message
  Duration delay_min{}, delay_max{};        // late ones up to the latter, others up to four times the former
};

enum class FaultKind : uint8_t {
  kCrash,            // power off: what is not synced is lost, or torn
  kCrashInRecovery,  // and again while the server starts
  kKill,             // of the process alone: what is not synced can still be read
  kPartition,        // of one client
  kClientRestart,    // a new process of the client; the old one goes on for a while
  kDiskFull,
  kStorageError,  // of one call
  kBitRot,        // one bit of the newest snapshot, found at the next start
  kWallClockJump,
  kDrain,     // SIGTERM: drain, stop, start
  kRollback,  // an operator saves a labelled snapshot and restores it a while later
  kCount,
};
const char* NameOf(FaultKind kind);

struct Fault {
  FaultKind kind = FaultKind::kCrash;
  uint64_t command = 0;  // strikes before this command
  uint64_t detail = 0;   // which client, how long, where
};

struct Plan {
  uint64_t seed = 0;
  size_t clients = 3;
  uint64_t commands = 2000;  // calls of clients, at least; then they bring what they have begun to its end
  ModelSpec spec;
  NetworkPlan network;
  std::vector<Fault> faults;
};

// Commands of a run are at least 2,000; at least 3 clients, one crash and five kinds of faults.
Plan MakePlan(uint64_t seed);
std::string ToString(const Plan& plan);

}  // namespace stepback::sim
