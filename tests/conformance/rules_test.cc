// Every rule of the lists in kernels/rules.h: its table, its golden vectors and what its equations promise.
#include <algorithm>
#include <array>
#include <bit>
#include <cmath>

#include "kernels/cosine.h"
#include "kernels/power.h"
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
    const bool known =
        FindInnerRule(name) != nullptr || FindOuterRule(name) != nullptr || FindAverageRule(name) != nullptr;
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

// The bounds of the specification: lr >= 0, 0 <= beta < 1, eps >= 0, 0 <= momentum < 1, 0 <= alpha <= 1;
// counts are at least 1, and what divides without an eps beside it is above 0.
TEST(RuleTables, BoundHyperparametersByMeaning) {
  for (const RuleInfo* rule : AllRules()) {
    for (const HyperInfo& hyper : rule->hypers) {
      SCOPED_TRACE(std::string(rule->name) + "." + std::string(hyper.name));
      const bool decay = hyper.name == "momentum" || hyper.name.starts_with("beta");
      EXPECT_EQ(hyper.min, hyper.name == "delay" ? 1 : 0);
      EXPECT_EQ(hyper.min_open, hyper.name == "tau" || hyper.name == "inner_lr");
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

// Evaluators of some rules read another array than trainers; before the first step it is the weights.
TEST(RuleTables, LetEvaluatorsReadASlotThatStartsFromTheWeights) {
  for (const RuleInfo* rule : AllRules()) {
    SCOPED_TRACE(rule->name);
    ASSERT_LT(rule->eval_slot, static_cast<int>(rule->slots.size()));
    if (rule->eval_slot < 0) continue;
    EXPECT_EQ(rule->kind, RuleKind::kInner);
    EXPECT_TRUE(rule->slots[rule->eval_slot].from_weights);
    EXPECT_EQ(rule->used_slots(DefaultHypers(*rule)) >> rule->eval_slot & 1, 1u);
  }
}

TEST(RuleTables, RefuseNesterovWithDampeningInWords) {
  const RuleInfo& sgd = *FindInnerRule("sgd");
  char error[256] = "";
  EXPECT_FALSE(sgd.check(Hypers(sgd, {{"nesterov", 1}, {"dampening", 0.5}}), error, sizeof error));
  EXPECT_STREQ(error, "dampening is 0.5, expected 0 with nesterov = 1");
  EXPECT_TRUE(sgd.check(Hypers(sgd, {{"nesterov", 1}, {"momentum", 0.9}}), error, sizeof error));
}

// --- host scalars ---

TEST(CosPi, IsTheCosineToTheLastPlaces) {
  for (const double half : {0.5, 1.5, 2.5, -0.5, 1e9 + 0.5}) EXPECT_EQ(CosPi(half), 0) << half;
  for (const double whole : {0.0, 1.0, 2.0, -3.0, 1e15}) {
    EXPECT_EQ(CosPi(whole), std::fmod(whole, 2) == 0 ? 1 : -1) << whole;
  }
  std::mt19937_64 random(20261128);
  std::uniform_real_distribution<double> turns(-4, 4);
  const long double pi = std::acos(-1.0L);
  for (int i = 0; i < 100'000; ++i) {
    const double x = turns(random);
    ASSERT_NEAR(CosPi(x), static_cast<double>(std::cos(pi * static_cast<long double>(x))), 4e-16) << x;
  }
}

TEST(Power, IsThePowerToTheLastPlaces) {
  std::mt19937_64 random(20261128);
  std::uniform_real_distribution<double> decade(-12, 12), exponent(-4, 4);
  for (int i = 0; i < 100'000; ++i) {
    const double x = std::pow(10, decade(random)), p = exponent(random), expected = std::pow(x, p);
    const double bound = 1e-15 * (2 + std::abs(p * std::log(x)));
    ASSERT_NEAR(Power(x, p) / expected, 1, bound) << x << "^" << p << ", seed 20261128";
  }
}

TEST(Power, KnowsTheEnds) {
  EXPECT_EQ(Power(0, 0), 1);
  EXPECT_EQ(Power(0, 2.5), 0);
  EXPECT_EQ(Power(0, -0.5), INFINITY);
  EXPECT_EQ(Power(1, 1e300), 1);
  EXPECT_EQ(Power(0.3, 1), 0.3);
  EXPECT_EQ(Power(0.3, 2), 0.3 * 0.3);
  EXPECT_EQ(Power(10, 400), INFINITY);
  EXPECT_EQ(Power(10, -400), 0);
  EXPECT_NEAR(Power(10, -320) / 1e-320, 1, 1e-3);  // among the denormals
  EXPECT_DOUBLE_EQ(Power(0.96, 4e-3 * 8), std::pow(0.96, 4e-3 * 8));
}

// --- trajectories ---

class Rules : public BackendTest {};
INSTANTIATE_FOR_BACKENDS(Rules);

void ExpectNear(const Floats& got, const Vector& expected, double largest) {
  ASSERT_EQ(got.size(), expected.size());
  for (size_t i = 0; i < got.size(); ++i) {
    EXPECT_NEAR(got[i], expected[i], 5e-6 * std::max(std::abs(expected[i]), largest)) << "element " << i;
  }
}

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
      Trainer trainer(*backend_, *rule, Hypers(*rule, one.hypers), ToFloats(golden.start));
      ASSERT_EQ(one.trajectory.size(), golden.inputs.size());
      ASSERT_EQ(one.evaluations.size(), rule->eval_slot < 0 ? 0 : golden.inputs.size());
      const double largest = LargestOf(one.trajectory);
      for (size_t step = 0; step < golden.inputs.size(); ++step) {
        SCOPED_TRACE(golden.rule + "/" + one.name + " step " + std::to_string(step + 1));
        trainer.Step(ToFloats(golden.inputs[step]));
        ExpectNear(trainer.weights(), one.trajectory[step], largest);
        if (rule->eval_slot >= 0) ExpectNear(trainer.evaluation(), one.evaluations[step], largest);
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

// f(w) = sum a_i w_i^2 / 2 from a squared norm of 4: the squared norm of what evaluators read after 3,000
// steps. Inner rules get the gradient, outer rules the delta of one small gradient step.
double DistanceLeft(Backend& backend, const RuleInfo& rule, const std::vector<double>& hypers) {
  const Floats curvature = {1.0f, 0.5f, 0.25f, 2.0f};
  const float share = rule.kind == RuleKind::kInner ? 1.0f : 0.1f;
  Trainer trainer(backend, rule, hypers, {1, -1, 1, 1});
  for (int step = 0; step < 3000; ++step) {
    Floats input = trainer.weights();
    for (size_t i = 0; i < input.size(); ++i) input[i] *= curvature[i] * share;
    if (!trainer.Step(input).finite) return INFINITY;
  }
  double left = 0;
  for (const float w : trainer.evaluation()) left += double{w} * w;
  return left;
}

// Rates mean different things to different rules (lion's is a step length, adadelta's a factor): one of the
// decades has to do.
TEST_P(Rules, ConvergeOnASmallQuadratic) {
  for (const RuleInfo* rule : RulesOf(*backend_)) {
    auto hypers = DefaultHypers(*rule);
    double left = INFINITY;
    for (const double lr : {1e-2, 1e-1, 1.0, 1e1, 1e-3}) {
      if (rule->kind == RuleKind::kInner) hypers[HyperIndex(*rule, "lr")] = lr;
      left = std::min(left, DistanceLeft(*backend_, *rule, hypers));
      if (left < 1e-4 || rule->kind == RuleKind::kOuter) break;
    }
    EXPECT_LT(left, 1e-4) << rule->name << ": started at 4";
  }
}

TEST_P(Rules, ShowEvaluatorsTheWeightsBeforeTheFirstStep) {
  for (const RuleInfo* rule : AllRules()) {
    const Floats start = Noise(77, 1);
    EXPECT_EQ(Trainer(*backend_, *rule, DefaultHypers(*rule), start).evaluation(), start) << rule->name;
  }
}

// --- what the equations promise ---

Floats Times(float factor, Floats values) {
  for (float& x : values) x *= factor;
  return values;
}

Floats After(Backend& backend, std::string_view name, const std::map<std::string, double>& named, int steps,
             float scale = 1) {
  const RuleInfo& rule = FindInnerRule(name) ? *FindInnerRule(name) : *FindOuterRule(name);
  Trainer trainer(backend, rule, Hypers(rule, named), Noise(200, 1));
  for (int step = 0; step < steps; ++step) trainer.Step(Times(scale, Noise(200, 10 + step)));
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
  EXPECT_EQ(After(*backend_, "delayed_nesterov", {{"momentum", 0}}, 6), average);
}

// Invariants 15 and 16 of the specification.
TEST_P(Rules, SlowMoAtAConstantInnerRateIsHeavyBall) {
  const Floats heavy_ball = After(*backend_, "heavy_ball", {{"lr", 0.7}, {"momentum", 0.6}}, 6);
  // A power of two only moves exponents: the same bits.
  EXPECT_EQ(After(*backend_, "slowmo", {{"lr", 0.7}, {"momentum", 0.6}, {"inner_lr", 0.125}}, 6), heavy_ball);
  const Floats other = After(*backend_, "slowmo", {{"lr", 0.7}, {"momentum", 0.6}, {"inner_lr", 0.3}}, 6);
  for (size_t i = 0; i < other.size(); ++i) EXPECT_NEAR(other[i], heavy_ball[i], 2e-6);
}

TEST_P(Rules, SlowMoWithoutMomentumIsTheAverage) {
  EXPECT_EQ(After(*backend_, "slowmo", {{"lr", 1}, {"momentum", 0}}, 6),
            After(*backend_, "average", {{"alpha", 1}}, 6));
}

TEST_P(Rules, DelayedNesterovOfOneWorkerIsNesterov) {
  EXPECT_EQ(After(*backend_, "delayed_nesterov", {{"delay", 1}}, 6), After(*backend_, "nesterov", {}, 6));
}

// N = 3 deltas move phi in total by -lr (sum / N + weight x beta x momentum): all of it with the third
// without spread, and with it c beta m_old twice and (1 - cN + c) beta m_new.
TEST_P(Rules, DelayedNesterovMovesAsOneStepOnTheMeanOfItsDeltas) {
  for (const double spread : {0.0, 0.1}) {
    const RuleInfo& rule = *FindOuterRule("delayed_nesterov");
    Trainer trainer(*backend_, rule, Hypers(rule, {{"delay", 3}, {"spread", spread}}), {1.0f});
    double phi = 1, momentum = 0;
    for (const std::array<double, 3>& deltas : {std::array{0.5, -0.25, 0.125}, std::array{1.0, 0.5, -0.75}}) {
      for (const double delta : deltas) trainer.Step({static_cast<float>(delta)});
      const double mean = (deltas[0] + deltas[1] + deltas[2]) / 3, before = momentum;
      momentum = 0.9 * momentum + mean;
      phi -= 0.7 * (mean + 0.9 * (2 * spread * before + (1 - 2 * spread) * momentum));
      EXPECT_NEAR(trainer.weights()[0], phi, 1e-6) << "spread " << spread;
    }
  }
}

TEST(RuleTables, RefuseAMomentumSpreadAboveItsWhole) {
  const RuleInfo& rule = *FindOuterRule("delayed_nesterov");
  char error[256] = "";
  EXPECT_FALSE(rule.check(Hypers(rule, {{"delay", 4}, {"spread", 0.5}}), error, sizeof error));
  EXPECT_STREQ(error, "spread is 0.5, expected at most 1 / delay = 0.25");
  EXPECT_TRUE(rule.check(Hypers(rule, {{"delay", 4}, {"spread", 0.25}}), error, sizeof error));
}

// What the second moment sees: yogi forgets large deltas slowly, adagrad never, adam at beta2's pace.
TEST_P(Rules, TheFedOptFamilyDiffersInItsSecondMoment) {
  std::map<std::string, float> second;
  for (const std::string name : {"fed_adam", "fed_yogi", "fed_adagrad"}) {
    const RuleInfo& rule = *FindOuterRule(name);
    std::map<std::string, double> hypers = {{"tau", 0.5}};
    if (name != "fed_adagrad") hypers["beta2"] = 0.5;
    Trainer trainer(*backend_, rule, Hypers(rule, hypers), {1.0f});
    trainer.Step({2.0f});
    trainer.Step({1.0f});
    second[name] = trainer.saved().state.outer[1][0];
  }
  EXPECT_EQ(second["fed_adam"], 0.5f * (0.5f * 0.25f + 0.5f * 4) + 0.5f);
  EXPECT_EQ(second["fed_yogi"], 0.25f + 0.5f * 4 - 0.5f);
  EXPECT_EQ(second["fed_adagrad"], 0.25f + 4 + 1);
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

// A power of two commutes with every rounding, so the bits are the same.
TEST_P(Rules, AdamWithoutEpsDoesNotSeeTheScaleOfGradients) {
  const std::map<std::string, double> hypers = {{"lr", 0.01}, {"eps", 0}};
  for (const char* rule : {"adam", "adamw", "nadam"}) {
    EXPECT_EQ(After(*backend_, rule, hypers, 9, 8), After(*backend_, rule, hypers, 9)) << rule;
  }
}

TEST_P(Rules, LionDoesNotSeeTheScaleOfGradients) {
  const std::map<std::string, double> hypers = {{"lr", 0.01}, {"weight_decay", 0.1}};
  const Floats plain = After(*backend_, "lion", hypers, 9);
  for (const float scale : {8.0f, 0x1p-20f, 3.0f}) {
    EXPECT_EQ(After(*backend_, "lion", hypers, 9, scale), plain) << scale;
  }
}

TEST_P(Rules, LionStandsStillWhereThereIsNothingToFollow) {
  const RuleInfo& lion = *FindInnerRule("lion");
  Trainer trainer(*backend_, lion, Hypers(lion, {{"lr", 0.5}}), {1, 2, 3});
  trainer.Step({0.0f, -0.0f, 1e-30f});
  EXPECT_EQ(trainer.weights(), Floats({1, 2, 2.5}));
}

TEST_P(Rules, AdagradNeverForgetsAGradient) {
  const RuleInfo& adagrad = *FindInnerRule("adagrad");
  Trainer trainer(*backend_, adagrad, Hypers(adagrad, {{"initial_accumulator_value", 0.25}}), Noise(64, 1));
  Floats before(64, 0.25f);
  for (uint32_t step = 0; step < 12; ++step) {
    trainer.Step(Noise(64, 10 + step));
    const Floats& sum = trainer.saved().state.inner[0];
    for (size_t i = 0; i < 64; ++i) EXPECT_GE(sum[i], before[i]);
    before = sum;
  }
}

// A constant gradient has no variance; rounding makes v - mean^2 a little negative for some, where a root is
// NaN.
TEST_P(Rules, CenteredRmsPropTakesNoRootOfANegativeVariance) {
  const RuleInfo& rmsprop = *FindInnerRule("rmsprop");
  Trainer trainer(*backend_, rmsprop, Hypers(rmsprop, {{"centered", 1}, {"alpha", 0.9}, {"eps", 1e-3}}),
                  Noise(500, 1));
  const Floats gradient = Noise(500, 2);
  bool negative = false;
  for (int step = 0; step < 300; ++step) {
    ASSERT_TRUE(trainer.Step(gradient).finite) << "step " << step + 1;
    const Floats &square = trainer.saved().state.inner[0], &mean = trainer.saved().state.inner[1];
    for (size_t i = 0; i < 500; ++i) negative |= std::fma(-mean[i], mean[i], square[i]) < 0;
  }
  EXPECT_TRUE(negative) << "the case did not come up";
}

TEST_P(Rules, GpaWithoutAnAverageIsAdamW) {
  const std::map<std::string, double> adamw = {{"lr", 0.01}, {"weight_decay", 0.1}};
  for (const double mu_y : {0.0, 0.3, 0.7, 1.0}) {
    auto gpa = adamw;
    gpa.insert({{"mu_x", 0}, {"mu_y", mu_y}});
    EXPECT_EQ(After(*backend_, "gpa", gpa, 9), After(*backend_, "adamw", adamw, 9)) << mu_y;
  }
}

// With a constant rate every z has the same weight.
TEST_P(Rules, ScheduleFreeServesTheMeanOfItsSteps) {
  for (const char* name : {"schedule_free_sgd", "schedule_free_adamw"}) {
    const RuleInfo& rule = *FindInnerRule(name);
    Trainer trainer(*backend_, rule, Hypers(rule, {{"lr", 0.1}}), Noise(50, 1));
    Vector sum(50, 0.0);
    for (int step = 1; step <= 40; ++step) {
      trainer.Step(Noise(50, 10 + step));
      const Floats &z = trainer.saved().state.inner[1], x = trainer.evaluation();
      for (size_t i = 0; i < 50; ++i) {
        sum[i] += z[i];
        const double mean = sum[i] / step;
        EXPECT_NEAR(x[i], mean, 2e-6 * std::max(1.0, std::abs(mean))) << name << " " << step;
      }
    }
  }
}

TEST_P(Rules, ScheduleFreeAtRateZeroStaysWhereItIs) {
  const Floats start = After(*backend_, "sgd", {}, 0);
  for (const char* name : {"schedule_free_sgd", "schedule_free_adamw"}) {
    EXPECT_EQ(After(*backend_, name, {{"lr", 0}}, 5), start) << name;
  }
}

TEST_P(Rules, AsgdServesTheWeightsUntilT0AndThenTheirMean) {
  const RuleInfo& asgd = *FindInnerRule("asgd");
  Trainer trainer(*backend_, asgd, Hypers(asgd, {{"lr", 0.1}, {"lambd", 0}, {"t0", 4}}), Noise(50, 1));
  Vector sum(50, 0.0);
  for (int step = 1; step <= 30; ++step) {
    trainer.Step(Noise(50, 10 + step));
    const Floats weights = trainer.weights(), average = trainer.evaluation();
    if (step <= 6) {
      EXPECT_EQ(average, weights) << "step " << step;
    }
    for (size_t i = 0; step >= 6 && i < 50; ++i) {
      sum[i] += weights[i];
      EXPECT_NEAR(average[i], sum[i] / (step - 5), 1e-6) << "step " << step;
    }
  }
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
