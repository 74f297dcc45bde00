// Invariants 1-7 and 29 of the algorithm specification: what Lookahead must be whatever the inner rule,
// through a real server. Those about equal bits compare with ==.
#include <cmath>
#include <limits>

#include "gtest/gtest.h"
#include "tests/property/trainer.h"

namespace stepback::property {
namespace {

using client::Rule;

struct Case {
  std::mt19937_64 random;
  Rule inner;
  uint32_t k;
  Flat weights;
};

Rule RandomInner(std::mt19937_64& random) {
  std::uniform_real_distribution<double> unit(0, 1);
  switch (random() % 4) {
    case 0:
      return {"sgd", {{"lr", 0.01 + 0.1 * unit(random)}}};
    case 1:
      return {"sgd", {{"lr", 0.05}, {"momentum", 0.9}, {"weight_decay", 0.01 * unit(random)}}};
    case 2:
      return {"adam", {{"lr", 0.001 + 0.01 * unit(random)}}};
    default:
      return {"adamw", {{"lr", 0.01}, {"weight_decay", 0.1 * unit(random)}}};
  }
}

// Runs `body` on 20 random configurations of one seed.
template <typename Body>
void ForRandomCases(const std::string& test, Body body) {
  std::mt19937_64 random(SeedOf(test));
  for (int i = 0; i < 20; ++i) {
    Case c{std::mt19937_64(random()), {}, 0, {}};
    c.inner = RandomInner(c.random);
    c.k = 1 + c.random() % 7;
    c.weights = RandomFlat(c.random, Trainer::DefaultCount());
    body(c);
    if (::testing::Test::HasFailure()) break;
  }
}

TEST(Lookahead, WithAlphaOneIsTheInnerOptimizerBitForBit) {
  ForRandomCases("alpha = 1", [](Case& c) {
    Trainer lookahead(GradientModel(c.inner, {"lookahead", {{"alpha", 1}}}, c.k), c.weights);
    Trainer plain(GradientModel(c.inner, {"none"}, c.k), c.weights);
    for (int step = 0; step < 17; ++step) {
      const Flat gradient = RandomFlat(c.random, c.weights.size());
      lookahead.PushGradient("w", gradient);
      plain.PushGradient("w", gradient);
      ASSERT_EQ(lookahead.Fast(), plain.Fast()) << c.inner.name << " k=" << c.k << " step " << step;
    }
  });
}

TEST(Lookahead, OfPeriodOneOverSgdIsSgdWithTheRatesMultiplied) {
  ForRandomCases("k = 1", [](Case& c) {
    Trainer lookahead(GradientModel({"sgd", {{"lr", 0.1}}}, {"lookahead", {{"alpha", 0.3}}}, 1), c.weights);
    Trainer plain(GradientModel({"sgd", {{"lr", 0.03}}}, {"none"}, 1), c.weights);
    for (int step = 0; step < 10; ++step) {
      const Flat gradient = RandomFlat(c.random, c.weights.size());
      lookahead.PushGradient("w", gradient);
      plain.PushGradient("w", gradient);
    }
    EXPECT_LT(RelativeDifference(lookahead.Slow(), plain.Slow()), 1e-5);
  });
}

TEST(Lookahead, WithAlphaZeroNeverMovesTheSlowWeightsAndReturnsToThem) {
  ForRandomCases("alpha = 0", [](Case& c) {
    Trainer trainer(GradientModel(c.inner, {"lookahead", {{"alpha", 0}}}, c.k), c.weights);
    for (uint32_t step = 1; step <= 3 * c.k; ++step) {
      trainer.PushGradient("w", RandomFlat(c.random, c.weights.size()));
      ASSERT_EQ(trainer.Slow(), c.weights);
      ASSERT_EQ(trainer.Fast() == c.weights, step % c.k == 0) << "k=" << c.k << " step " << step;
    }
  });
}

TEST(Lookahead, LeavesFastAndSlowWeightsEqualAfterASyncAndOnlyThen) {
  ForRandomCases("after a sync", [](Case& c) {
    Trainer trainer(GradientModel(c.inner, {"lookahead", {{"alpha", 0.5}}}, c.k), c.weights);
    for (uint32_t step = 1; step <= 2 * c.k + 1; ++step) {
      trainer.PushGradient("w", RandomFlat(c.random, c.weights.size()));
      EXPECT_EQ(trainer.Fast() == trainer.Slow(), step % c.k == 0) << "k=" << c.k << " step " << step;
    }
  });
}

TEST(Lookahead, SlowWeightsAreAnAverageOfTheFastWeightsThatEndedEachCycle) {
  ForRandomCases("EMA of cycle ends", [](Case& c) {
    const double alpha = 0.5, lr = 0.1;
    Trainer trainer(GradientModel({"sgd", {{"lr", lr}}}, {"lookahead", {{"alpha", alpha}}}, c.k), c.weights);
    std::vector<double> slow(c.weights.begin(), c.weights.end());
    for (int cycle = 0; cycle < 4; ++cycle) {
      std::vector<double> fast = slow;  // plain SGD in fp64 from the slow weights
      for (uint32_t step = 0; step < c.k; ++step) {
        const Flat gradient = RandomFlat(c.random, c.weights.size());
        trainer.PushGradient("w", gradient);
        for (size_t i = 0; i < fast.size(); ++i) fast[i] -= lr * gradient[i];
      }
      for (size_t i = 0; i < slow.size(); ++i) slow[i] = alpha * fast[i] + (1 - alpha) * slow[i];
    }
    EXPECT_LT(RelativeDifference(trainer.Slow(), Flat(slow.begin(), slow.end())), 1e-5);
  });
}

TEST(Versions, RiseByOneForEachAppliedPushAndAPullSeesThem) {
  ForRandomCases("versions", [](Case& c) {
    Trainer trainer(GradientModel(c.inner, {"lookahead", {{"alpha", 0.5}}}, c.k), c.weights);
    for (uint64_t step = 1; step <= 9; ++step) {
      const client::PushResult result = trainer.PushGradient("w", RandomFlat(c.random, c.weights.size()));
      EXPECT_EQ(result.version.counter, step);
      absl::StatusOr<client::TensorBuffers> buffers = client::TensorBuffers::Make(trainer.model().tensors());
      ASSERT_TRUE(buffers.ok()) << buffers.status();
      const absl::StatusOr<client::PullInfo> pull = trainer.model().Pull(buffers->sinks());
      ASSERT_TRUE(pull.ok()) << pull.status();
      EXPECT_GE(pull->version, result.version);
    }
  });
}

TEST(Pushes, ThatAreNotFiniteChangeNothing) {
  ForRandomCases("non-finite", [](Case& c) {
    Trainer trainer(GradientModel(c.inner, {"lookahead", {{"alpha", 0.5}}}, c.k), c.weights);
    trainer.PushGradient("w", RandomFlat(c.random, c.weights.size()));
    const std::string before = trainer.StateHash();
    const float bad[] = {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
                         -std::numeric_limits<float>::infinity()};
    Flat gradient = RandomFlat(c.random, c.weights.size());
    gradient[c.random() % gradient.size()] = bad[c.random() % 3];
    const absl::StatusOr<client::PushResult> result = trainer.TryPushGradient("w", gradient);
    ASSERT_FALSE(result.ok());
    EXPECT_EQ(result.status().code(), absl::StatusCode::kInvalidArgument) << result.status();
    EXPECT_EQ(client::ErrorReason(result.status()), "NONFINITE");
    EXPECT_EQ(trainer.StateHash(), before);
    trainer.PushGradient("w", RandomFlat(c.random, c.weights.size()));  // the next push is taken
    EXPECT_NE(trainer.StateHash(), before);
  });
}

TEST(Sgd, NesterovWithoutMomentumIsPlainBitForBit) {
  ForRandomCases("nesterov without momentum", [](Case& c) {
    Trainer nesterov(GradientModel({"sgd", {{"lr", 0.1}, {"nesterov", 1}}}, {"none"}, 1), c.weights);
    Trainer plain(GradientModel({"sgd", {{"lr", 0.1}}}, {"none"}, 1), c.weights);
    for (int step = 0; step < 5; ++step) {
      const Flat gradient = RandomFlat(c.random, c.weights.size());
      nesterov.PushGradient("w", gradient);
      plain.PushGradient("w", gradient);
    }
    EXPECT_EQ(nesterov.Fast(), plain.Fast());
  });
}

}  // namespace
}  // namespace stepback::property
