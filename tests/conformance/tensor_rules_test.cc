// Rules that look at a whole tensor before they step: what their equations promise.
#include <cmath>

#include "tests/conformance/backends.h"
#include "tests/conformance/trainer.h"
#include "tests/support/thread_executor.h"

namespace stepback::kernels::testing {
namespace {

using stepback::testing::ThreadExecutor;

class TensorRules : public BackendTest {
 protected:
  Floats After(std::string_view name, const std::map<std::string, double>& named, int steps,
               float scale = 1) {
    const RuleInfo& rule = *FindInnerRule(name);
    Trainer trainer(*backend_, rule, Hypers(rule, named), Noise(1500, 1));
    for (int step = 0; step < steps; ++step) {
      Floats gradient = Noise(1500, 10 + step);
      for (float& x : gradient) x *= scale;
      trainer.Step(gradient);
    }
    return trainer.weights();
  }

  static Floats Noise(size_t count, uint32_t seed) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    Floats values(count);
    for (float& x : values) x = normal(random);
    return values;
  }
};
INSTANTIATE_FOR_BACKENDS(TensorRules);

double NormOf(const Floats& values) {
  double sum = 0;
  for (const float x : values) sum += double{x} * x;
  return std::sqrt(sum);
}

double DistanceOf(const Floats& a, const Floats& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += (double{a[i]} - b[i]) * (double{a[i]} - b[i]);
  return std::sqrt(sum);
}

// Invariant 25. Not decay, not moments and not the size of the gradient change how far a step goes.
TEST_P(TensorRules, LambStepsByItsRateTimesTheLengthOfTheWeights) {
  const RuleInfo& lamb = *FindInnerRule("lamb");
  for (const float scale : {1e-4f, 1.0f, 1e4f}) {
    Trainer trainer(*backend_, lamb, Hypers(lamb, {{"lr", 0.01}, {"weight_decay", 0.1}}), Noise(3001, 1));
    for (uint32_t step = 0; step < 5; ++step) {
      const Floats before = trainer.weights();
      Floats gradient = Noise(3001, 10 + step);
      for (float& x : gradient) x *= scale;
      trainer.Step(gradient);
      const double expected = 0.01 * NormOf(before);
      EXPECT_NEAR(DistanceOf(before, trainer.weights()), expected, 1e-5 * expected)
          << scale << ", step " << step;
    }
  }
}

TEST_P(TensorRules, LambIsAdamWithoutDecayUnlessToldToAdapt) {
  const Floats lamb = After("lamb", {{"lr", 0.01}, {"weight_decay", 0}}, 6);
  const Floats adam = After("adam", {{"lr", 0.01}, {"eps", 1e-6}}, 6);
  for (size_t i = 0; i < lamb.size(); ++i) ASSERT_NEAR(lamb[i], adam[i], 1e-6) << i;
  EXPECT_GT(DistanceOf(lamb, After("lamb", {{"lr", 0.01}, {"weight_decay", 0}, {"always_adapt", 1}}, 6)),
            1e-3);
}

TEST_P(TensorRules, LarsIsSgdBitForBitWithoutDecay) {
  EXPECT_EQ(After("lars", {{"lr", 0.1}, {"momentum", 0.9}, {"nesterov", 1}}, 5),
            After("sgd", {{"lr", 0.1}, {"momentum", 0.9}, {"nesterov", 1}}, 5));
  EXPECT_NE(After("lars", {{"lr", 0.1}, {"always_adapt", 1}}, 5), After("sgd", {{"lr", 0.1}}, 5));
}

// The step is lr tc |w| long whatever the gradient's size.
TEST_P(TensorRules, LarsDoesNotSeeTheSizeOfTheGradient) {
  const std::map<std::string, double> named = {{"lr", 1}, {"always_adapt", 1}, {"eps", 0}};
  const Floats small = After("lars", named, 1, 0x1p-10f), large = After("lars", named, 1, 0x1p10f);
  for (size_t i = 0; i < small.size(); ++i) ASSERT_NEAR(small[i], large[i], 1e-6) << i;
  const Floats start = Noise(1500, 1);
  EXPECT_NEAR(DistanceOf(start, large), 1e-3 * NormOf(start), 1e-5 * NormOf(start));
}

// LARC: the local rate is min(tc |w| / |g|, lr), so small gradients meet plain SGD.
TEST_P(TensorRules, LarcIsSgdWhereTheLocalRateWouldBeLarger) {
  const std::map<std::string, double> larc = {{"lr", 0.1}, {"always_adapt", 1}, {"trust_clip", 1}};
  EXPECT_EQ(After("lars", larc, 3, 1e-3f), After("sgd", {{"lr", 0.1}}, 3, 1e-3f));
  EXPECT_NE(After("lars", larc, 3, 1.0f), After("sgd", {{"lr", 0.1}}, 3, 1.0f));
}

TEST_P(TensorRules, TrustRatiosAreOneWhereANormIsZero) {
  const RuleInfo& lamb = *FindInnerRule("lamb");
  Trainer from_zero(*backend_, lamb, Hypers(lamb, {{"lr", 0.5}, {"weight_decay", 0.1}, {"eps", 0}}), {0, 0});
  from_zero.Step({2.0f, -3.0f});
  EXPECT_NEAR(from_zero.weights()[0], -0.5, 1e-6);
  EXPECT_NEAR(from_zero.weights()[1], 0.5, 1e-6);

  const RuleInfo& lars = *FindInnerRule("lars");
  Trainer no_gradient(*backend_, lars, Hypers(lars, {{"lr", 0.5}, {"weight_decay", 0.1}}), {1, -2});
  no_gradient.Step({0, 0});
  EXPECT_NEAR(no_gradient.weights()[0], 0.95, 1e-6);
  EXPECT_NEAR(no_gradient.weights()[1], -1.9, 1e-6);
}

// Every tensor has norms of its own: a neighbour changes nothing.
TEST_P(TensorRules, TensorsDoNotSeeEachOther) {
  const RuleInfo& lamb = *FindInnerRule("lamb");
  const auto step = [&](float neighbour) {
    Scenario s;
    s.gradient = true;
    const auto hypers = Hypers(lamb, {{"lr", 0.1}});
    for (const uint64_t count : {1500, 40}) {
      s.tensors.push_back({.count = count, .inner_rule = lamb.id, .inner_hypers = hypers});
    }
    const int f32 = FindCodec("f32")->id;
    s.workers = {
        {.codec = f32, .tensors = {Encode(f32, Noise(1500, 1)), Encode(f32, Floats(40, neighbour))}}};
    s.Prepare();
    std::mt19937 random(2);
    s.state.theta = RandomArena(s, random);
    for (int i = 0; i < 2; ++i) s.state.inner[i] = Floats(s.arena_floats(), 0.0f);
    Floats theta = RunOn(*backend_, &inline_, s).next.theta;
    theta.resize(1500);
    return theta;
  };
  EXPECT_EQ(step(1.0f), step(1000.0f));
}

}  // namespace
}  // namespace stepback::kernels::testing
