// Every rule of the lists in kernels/rules.h: its table, its golden vectors and what its equations promise.
#include <algorithm>
#include <bit>
#include <cmath>

#include "tests/conformance/backends.h"
#include "tests/conformance/golden.h"
#include "tests/conformance/trainer.h"

namespace stepback::kernels::testing {
namespace {

Floats ToFloats(const Vector& values) { return Floats(values.begin(), values.end()); }

// --- the tables ---

TEST(RuleTables, HaveAGoldenForEveryRuleAndARuleForEveryGolden) {
  for (const RuleInfo* rule : AllRules()) {
    const auto golden = Goldens().find(std::string(rule->name));
    ASSERT_NE(golden, Goldens().end()) << "tests/golden/" << rule->name << ".json is missing";
    EXPECT_EQ(golden->second.kind, rule->kind == RuleKind::kInner ? "inner" : "outer") << rule->name;
    EXPECT_FALSE(golden->second.cases.empty()) << rule->name;
  }
  for (const auto& [name, golden] : Goldens()) {
    const bool known = FindInnerRule(name) != nullptr || FindOuterRule(name) != nullptr;
    EXPECT_TRUE(known) << "tests/golden/" << name << ".json belongs to no rule";
    EXPECT_EQ(golden.rule, name);
  }
}

TEST(RuleTables, NameEveryRuleOnceInLowerSnakeCase) {
  std::vector<std::string_view> names;
  for (const RuleInfo* rule : AllRules()) {
    for (const char c : rule->name) EXPECT_TRUE(std::islower(c) || std::isdigit(c) || c == '_') << rule->name;
    names.push_back(rule->name);
  }
  std::sort(names.begin(), names.end());
  EXPECT_EQ(std::adjacent_find(names.begin(), names.end()), names.end());
}

TEST(RuleTables, FindByNameAndId) {
  for (size_t i = 0; i < InnerRules().size(); ++i) {
    EXPECT_EQ(InnerRules()[i].id, static_cast<int>(i));
    EXPECT_EQ(FindInnerRule(InnerRules()[i].name), &InnerRules()[i]);
  }
  for (size_t i = 0; i < OuterRules().size(); ++i) {
    EXPECT_EQ(OuterRules()[i].id, static_cast<int>(i));
    EXPECT_EQ(FindOuterRule(OuterRules()[i].name), &OuterRules()[i]);
  }
  EXPECT_EQ(FindInnerRule("nesterov"), nullptr);
  EXPECT_EQ(FindOuterRule("sgd"), nullptr);
}

TEST(RuleTables, HaveSaneBoundsDefaultsAndWords) {
  for (const RuleInfo* rule : AllRules()) {
    EXPECT_FALSE(rule->citation.empty()) << rule->name;
    EXPECT_LE(rule->slots.size(), static_cast<size_t>(kMaxSlots)) << rule->name;
    EXPECT_LE(rule->carry, kMaxCarry) << rule->name;
    EXPECT_GT(rule->scalars_bytes, 0u) << rule->name;
    for (const HyperInfo& hyper : rule->hypers) {
      SCOPED_TRACE(std::string(rule->name) + "." + std::string(hyper.name));
      EXPECT_FALSE(hyper.doc.empty());
      EXPECT_TRUE(hyper.min_open ? hyper.min < hyper.default_value : hyper.min <= hyper.default_value);
      EXPECT_TRUE(hyper.max_open ? hyper.default_value < hyper.max : hyper.default_value <= hyper.max);
      EXPECT_TRUE(std::isfinite(static_cast<float>(hyper.max)));
      EXPECT_TRUE(!hyper.integer || hyper.default_value == std::round(hyper.default_value));
      EXPECT_EQ(HyperIndex(*rule, hyper.name), &hyper - rule->hypers.data());
    }
    char error[256] = "";
    EXPECT_TRUE(rule->check(DefaultHypers(*rule), error, sizeof error)) << rule->name << ": " << error;
    EXPECT_EQ(HyperIndex(*rule, "no_such_name"), -1);
  }
}

// The bounds of the specification: lr >= 0, 0 <= beta < 1, eps >= 0, 0 <= momentum < 1, 0 <= alpha <= 1.
TEST(RuleTables, BoundHyperparametersByMeaning) {
  for (const RuleInfo* rule : AllRules()) {
    for (const HyperInfo& hyper : rule->hypers) {
      SCOPED_TRACE(std::string(rule->name) + "." + std::string(hyper.name));
      const bool decay = hyper.name == "momentum" || hyper.name.starts_with("beta");
      EXPECT_EQ(hyper.min, 0);
      EXPECT_FALSE(hyper.min_open);
      EXPECT_TRUE(!decay || (hyper.max == 1 && hyper.max_open));
      EXPECT_TRUE(hyper.name != "alpha" || (hyper.max == 1 && !hyper.max_open));
    }
  }
}

// Weights, input and every used slot are moved: read and written, the input only read.
TEST(RuleTables, StateTheBytesOfTheirRoofline) {
  EXPECT_EQ(FindInnerRule("sgd")->bytes_per_parameter, 12);
  EXPECT_EQ(FindInnerRule("adam")->bytes_per_parameter, 28);
  EXPECT_EQ(FindInnerRule("adamw")->bytes_per_parameter, 28);
  EXPECT_EQ(FindOuterRule("lookahead")->bytes_per_parameter, 12);
  EXPECT_EQ(FindOuterRule("nesterov")->bytes_per_parameter, 20);
}

TEST(RuleTables, SayWhichSlotsAreUsed) {
  const RuleInfo& sgd = *FindInnerRule("sgd");
  EXPECT_EQ(sgd.used_slots(Hypers(sgd, {})), 0u);
  EXPECT_EQ(sgd.used_slots(Hypers(sgd, {{"momentum", 0.9}})), 1u);
  const RuleInfo& adam = *FindInnerRule("adam");
  EXPECT_EQ(adam.used_slots(Hypers(adam, {})), 0b011u);
  EXPECT_EQ(adam.used_slots(Hypers(adam, {{"amsgrad", 1}})), 0b111u);
}

TEST(RuleTables, RefuseNesterovWithDampeningInWords) {
  const RuleInfo& sgd = *FindInnerRule("sgd");
  char error[256] = "";
  EXPECT_FALSE(sgd.check(Hypers(sgd, {{"nesterov", 1}, {"dampening", 0.5}}), error, sizeof error));
  EXPECT_STREQ(error, "dampening is 0.5, expected 0 with nesterov = 1");
  EXPECT_TRUE(sgd.check(Hypers(sgd, {{"nesterov", 1}, {"momentum", 0.9}}), error, sizeof error));
}

// --- trajectories ---

class Rules : public BackendTest {};
INSTANTIATE_FOR_BACKENDS(Rules);

double LargestOf(const std::vector<Vector>& trajectory) {
  double largest = 0;
  for (const Vector& weights : trajectory) {
    for (const double w : weights) largest = std::max(largest, std::abs(w));
  }
  return largest;
}

TEST_P(Rules, FollowTheirGoldenTrajectories) {
  for (const RuleInfo* rule : RulesOf(*backend_)) {
    const Golden& golden = Goldens().at(std::string(rule->name));
    for (const GoldenCase& one : golden.cases) {
      SCOPED_TRACE(golden.rule + "/" + one.name);
      Trainer trainer(*backend_, *rule, Hypers(*rule, one.hypers), ToFloats(golden.start));
      ASSERT_EQ(one.trajectory.size(), golden.inputs.size());
      const double largest = LargestOf(one.trajectory);
      for (size_t step = 0; step < golden.inputs.size(); ++step) {
        trainer.Step(ToFloats(golden.inputs[step]));
        const Floats weights = trainer.weights();
        ASSERT_EQ(weights.size(), one.trajectory[step].size());
        for (size_t i = 0; i < weights.size(); ++i) {
          const double expected = one.trajectory[step][i];
          EXPECT_NEAR(weights[i], expected, 5e-6 * std::max(std::abs(expected), largest))
              << "step " << step + 1;
        }
      }
    }
  }
}

// A sync that sees theta = phi - delta is the same step as a delta that arrives.
TEST_P(Rules, MergeAlongTheGoldenTrajectoriesToo) {
  for (const RuleInfo& rule : OuterRules()) {
    const Golden& golden = Goldens().at(std::string(rule.name));
    for (const GoldenCase& one : golden.cases) {
      Trainer trainer(*backend_, rule, Hypers(rule, one.hypers), ToFloats(golden.start));
      for (size_t step = 0; step < golden.inputs.size(); ++step) {
        const float theta = trainer.weights()[0] - static_cast<float>(golden.inputs[step][0]);
        trainer.Merge({theta});
        EXPECT_NEAR(trainer.weights()[0], one.trajectory[step][0], 5e-6 * LargestOf(one.trajectory))
            << rule.name << "/" << one.name << " step " << step + 1;
      }
    }
  }
}

Floats Noise(size_t count, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  Floats values(count);
  for (float& x : values) x = normal(random);
  return values;
}

TEST_P(Rules, ContinueFromASavedStateAsIfNeverStopped) {
  for (const RuleInfo* rule : RulesOf(*backend_)) {
    const Floats start = Noise(300, 1);
    Trainer straight(*backend_, *rule, BusyHypers(*rule), start);
    Trainer resumed(*backend_, *rule, BusyHypers(*rule), start);
    for (uint32_t step = 0; step < 7; ++step) straight.Step(Noise(300, 10 + step));
    for (uint32_t step = 0; step < 3; ++step) resumed.Step(Noise(300, 10 + step));
    const Scenario saved = resumed.saved();
    Trainer other(*backend_, *rule, BusyHypers(*rule), Noise(300, 99));
    other.Step(Noise(300, 98));
    other.saved() = saved;
    for (uint32_t step = 3; step < 7; ++step) other.Step(Noise(300, 10 + step));
    EXPECT_EQ(straight.weights(), other.weights()) << rule->name;
  }
}

// f(w) = sum a_i w_i^2 / 2. Inner rules get its gradient, outer rules the delta of one small gradient step.
TEST_P(Rules, ConvergeOnASmallQuadratic) {
  const Floats curvature = {1.0f, 0.5f, 0.25f, 2.0f};
  for (const RuleInfo* rule : RulesOf(*backend_)) {
    const bool inner = rule->kind == RuleKind::kInner;
    auto hypers = DefaultHypers(*rule);
    // Muon's steps are as long as its rate, so it ends within one of the minimum.
    if (inner) hypers[HyperIndex(*rule, "lr")] = rule->name == "muon" ? 0.004 : 0.01;
    Trainer trainer(*backend_, *rule, hypers, {1, -1, 1, 1});
    for (int step = 0; step < 3000; ++step) {
      Floats input = trainer.weights();
      for (size_t i = 0; i < input.size(); ++i) input[i] *= curvature[i] * (inner ? 1.0f : 0.1f);
      ASSERT_TRUE(trainer.Step(input).finite);
    }
    double loss = 0;
    for (const float w : trainer.weights()) loss += double{w} * w;
    EXPECT_LT(loss, 1e-4) << rule->name << ": started at 4";
  }
}

// --- what the equations promise ---

Floats After(Backend& backend, std::string_view name, const std::map<std::string, double>& named, int steps) {
  const RuleInfo& rule = FindInnerRule(name) ? *FindInnerRule(name) : *FindOuterRule(name);
  Trainer trainer(backend, rule, Hypers(rule, named), Noise(200, 1));
  for (int step = 0; step < steps; ++step) trainer.Step(Noise(200, 10 + step));
  return trainer.weights();
}

TEST_P(Rules, NesterovWithoutMomentumIsPlainSgd) {
  EXPECT_EQ(After(*backend_, "sgd", {{"lr", 0.1}, {"nesterov", 1}}, 5),
            After(*backend_, "sgd", {{"lr", 0.1}}, 5));
}

TEST_P(Rules, DampeningWithoutMomentumIsPlainSgd) {
  EXPECT_EQ(After(*backend_, "sgd", {{"lr", 0.1}, {"dampening", 0.5}}, 5),
            After(*backend_, "sgd", {{"lr", 0.1}}, 5));
}

TEST_P(Rules, DampeningDoesNotTouchTheFirstStep) {
  const std::map<std::string, double> plain = {{"lr", 0.1}, {"momentum", 0.9}};
  const std::map<std::string, double> damped = {{"lr", 0.1}, {"momentum", 0.9}, {"dampening", 0.5}};
  EXPECT_EQ(After(*backend_, "sgd", damped, 1), After(*backend_, "sgd", plain, 1));
  EXPECT_NE(After(*backend_, "sgd", damped, 2), After(*backend_, "sgd", plain, 2));
}

TEST_P(Rules, AdamAndAdamWAgreeWithoutDecay) {
  EXPECT_EQ(After(*backend_, "adam", {{"lr", 0.01}, {"weight_decay", 0}}, 9),
            After(*backend_, "adamw", {{"lr", 0.01}, {"weight_decay", 0}}, 9));
}

TEST_P(Rules, OuterMomentumOfZeroIsTheAverage) {
  const Floats average = After(*backend_, "average", {{"alpha", 0.7}}, 6);
  EXPECT_EQ(After(*backend_, "nesterov", {{"lr", 0.7}, {"momentum", 0}}, 6), average);
  EXPECT_EQ(After(*backend_, "heavy_ball", {{"lr", 0.7}, {"momentum", 0}}, 6), average);
  EXPECT_EQ(After(*backend_, "lookahead", {{"alpha", 0.7}}, 6), average);
}

TEST_P(Rules, AmsgradNeverForgetsTheLargestSecondMoment) {
  const RuleInfo& adam = *FindInnerRule("adam");
  Trainer trainer(*backend_, adam, Hypers(adam, {{"amsgrad", 1}, {"beta2", 0.5}}), Noise(64, 1));
  Floats before(64, 0.0f);
  for (uint32_t step = 0; step < 12; ++step) {
    trainer.Step(Noise(64, 10 + step));
    const Floats& now = trainer.saved().state.inner[2];
    const Floats& second = trainer.saved().state.inner[1];
    for (size_t i = 0; i < 64; ++i) {
      EXPECT_GE(now[i], before[i]);
      EXPECT_GE(now[i], second[i]);
    }
    before = now;
  }
}

TEST_P(Rules, AdamsFirstStepIsTheSignOfTheGradient) {
  const RuleInfo& adam = *FindInnerRule("adam");
  Trainer trainer(*backend_, adam, Hypers(adam, {{"lr", 0.5}, {"eps", 0}}), {0, 0, 0});
  trainer.Step({3.0f, -1e-3f, 1e4f});
  const Floats expected = {-0.5f, 0.5f, -0.5f};
  for (size_t i = 0; i < 3; ++i) EXPECT_NEAR(trainer.weights()[i], expected[i], 1e-6);
}

TEST_P(Rules, LookaheadWithAlphaOneCopiesThetaBitForBit) {
  const RuleInfo& lookahead = *FindOuterRule("lookahead");
  Trainer trainer(*backend_, lookahead, {1.0}, {1.0f, INFINITY, 0.0f, 3.0f, 1e30f});
  const Floats theta = {INFINITY, 2.0f, -0.0f, std::nextafter(3.0f, 4.0f), 1e-30f};
  trainer.Merge(theta);
  for (size_t i = 0; i < theta.size(); ++i) {
    EXPECT_EQ(std::bit_cast<uint32_t>(trainer.weights()[i]), std::bit_cast<uint32_t>(theta[i])) << i;
  }
}

TEST_P(Rules, LookaheadWithAlphaZeroFreezesTheSlowWeights) {
  const Floats phi = Noise(100, 1);
  Trainer trainer(*backend_, *FindOuterRule("lookahead"), {0.0}, phi);
  trainer.Merge(Noise(100, 2));
  EXPECT_EQ(trainer.weights(), phi);
}

TEST_P(Rules, LookaheadStaysBetweenSlowAndFastWeights) {
  for (const double alpha : {0.1, 0.49, 0.5, 0.51, 0.8, 0.99}) {
    const Floats phi = Noise(500, 1), theta = Noise(500, 2);
    Trainer trainer(*backend_, *FindOuterRule("lookahead"), {alpha}, phi);
    trainer.Merge(theta);
    const Floats merged = trainer.weights();
    for (size_t i = 0; i < phi.size(); ++i) {
      const double exact = phi[i] + static_cast<float>(alpha) * (double{theta[i]} - phi[i]);
      EXPECT_NEAR(merged[i], exact, 4e-7 * (std::abs(phi[i]) + std::abs(theta[i])));
    }
  }
}

}  // namespace
}  // namespace stepback::kernels::testing
