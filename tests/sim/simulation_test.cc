// Short form of scripts/simulate: some seeds are clean, a plan runs twice alike, and planted bugs are found.
#include "tests/sim/simulation.h"

#include <gtest/gtest.h>

#include <set>

#include "server/base/failpoint.h"
#include "server/telemetry/log.h"
#include "tests/sim/planted.h"

namespace stepback::sim {
namespace {

class SimulationTest : public ::testing::Test {
 protected:
  SimulationTest() { SetLogLevel(LogLevel::kOff); }
};

TEST_F(SimulationTest, SeedsAreClean) {
  for (uint64_t seed = 1; seed <= 40; ++seed) {
    const Plan plan = MakePlan(seed);
    const RunResult result = sim::Run(plan);
    ASSERT_TRUE(result.violations.empty()) << ToString(plan) << result.violations.front();
    EXPECT_GE(result.commands, 2000u) << ToString(plan);
  }
}

TEST_F(SimulationTest, OnePlanIsOneRun) {
  const RunResult once = sim::Run(MakePlan(7)), again = sim::Run(MakePlan(7));
  EXPECT_EQ(once.digest, again.digest);
  EXPECT_EQ(once.steps, again.steps);
  EXPECT_NE(once.digest, sim::Run(MakePlan(8)).digest);
}

TEST_F(SimulationTest, PlansHaveWhatTheyMustHave) {
  for (uint64_t seed = 1; seed <= 1000; ++seed) {
    const Plan plan = MakePlan(seed);
    std::set<FaultKind> kinds;
    for (const Fault& fault : plan.faults) kinds.insert(fault.kind);
    EXPECT_TRUE(kinds.contains(FaultKind::kCrash)) << ToString(plan);
    // Loss, repetition and delay of messages besides.
    EXPECT_GE(kinds.size() + 2, 5u) << ToString(plan);
    EXPECT_GE(plan.clients, 3u);
  }
}

// Whoever changes the simulation must see it find every kind of bug that it is there for.
class PlantedBug : public ::testing::TestWithParam<std::string> {
 protected:
  PlantedBug() { SetLogLevel(LogLevel::kOff); }
  ~PlantedBug() override { Unplant(); }
};

TEST_P(PlantedBug, IsFound) {
  ASSERT_TRUE(Plant(GetParam()).ok());
  bool found = false;
  for (uint64_t seed = 1; seed <= 50 && !found; ++seed) found = !sim::Run(MakePlan(seed)).violations.empty();
  EXPECT_TRUE(found);
}

INSTANTIATE_TEST_SUITE_P(Of, PlantedBug, ::testing::ValuesIn(PlantedBugs()),
                         [](const auto& bug) { return bug.param; });

}  // namespace
}  // namespace stepback::sim
