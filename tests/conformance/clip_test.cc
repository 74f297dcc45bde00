// Clipping of the aggregate (invariant 30): value, then each tensor's norm, then the norm of all.
#include <cmath>
#include <limits>

#include "tests/conformance/backends.h"
#include "tests/support/thread_executor.h"

namespace stepback::kernels::testing {
namespace {

using stepback::testing::ThreadExecutor;

using Tensors = std::vector<Floats>;

double NormOf(const Floats& values) {
  double sum = 0;
  for (const float x : values) sum += double{x} * x;
  return std::sqrt(sum);
}

double GlobalNormOf(const Tensors& tensors) {
  double sum = 0;
  for (const Floats& each : tensors) sum += NormOf(each) * NormOf(each);
  return std::sqrt(sum);
}

Tensors Noise(std::mt19937& random) {
  std::normal_distribution<float> normal;
  Tensors tensors;
  for (size_t t = 0; t < 1 + random() % 4; ++t) {
    tensors.emplace_back(1 + random() % 3000);
    const float size = std::ldexp(1.0f, static_cast<int>(random() % 12) - 6);
    for (float& x : tensors.back()) x = size * normal(random);
  }
  return tensors;
}

class Clipping : public BackendTest {
 protected:
  // What the rules see of a mean: with weights of zero and a rate of 1, the negated weights after one step.
  Tensors Clip(const Tensors& mean, const kernels::Clip& clip, bool gradient,
               Input input = Input::kRunningF32) {
    return Clip(mean, clip, gradient, input, &inline_);
  }

  Tensors Clip(const Tensors& mean, const kernels::Clip& clip, bool gradient, Input input,
               Executor* executor) {
    const Outcome outcome = RunOn(*backend_, executor, ScenarioOf(mean, clip, gradient, input));
    result_ = outcome.result;
    const Floats& arena = gradient ? outcome.next.theta : outcome.next.phi;
    const auto begins = ScenarioOf(mean, clip, gradient, input).Begins();
    Tensors clipped;
    for (size_t t = 0; t < mean.size(); ++t) {
      clipped.emplace_back(mean[t].size());
      for (size_t i = 0; i < mean[t].size(); ++i) clipped[t][i] = -arena[begins[t] + i];
    }
    return clipped;
  }

  static Scenario ScenarioOf(const Tensors& mean, const kernels::Clip& clip, bool gradient, Input input) {
    Scenario s;
    s.gradient = gradient;
    s.input = input;
    s.clip = clip;
    Worker worker{.codec = FindCodec("f32")->id, .weight = 1, .tensors = {}};
    const RuleInfo& sgd = *FindInnerRule("sgd");
    std::vector<double> hypers(sgd.hypers.size(), 0.0);
    hypers[HyperIndex(sgd, "lr")] = 1;
    for (const Floats& values : mean) {
      s.tensors.push_back({.count = values.size()});
      if (gradient) s.tensors.back().inner_rule = sgd.id, s.tensors.back().inner_hypers = hypers;
      worker.tensors.push_back(Encode(worker.codec, values));
    }
    if (!gradient) s.outer_rule = FindOuterRule("average")->id, s.outer_hypers = {1.0};
    s.workers = {worker};
    s.Prepare();
    (gradient ? s.state.theta : s.state.phi) = Floats(s.arena_floats(), 0.0f);
    return s;
  }

