#include "tests/sim/simulation.h"

#include <fmt/format.h>

#include <algorithm>
#include <deque>
#include <memory>

#include "tests/sim/client.h"

namespace stepback::sim {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr uint64_t kStepsMax = 1'000'000;       // a run that comes to no end is a violation
constexpr Duration kEndsWithin = seconds(120);  // and for every push, all of which may have been lost:
constexpr Duration kPushTakes = milliseconds(250);
constexpr Duration kRestartAfter = seconds(5);  // the supervisor's patience with a server that cannot write

FakeFileSystem::Unsynced PowerOff(uint64_t detail) {
  return detail % 2 == 0 ? FakeFileSystem::Unsynced::kTorn : FakeFileSystem::Unsynced::kLost;
}

class Simulation {
 public:
  explicit Simulation(const Plan& plan)
      : plan_(plan),
        random_(plan.seed + 1),
        events_(&clock_),
        network_(&events_, &random_, plan.network, plan.clients),
        oracle_(plan),
        server_(plan, &clock_, &events_, &random_, &oracle_),
        context_{&plan, &events_, &random_, &network_, &server_, &oracle_},
        faults_(plan.faults.begin(), plan.faults.end()) {}
  ~Simulation() {
    server_.Stop();
    events_.Clear();
  }

  RunResult Run();

 private:
  bool Step();
  void Strike(const Fault& fault);
  void Supervise();
  void Heal();
  bool Done() const { return context_.commands >= plan_.commands; }
  bool AllFinished() const;
  std::string Describe() const;
  void CheckEnd();

  const Plan& plan_;
  FakeClock clock_;
  Random random_;
  EventQueue events_;
  Network network_;
  Oracle oracle_;
  Server server_;
  Context context_;
  std::deque<Fault> faults_;
  std::vector<std::unique_ptr<Client>> clients_;
  uint64_t steps_ = 0, struck_ = 0, digest_ = 14695981039346656037ULL;
};

RunResult Simulation::Run() {
  const TimePoint began = clock_.Now();
  if (server_.Create()) {
    for (size_t i = 0; i < plan_.clients; ++i) clients_.push_back(std::make_unique<Client>(&context_, i));
    for (const auto& client : clients_) client->Start();
    Supervise();
    while (!Done() && oracle_.violations().empty() && steps_ < kStepsMax && Step()) {
    }
    if (steps_ >= kStepsMax) oracle_.Violate(fmt::format("no end after {} steps\n{}", steps_, Describe()));
    if (oracle_.violations().empty()) CheckEnd();
  }
  return {context_.commands, steps_,
          struck_,           std::chrono::duration<double>(clock_.Now() - began).count(),
          digest_,           oracle_.violations()};
}

bool Simulation::Step() {
  ++steps_;
  while (!faults_.empty() && faults_.front().command <= context_.commands) {
    Strike(faults_.front());
    faults_.pop_front();
  }
  // A task takes no time of its own; what arrives meanwhile may come between.
  const bool event_first = !events_.empty() && random_.Chance(0.2);
  if (event_first || !server_.RunOne()) {
    if (events_.empty()) return false;
    events_.RunNext();
    server_.Tick();
  }
  digest_ =
      (digest_ ^ static_cast<uint64_t>(clock_.Now().time_since_epoch().count()) ^ oracle_.version().counter) *
      1099511628211ULL;
  return true;
}

void Simulation::Strike(const Fault& fault) {
  ++struck_;
  const uint64_t detail = fault.detail;
  const size_t client = detail % plan_.clients;
  switch (fault.kind) {
    case FaultKind::kCrash:
      return server_.Crash(PowerOff(detail), false, detail);
    case FaultKind::kCrashInRecovery:
      return server_.Crash(PowerOff(detail), true, detail);
    case FaultKind::kKill:
      return server_.Crash(FakeFileSystem::Unsynced::kKept, /*again_in_recovery=*/detail % 3 == 0, detail);
    case FaultKind::kPartition:
      return network_.Partition(client, milliseconds(detail % 30000));
    case FaultKind::kClientRestart:
      return clients_[client]->Restart();
    case FaultKind::kDiskFull:
      return server_.FillDisk(milliseconds(detail % 20000));
    case FaultKind::kStorageError:
      return server_.FailStorageCall(detail % 40);
    case FaultKind::kBitRot:
      return server_.RotNewestSnapshot(detail);
    case FaultKind::kWallClockJump:
      return clock_.JumpWall(seconds(static_cast<int64_t>(detail % 7200) - 3600));
    case FaultKind::kDrain:
      return server_.Drain();
    case FaultKind::kRollback:
      return server_.RollBack(milliseconds(detail % 20000));
    case FaultKind::kCount:
      break;
  }
}

void Simulation::Supervise() {
  events_.After(kRestartAfter, [this] {
    if (server_.needs_restart()) server_.Crash(FakeFileSystem::Unsynced::kKept, false, 0);
    Supervise();
  });
}

bool Simulation::AllFinished() const {
  return std::all_of(clients_.begin(), clients_.end(), [](const auto& client) { return client->finished(); });
}

std::string Simulation::Describe() const {
  std::string text = fmt::format("    server {}, version {}\n", server_.model() == nullptr ? "down" : "up",
                                 oracle_.version().ToString());
  if (server_.model() != nullptr)
    text += fmt::format("    waits for '{}', unhealthy '{}'\n", server_.model()->WaitingFor(),
                        server_.model()->Info().unhealthy_reason);
  for (const auto& client : clients_) text += "    " + client->ToString() + "\n";
  return text;
}

// What was begun ends, without further faults; then the books must agree.
void Simulation::CheckEnd() {
  network_.Heal();
  server_.Heal();
  for (const auto& client : clients_) client->FinishUp();
  const TimePoint settles = clock_.Now() + seconds(60);
  TimePoint limit = clock_.Now() + kEndsWithin;
  for (const auto& client : clients_) limit += client->pushes() * kPushTakes;
  const auto settled = [&] { return clock_.Now() > settles && server_.model() != nullptr && AllFinished(); };
  while (!settled() && clock_.Now() < limit && oracle_.violations().empty() &&
         (server_.RunOne() || !events_.empty())) {
    ++steps_;
    if (!server_.RunOne()) {
      events_.RunNext();
      server_.Tick();
    }
  }
  if (!oracle_.violations().empty()) return;
  if (!AllFinished() || server_.model() == nullptr)
    return oracle_.Violate("clients do not come to their end without faults\n" + Describe());
  std::vector<std::vector<bool>> accepted;
  for (const auto& client : clients_) accepted.push_back(client->accepted_pushes());
  oracle_.OnEnd(accepted);
}

}  // namespace

RunResult Run(const Plan& plan) { return Simulation(plan).Run(); }

Plan Shrink(Plan plan) {
  const auto fails = [](const Plan& smaller) { return !Run(smaller).violations.empty(); };
  for (bool smaller = true; smaller;) {
    smaller = false;
    for (size_t i = 0; i < plan.faults.size(); ++i) {
      Plan less = plan;
      less.faults.erase(less.faults.begin() + static_cast<std::ptrdiff_t>(i));
      if (!fails(less)) continue;
      plan = std::move(less);
      smaller = true;
      break;
    }
  }
  for (Plan less = plan; less.commands > 1 && (less.commands /= 2, fails(less));) plan = less;
  return plan;
}

}  // namespace stepback::sim
