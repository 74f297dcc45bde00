// Means of contributions: the ordered one (fp64, one division, one rounding) and the running ones.
#include <algorithm>
#include <cmath>

#include "tests/conformance/backends.h"

namespace stepback::kernels::testing {
namespace {

class Reduction : public BackendTest {
 protected:
  // phi - mean with phi = 0 and alpha = 1 shows the mean itself.
  Floats MeanOf(const std::vector<std::pair<double, Floats>>& contributions, Input input,
                std::string_view codec = "f32") {
    Scenario s;
    s.tensors = {TensorCase{.count = contributions.front().second.size()}};
    s.outer_rule = FindOuterRule("average")->id;
    s.outer_hypers = {1.0};
    s.input = input;
    for (const auto& [weight, values] : contributions) {
      const int id = FindCodec(codec)->id;
      s.workers.push_back({.codec = id, .weight = weight, .tensors = {Encode(id, values)}});
    }
    s.Prepare();
    s.state.phi = Floats(s.arena_floats(), 0.0f);
    Floats mean = RunOn(*backend_, &inline_, s).next.phi;
    mean.resize(s.tensors[0].count);
    for (float& x : mean) x = -x;
    return mean;
  }
};
INSTANTIATE_FOR_BACKENDS(Reduction);

Floats Noise(size_t count, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  Floats values(count);
  for (float& x : values) x = std::ldexp(normal(random), static_cast<int>(random() % 20) - 10);
  return values;
}

TEST_P(Reduction, OfNIdenticalContributionsIsTheContribution) {
  const Floats x = Noise(5000, 1);
  for (const int n : {1, 2, 3, 5, 7, 10, 31}) {
    EXPECT_EQ(MeanOf({size_t(n), {1.0, x}}, Input::kStaged), x) << n;
    EXPECT_EQ(MeanOf({size_t(n), {3.0, x}}, Input::kStaged), x) << n << " of weight 3";
    EXPECT_EQ(MeanOf({size_t(n), {1.0, x}}, Input::kRunningF64), x) << n << " running in fp64";
  }
}

TEST_P(Reduction, OfOneContributionIsExactInEveryForm) {
  const Floats x = Noise(3000, 2);
  for (const Input input : {Input::kRunningF32, Input::kRunningF64, Input::kStaged}) {
    EXPECT_EQ(MeanOf({{1.0, x}}, input), x);
  }
}

// Long double carries 64 bits: the fp64 sum may differ from it by little, the rounded mean by at most one
// float.
TEST_P(Reduction, OrderedIsWithinOneRoundingOfTheExactMean) {
  std::vector<std::pair<double, Floats>> contributions;
  for (uint32_t i = 0; i < 9; ++i) contributions.push_back({1.0 + i % 3, Noise(4000, i)});
  const Floats mean = MeanOf(contributions, Input::kStaged);
  for (size_t i = 0; i < mean.size(); ++i) {
    long double sum = 0, weights = 0;
    for (const auto& [weight, values] : contributions)
      sum += weight * (long double){values[i]}, weights += weight;
    const float exact = static_cast<float>(sum / weights);
    ASSERT_GE(mean[i], std::nextafter(exact, -INFINITY)) << i;
    ASSERT_LE(mean[i], std::nextafter(exact, INFINITY)) << i;
  }
}

TEST_P(Reduction, OrderedDoesNotChangeWhenEqualContributionsTradePlaces) {
  const Floats a = Noise(2000, 1), b = Noise(2000, 2);
  const Floats mean = MeanOf({{1.0, a}, {1.0, b}, {1.0, a}, {1.0, b}}, Input::kStaged);
  const std::vector<std::pair<double, Floats>> swapped = {{1.0, a}, {1.0, b}, {1.0, a}, {1.0, b}};
  EXPECT_EQ(MeanOf({swapped[2], swapped[3], swapped[0], swapped[1]}, Input::kStaged), mean);
}

// One worker's weight split into two adjacent parts with the same values. Exact while weights are integers.
TEST_P(Reduction, OrderedDoesNotSeeHowAWeightIsSplit) {
  const Floats a = Noise(2000, 1), b = Noise(2000, 2);
  EXPECT_EQ(MeanOf({{5.0, a}, {2.0, b}}, Input::kStaged),
            MeanOf({{2.0, a}, {3.0, a}, {2.0, b}}, Input::kStaged));
}

TEST_P(Reduction, WeighsContributions) {
  const Floats mean = MeanOf({{3.0, {4.0f}}, {1.0, {8.0f}}}, Input::kStaged);
  EXPECT_EQ(mean[0], 5.0f);
  EXPECT_EQ(MeanOf({{3.0, {4.0f}}, {1.0, {8.0f}}}, Input::kRunningF32)[0], 5.0f);
  EXPECT_EQ(MeanOf({{0.25, {4.0f}}, {0.75, {8.0f}}}, Input::kRunningF64)[0], 7.0f);
}

TEST_P(Reduction, LeavesContributionsOfWeightZeroOut) {
  const Floats x = Noise(100, 1), overflowed(100, INFINITY);
  EXPECT_EQ(MeanOf({{0.0, overflowed}, {1.0, x}, {0.0, overflowed}}, Input::kStaged), x);
}

TEST_P(Reduction, RunningSumsInFp64LosesNothingThatFp32Would) {
  const std::vector<std::pair<double, Floats>> contributions = {{1, {1e8f}}, {1, {1.0f}}, {1, {-1e8f}}};
  EXPECT_EQ(MeanOf(contributions, Input::kRunningF64)[0], static_cast<float>(1.0 / 3));
  EXPECT_EQ(MeanOf(contributions, Input::kStaged)[0], static_cast<float>(1.0 / 3));
  EXPECT_EQ(MeanOf(contributions, Input::kRunningF32)[0], 0.0f);
}

TEST_P(Reduction, ReadsBf16AsTheUpperHalfOfAFloat) {
  const Floats x = {1.0f, -2.5f, 0x1p-130f, 3.0e38f};
  for (const Input input : {Input::kRunningF32, Input::kRunningF64, Input::kStaged}) {
    const Floats mean = MeanOf({{1.0, x}}, input, "bf16");
    EXPECT_EQ(mean[0], 1.0f);
    EXPECT_EQ(mean[1], -2.5f);
    EXPECT_EQ(mean[2], 0x1p-130f);
    EXPECT_NEAR(mean[3] / 3.0e38f, 1, 1.0 / 256);
  }
}

}  // namespace
}  // namespace stepback::kernels::testing