  CommitResult result_;
};
INSTANTIATE_FOR_BACKENDS(Clipping);

TEST_P(Clipping, BoundsTheGlobalNormAndKeepsTheDirection) {
  for (uint32_t seed = 0; seed < ScenarioCount(60); ++seed) {
    std::mt19937 random(seed);
    const Tensors mean = Noise(random);
    const double norm = GlobalNormOf(mean);
    const double bound = norm * (0.05 + 0.9 * (random() % 1000) / 1000);
    const Tensors clipped = Clip(mean, {.global_norm = bound}, random() % 2 == 0);
    EXPECT_LE(GlobalNormOf(clipped), bound * (1 + 1e-6)) << "seed " << seed;
    EXPECT_GE(GlobalNormOf(clipped), bound * (1 - 1e-6) - 1e-5) << "seed " << seed;
    const double factor = bound / (norm + 1e-6);
    for (size_t t = 0; t < mean.size(); ++t) {
      for (size_t i = 0; i < mean[t].size(); ++i) {
        ASSERT_NEAR(clipped[t][i], mean[t][i] * factor, 2e-7 * std::abs(mean[t][i])) << "seed " << seed;
      }
    }
  }
}

TEST_P(Clipping, IsTheIdentityBelowEveryBound) {
  for (uint32_t seed = 0; seed < ScenarioCount(30); ++seed) {
    std::mt19937 random(seed);
    const Tensors mean = Noise(random);
    const double norm = GlobalNormOf(mean);
    const kernels::Clip wide = {.value = 1e6, .tensor_norm = norm + 2e-6, .global_norm = norm + 2e-6};
    EXPECT_EQ(Clip(mean, wide, true), mean) << "seed " << seed;
    EXPECT_EQ(Clip(mean, {}, true), mean) << "seed " << seed;
    EXPECT_EQ(Clip(mean, wide, false), mean) << "seed " << seed;
  }
}

TEST_P(Clipping, BoundsEveryTensorByItself) {
  const Tensors mean = {Floats(100, 3.0f), Floats(4, 0.1f), Floats(2500, -1.0f)};  // norms 30, 0.2, 50
  const Tensors clipped = Clip(mean, {.tensor_norm = 5}, true);
  EXPECT_NEAR(NormOf(clipped[0]), 5, 1e-5);
  EXPECT_EQ(clipped[1], mean[1]);
  EXPECT_NEAR(NormOf(clipped[2]), 5, 1e-5);
}

TEST_P(Clipping, BoundsEveryValue) {
  const Tensors clipped = Clip({{-3.0f, 0.5f, 2.0f, -0.0f, 1.0f}}, {.value = 1}, true);
  EXPECT_EQ(clipped, Tensors({{-1.0f, 0.5f, 1.0f, -0.0f, 1.0f}}));
}

// Values first, then tensors, then all: 16 elements of 4 limited to 1 have norm 4, cut to 3; a second tensor
// of norm 4 stays; together they have norm 5, cut to 2.5.
TEST_P(Clipping, GoesFromValuesToTensorsToAll) {
  const Tensors mean = {Floats(16, 4.0f), Floats(16, -1.0f)};
  const Tensors clipped =
      Clip(mean, {.value = 1, .tensor_norm = 3, .global_norm = 1.5 * std::sqrt(2.0)}, true);
  for (const float x : clipped[0]) EXPECT_NEAR(x, 0.375, 1e-6);
  for (const float x : clipped[1]) EXPECT_NEAR(x, -0.375, 1e-6);
}

TEST_P(Clipping, ReportsTheNormBeforeClipping) {
  Clip({Floats(100, 3.0f)}, {.value = 1, .global_norm = 1}, true);
  EXPECT_EQ(result_.input_sq, 900);
}

// The mean is clipped, not the contributions: two opposite ones of norm 10 have a mean of zero.
TEST_P(Clipping, SeesTheAggregate) {
  for (const Input input : {Input::kRunningF32, Input::kRunningF64, Input::kStaged}) {
    Scenario s = ScenarioOf({Floats(4, 5.0f)}, {.global_norm = 1}, false, input);
    s.workers.push_back(s.workers[0]);
    s.workers[1].tensors = {Encode(s.workers[1].codec, Floats(4, -4.5f))};
    for (size_t i = 0; i < 4; ++i) EXPECT_EQ(RunOn(*backend_, &inline_, s).next.phi[i], -0.25f);
  }
}

// Averaged tensors have no optimizer, so their mean is neither clipped nor part of the norm.
TEST_P(Clipping, LeavesAveragedTensorsAlone) {
  Scenario s = ScenarioOf({Floats(4, 5.0f), Floats(4, 1.0f)}, {.value = 3, .global_norm = 1}, false,
                          Input::kRunningF32);
  s.tensors[0].action = TensorAction::kAveraged;
  const Outcome outcome = RunOn(*backend_, &inline_, s);
  EXPECT_EQ(outcome.next.phi[0], -5.0f);
  EXPECT_NEAR(outcome.next.phi[s.Begins()[1]], -0.5f, 1e-6);
}

TEST_P(Clipping, DoesNotHideWhatIsNotFinite) {
  const kernels::Clip clips[] = {{.value = 1}, {.tensor_norm = 1}, {.global_norm = 1}};
  for (const float bad : {NAN, INFINITY, -INFINITY}) {
    for (const kernels::Clip& clip : clips) {
      Clip({Floats(50, 1.0f), {1.0f, bad, 1.0f}}, clip, true);
      EXPECT_FALSE(result_.finite) << bad;
      EXPECT_EQ(result_.bad_tensor, 1) << bad;
    }
  }
}

TEST_P(Clipping, TakesTheLargestNumbers) {
  const float largest = std::numeric_limits<float>::max();
  const Tensors clipped = Clip({Floats(64, largest)}, {.global_norm = 8}, true);
  for (const float x : clipped[0]) EXPECT_NEAR(x, 1, 1e-6);
}

// Sums are taken in one order, so no form of the input and no number of threads changes a bit.
TEST_P(Clipping, GivesTheSameBitsForAnyInputFormAndNumberOfThreads) {
  ThreadExecutor one(1), eight(8);
  std::mt19937 random(7);
  std::normal_distribution<float> normal;
  Tensors mean = {Floats(3), Floats(900'001), Floats(17), Floats(300'000)};
  for (Floats& tensor : mean) {
    for (float& x : tensor) x = normal(random);
  }
  const kernels::Clip clip = {.value = 2, .tensor_norm = 500, .global_norm = 100};
  const Tensors expected = Clip(mean, clip, true, Input::kRunningF32, &one);
  for (const Input input : {Input::kRunningF32, Input::kRunningF64, Input::kStaged}) {
    EXPECT_TRUE(Clip(mean, clip, true, input, &eight) == expected) << static_cast<int>(input);
  }
}

}  // namespace
}  // namespace stepback::kernels::testing
