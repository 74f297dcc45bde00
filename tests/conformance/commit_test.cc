// The fused commit against the plain reference: the same bits on every back-end, for any number of threads.
#include <cmath>

#include "tests/conformance/backends.h"
#include "tests/conformance/reference.h"
#include "tests/conformance/trainer.h"
#include "tests/support/thread_executor.h"

namespace stepback::kernels::testing {
namespace {

using stepback::testing::ThreadExecutor;

class Commit : public BackendTest {};
INSTANTIATE_FOR_BACKENDS(Commit);

TEST_P(Commit, EqualsThePlainReferenceBitForBitInRandomScenarios) {
  for (uint32_t seed = 0; seed < ScenarioCount(1500); ++seed) {
    std::mt19937 random(seed);
    const Scenario scenario = RandomScenario(random);
    if (!RunsOn(*backend_, scenario)) continue;
    ASSERT_EQ(DifferenceOf(RunOn(*backend_, &inline_, scenario), RunReference(scenario)), "")
        << "seed " << seed;
  }
}

// One scenario of `count` elements for a rule, with awkward neighbours: a short tensor before and after.
Scenario OneRule(const RuleInfo& rule, std::vector<double> hypers, uint64_t count, uint32_t seed) {
  std::mt19937 random(seed);
  Scenario s;
  s.gradient = rule.kind == RuleKind::kInner;
  for (const uint64_t each : {uint64_t{3}, count, uint64_t{1}}) {
    TensorCase tensor{.count = each};
    if (s.gradient) tensor.inner_rule = rule.id, tensor.inner_hypers = hypers;
    s.tensors.push_back(tensor);
  }
  if (!s.gradient) s.outer_rule = rule.id, s.outer_hypers = hypers;
  for (int i = 0; i < 2; ++i) {
    Worker worker{.codec = i % static_cast<int>(Codecs().size()), .weight = 1.0 + i, .tensors = {}};
    for (const TensorCase& tensor : s.tensors) {
      std::normal_distribution<float> normal;
      Floats values(tensor.count);
      for (float& x : values) x = normal(random);
      worker.tensors.push_back(Encode(worker.codec, values));
    }
    s.workers.push_back(std::move(worker));
  }
  s.Prepare();
  (s.gradient ? s.state.theta : s.state.phi) = RandomArena(s, random);
  for (size_t i = 0; i < rule.slots.size(); ++i) {
    Floats& slot = s.gradient ? s.state.inner[i] : s.state.outer[i];
    if ((rule.used_slots(hypers) >> i & 1) == 0) continue;
    slot = RandomArena(s, random);
    for (float& x : slot) x = std::abs(x);
  }
  return s;
}

TEST_P(Commit, EqualsTheReferenceForEveryRuleAtEveryTailLength) {
  for (const RuleInfo* rule : RulesOf(*backend_)) {
    const auto hypers = BusyHypers(*rule);
    for (uint64_t count = 1; count <= 2 * 16 + 1; ++count) {
      const Scenario s = OneRule(*rule, hypers, count, static_cast<uint32_t>(count));
      ASSERT_EQ(DifferenceOf(RunOn(*backend_, &inline_, s), RunReference(s)), "")
          << rule->name << " " << count;
    }
    for (const uint64_t count : {1023, 1024, 1025, 2047, 2048, 2049, 4097}) {
      const Scenario s = OneRule(*rule, hypers, count, static_cast<uint32_t>(count));
      ASSERT_EQ(DifferenceOf(RunOn(*backend_, &inline_, s), RunReference(s)), "")
          << rule->name << " " << count;
    }
  }
}

TEST_P(Commit, GivesTheSameBitsWithOneAndEightThreads) {
  ThreadExecutor one(1), eight(8);
  for (const RuleInfo* rule : RulesOf(*backend_)) {
    Scenario s = OneRule(*rule, BusyHypers(*rule), ScenarioCount(700'001), 5);
    const Outcome expected = RunReference(s);
    EXPECT_EQ(DifferenceOf(RunOn(*backend_, &one, s), expected), "") << rule->name;
    EXPECT_EQ(DifferenceOf(RunOn(*backend_, &eight, s), expected), "") << rule->name;
    s.input = Input::kStaged;
    EXPECT_EQ(DifferenceOf(RunOn(*backend_, &one, s), RunOn(*backend_, &eight, s)), "") << rule->name;
  }
}

// Large enough for the path that writes around the caches, with tensors off the cache-line grid of the
// blocks.
TEST_P(Commit, GivesTheSameBitsWhenTheArenaIsLarge) {
  ThreadExecutor eight(8);
  const RuleInfo& adam = *FindInnerRule("adam");
  Scenario s = OneRule(adam, Hypers(adam, {{"amsgrad", 1}}), 2'500'003, 9);
  const Outcome expected = RunReference(s);
  EXPECT_EQ(DifferenceOf(RunOn(*backend_, &eight, s), expected), "");
  s.sum_is_next = true;
  EXPECT_EQ(DifferenceOf(RunOn(*backend_, &eight, s), expected), "");
}

// The cuts of the slices change nothing: the same contribution cut at other bytes and other addresses.
TEST_P(Commit, DoesNotSeeWhereTheBytesAreCut) {
  for (uint32_t seed = 0; seed < ScenarioCount(100); ++seed) {
    std::mt19937 random(seed);
    Scenario s = RandomScenario(random);
    if (!RunsOn(*backend_, s)) continue;
    const Outcome first = RunOn(*backend_, &inline_, s);
    s.cuts_seed += 1000;
    ASSERT_EQ(DifferenceOf(first, RunOn(*backend_, &inline_, s)), "") << "seed " << seed;
  }
}

// A push whose every value is allowed, at one position a value that is not.
Scenario OneBadValue(const RuleInfo& rule, size_t tensor, size_t position, float value) {
  Scenario s = OneRule(rule, DefaultHypers(rule), 70, 3);
  s.workers.resize(1);
  s.workers[0].codec = FindCodec("f32")->id;
  for (size_t t = 0; t < s.tensors.size(); ++t) {
    Floats values(s.tensors[t].count, 0.25f);
    if (t == tensor) values[position] = value;
    s.workers[0].tensors[t] = Encode(s.workers[0].codec, values);
  }
  return s;
}

TEST_P(Commit, FlagsANonFiniteOutputAtEveryPosition) {
  const float bad_values[] = {NAN, INFINITY, -INFINITY};
  const RuleInfo* rules[] = {FindInnerRule("sgd"), FindOuterRule("average")};
  for (const RuleInfo* rule : rules) {
    for (size_t position = 0; position < 70; ++position) {
      const CommitResult r =
          RunOn(*backend_, &inline_, OneBadValue(*rule, 1, position, bad_values[position % 3])).result;
      ASSERT_FALSE(r.finite) << rule->name << " " << position;
      ASSERT_EQ(r.bad_tensor, 1) << rule->name << " " << position;
    }
    EXPECT_EQ(RunOn(*backend_, &inline_, OneBadValue(*rule, 0, 2, NAN)).result.bad_tensor, 0);
    EXPECT_EQ(RunOn(*backend_, &inline_, OneBadValue(*rule, 2, 0, NAN)).result.bad_tensor, 2);
  }
}

TEST_P(Commit, FlagsAStateThatOverflowsWhileTheWeightsStayFinite) {
  const RuleInfo& adam = *FindInnerRule("adam");
  const Outcome outcome = RunOn(*backend_, &inline_, OneBadValue(adam, 1, 7, 1e30f));
  EXPECT_FALSE(outcome.result.finite);  // v = (1 - beta2) 1e60
  for (const float w : outcome.next.theta) EXPECT_TRUE(std::isfinite(w));
}

TEST_P(Commit, DoesNotFlagTheLargestFiniteNumbers) {
  const RuleInfo& average = *FindOuterRule("average");
  Scenario s = OneBadValue(average, 1, 5, 0x1.fffffep127f);
  s.outer_hypers = {0.5};
  s.Prepare();
  EXPECT_TRUE(RunOn(*backend_, &inline_, s).result.finite);
}

TEST_P(Commit, DoesNotLookAtCarriedBytesAsNumbers) {
  Scenario s = OneRule(*FindOuterRule("average"), {1}, 70, 3);
  s.workers.resize(1);
  s.tensors[1].action = TensorAction::kCarried;
  s.tensors[1].carried_bytes = 277;
  s.workers[0].tensors[1] = Bytes(277, std::byte{0xff});  // NaN after NaN
  const Outcome outcome = RunOn(*backend_, &inline_, s);
  EXPECT_TRUE(outcome.result.finite);
  EXPECT_TRUE(std::isfinite(outcome.result.weight_sq));
  EXPECT_EQ(DifferenceOf(outcome, RunReference(s)), "");
}

TEST_P(Commit, LeavesArraysWithoutANextBufferAlone) {
  Scenario s = OneRule(*FindOuterRule("nesterov"), {0.7, 0.9}, 100, 3);
  for (TensorCase& tensor : s.tensors) tensor.action = TensorAction::kKeep;
  const Floats before = s.state.phi;
  EXPECT_EQ(RunOn(*backend_, &inline_, s).next.phi, before);
}

}  // namespace
}  // namespace stepback::kernels::testing
