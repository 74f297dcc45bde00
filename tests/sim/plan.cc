#include "tests/sim/plan.h"

#include <fmt/format.h>

#include <algorithm>

#include "tests/sim/random.h"

namespace stepback::sim {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

// Three tensors: pushes counted per client, the sum of their numbers per client, pushes of everybody.
ModelSpec DrawSpec(Random* random, size_t clients) {
  ModelSpec spec{.name = "m"};
  spec.tensors = {{.name = "count", .shape = {clients}},
                  {.name = "sum", .shape = {clients}},
                  {.name = "all", .shape = {1}}};
  spec.mode = Mode::kDelta;
  spec.outer = {.name = "average", .values = {{"alpha", 1}}};
  constexpr RoundPolicy kPolicies[] = {RoundPolicy::kAsync, RoundPolicy::kSync, RoundPolicy::kBuffered};
  spec.rounds.policy = kPolicies[random->Below(3)];
  spec.rounds.reduction = random->Chance(0.5) ? Reduction::kOrdered : Reduction::kRunning;
  if (spec.rounds.policy == RoundPolicy::kAsync) spec.rounds.reduction = Reduction::kRunning;
  constexpr uint32_t kBuffers[] = {2, 3, 4, 6};
  spec.rounds.buffer_pushes = kBuffers[random->Below(4)];
  if (spec.rounds.policy == RoundPolicy::kSync) {
    // Not more: at the end one worker alone must be able to close the round that holds its push.
    spec.rounds.quorum = 1;
    spec.rounds.deadline_seconds = random->Chance(0.7) ? 2 : 0;
  } else if (random->Chance(0.8)) {
    spec.rounds.max_staleness = static_cast<uint32_t>(random->Between(20, 2000));
  }
  constexpr Durability kDurabilities[] = {Durability::kVolatile, Durability::kRound, Durability::kRound,
                                          Durability::kPush, Durability::kPush};
  spec.durability = kDurabilities[random->Below(5)];
  spec.lease_seconds = static_cast<double>(random->Between(5, 20));
  spec.snapshot_interval_seconds = static_cast<double>(random->Between(1, 10));
  return spec;
}

NetworkPlan DrawNetwork(Random* random) {
  NetworkPlan network;
  network.lost = static_cast<double>(random->Below(30)) / 1000;
  network.repeated = static_cast<double>(random->Below(200)) / 1000;
  network.late = static_cast<double>(random->Below(200)) / 1000;
  network.delay_min = milliseconds(random->Between(1, 20));
  network.delay_max = milliseconds(random->Between(200, 6000));
  return network;
}

std::vector<Fault> DrawFaults(Random* random, uint64_t commands) {
  std::vector<Fault> faults;
  const auto add = [&](FaultKind kind) {
    faults.push_back({kind, random->Between(1, commands), random->Below(1u << 30)});
  };
  add(FaultKind::kCrash);
  add(FaultKind::kPartition);
  add(FaultKind::kClientRestart);
  for (uint64_t more = random->Between(2, 12); more > 0; --more) {
    const auto kind = static_cast<FaultKind>(random->Below(static_cast<uint64_t>(FaultKind::kCount)));
    // Rot breaks what durability promises; it is looked for in a part of the runs only.
    if (kind != FaultKind::kBitRot || random->Chance(0.3)) add(kind);
  }
  std::sort(faults.begin(), faults.end(),
            [](const Fault& a, const Fault& b) { return a.command < b.command; });
  return faults;
}

}  // namespace

const char* NameOf(FaultKind kind) {
  switch (kind) {
    case FaultKind::kCrash:
      return "crash";
    case FaultKind::kCrashInRecovery:
      return "crash_in_recovery";
    case FaultKind::kKill:
      return "kill";
    case FaultKind::kPartition:
      return "partition";
    case FaultKind::kClientRestart:
      return "client_restart";
    case FaultKind::kDiskFull:
      return "disk_full";
    case FaultKind::kStorageError:
      return "storage_error";
    case FaultKind::kBitRot:
      return "bit_rot";
    case FaultKind::kWallClockJump:
      return "wall_clock_jump";
    case FaultKind::kDrain:
      return "drain";
    case FaultKind::kRollback:
      return "rollback";
    case FaultKind::kCount:
      break;
  }
  return "?";
}

Plan MakePlan(uint64_t seed) {
  Random random(seed);
  Plan plan{.seed = seed, .clients = random.Between(3, 5)};
  plan.commands = random.Between(2000, 2500);
  plan.spec = DrawSpec(&random, plan.clients);
  plan.network = DrawNetwork(&random);
  plan.faults = DrawFaults(&random, plan.commands);
  return plan;
}

std::string ToString(const Plan& plan) {
  constexpr const char* kPolicies[] = {"?", "sync", "async", "buffered"};
  constexpr const char* kDurabilities[] = {"?", "volatile", "round", "push"};
  std::string text = fmt::format(
      "seed {}: {} clients, {} commands, {} {} {}, lease {} s, snapshots every {} s, lost {:.3f}, repeated "
      "{:.3f}, late {:.3f}\n",
      plan.seed, plan.clients, plan.commands, kPolicies[static_cast<int>(plan.spec.rounds.policy)],
      plan.spec.rounds.reduction == Reduction::kOrdered ? "ordered" : "running",
      kDurabilities[static_cast<int>(plan.spec.durability)], plan.spec.lease_seconds,
      plan.spec.snapshot_interval_seconds, plan.network.lost, plan.network.repeated, plan.network.late);
  for (const Fault& fault : plan.faults)
    text += fmt::format("  before command {}: {} ({})\n", fault.command, NameOf(fault.kind), fault.detail);
  return text;
}

}  // namespace stepback::sim
