// Invariants 8-10 and 12-14 of the algorithm specification: what a round of several workers must be, through
// a real server.
#include <algorithm>
#include <numeric>

#include "gtest/gtest.h"
#include "tests/property/trainer.h"

namespace stepback::property {
namespace {

using client::Reduction;
using client::Rule;

// Pushes `weights[i]` as worker i in the given order; all workers joined and pulled before the first push.
void Round(Trainer& trainer, const std::vector<Flat>& weights, const std::vector<size_t>& order,
           const std::vector<uint64_t>& samples = {}) {
  const auto id = [](size_t i) { return "w" + std::to_string(i); };
  for (size_t i = 0; i < weights.size(); ++i) trainer.worker(id(i));
  for (size_t i = 0; i < weights.size(); ++i) trainer.PullAs(id(i));
  for (size_t i : order) {
    trainer.PushWeights(id(i), weights[i], {.samples = samples.empty() ? 1 : samples[i]});
  }
}

std::vector<size_t> InOrder(size_t count) {
  std::vector<size_t> order(count);
  std::iota(order.begin(), order.end(), 0);
  return order;
}

std::vector<Flat> RandomWorkers(std::mt19937_64& random, size_t workers) {
  std::vector<Flat> weights(workers);
  for (Flat& w : weights) w = RandomFlat(random, Trainer::DefaultCount());
  return weights;
}

const Rule kDiloco{"nesterov", {{"lr", 0.7}, {"momentum", 0.9}}};

TEST(OrderedRounds, OfIdenticalWorkersEqualOneWorkerBitForBit) {
  std::mt19937_64 random(SeedOf("identical workers"));
  const Flat start = RandomFlat(random, Trainer::DefaultCount());
  for (uint32_t workers : {2u, 3u, 5u, 7u}) {
    Trainer many(DeltaModel(kDiloco, workers, Reduction::kOrdered), start);
    Trainer one(DeltaModel(kDiloco, 1, Reduction::kOrdered), start);
    for (int round = 0; round < 4; ++round) {
      const Flat trained = RandomFlat(random, start.size());
      Round(many, std::vector<Flat>(workers, trained), InOrder(workers));
      Round(one, {trained}, {0});
      ASSERT_EQ(many.Slow(), one.Slow()) << workers << " workers, round " << round;
    }
  }
}

TEST(OrderedRounds, DoNotDependOnTheOrderOfArrival) {
  std::mt19937_64 random(SeedOf("order of arrival"));
  const Flat start = RandomFlat(random, Trainer::DefaultCount());
  for (int repeat = 0; repeat < 6; ++repeat) {
    const size_t workers = 2 + random() % 5;
    Trainer forward(DeltaModel(kDiloco, workers, Reduction::kOrdered), start);
    Trainer shuffled(DeltaModel(kDiloco, workers, Reduction::kOrdered), start);
    for (int round = 0; round < 4; ++round) {
      const std::vector<Flat> trained = RandomWorkers(random, workers);
      std::vector<size_t> order = InOrder(workers);
      Round(forward, trained, order);
      std::shuffle(order.begin(), order.end(), random);
      Round(shuffled, trained, order);
      ASSERT_EQ(forward.Slow(), shuffled.Slow()) << workers << " workers, round " << round;
    }
  }
}

TEST(OrderedRounds, DoNotChangeWhenAWorkersSamplesAreSplitInTwo) {
  std::mt19937_64 random(SeedOf("split samples"));
  const Flat start = RandomFlat(random, Trainer::DefaultCount());
  client::ModelDefinition whole = DeltaModel(kDiloco, 2, Reduction::kOrdered);
  whole.rounds.weighting = client::Weighting::kSamples;
  client::ModelDefinition split = DeltaModel(kDiloco, 3, Reduction::kOrdered);
  split.rounds.weighting = client::Weighting::kSamples;
  Trainer two(whole, start), three(split, start);
  for (int round = 0; round < 5; ++round) {
    const Flat a = RandomFlat(random, start.size()), b = RandomFlat(random, start.size());
    Round(two, {a, b}, {0, 1}, {96, 40});
    Round(three, {a, a, b}, {0, 1, 2}, {32, 64, 40});
    ASSERT_EQ(two.Slow(), three.Slow()) << "round " << round;
  }
}

// Runs the same rounds of three workers under two outer rules and returns how far apart the slow weights end.
double Apart(const std::string& test, const Rule& a, const Rule& b, size_t workers = 3) {
  std::mt19937_64 random(SeedOf(test));
  const Flat start = RandomFlat(random, Trainer::DefaultCount());
  Trainer first(DeltaModel(a, workers, Reduction::kRunning), start);
  Trainer second(DeltaModel(b, workers, Reduction::kRunning), start);
  for (int round = 0; round < 6; ++round) {
    const std::vector<Flat> trained = RandomWorkers(random, workers);
    Round(first, trained, InOrder(workers));
    Round(second, trained, InOrder(workers));
  }
  return RelativeDifference(first.Slow(), second.Slow());
}

TEST(OuterRules, NesterovWithoutMomentumIsTheAverage) {
  EXPECT_LT(
      Apart("nesterov, mu = 0", {"nesterov", {{"lr", 0.6}, {"momentum", 0}}}, {"average", {{"alpha", 0.6}}}),
      1e-5);
}

TEST(OuterRules, HeavyBallWithoutMomentumIsTheAverage) {
  EXPECT_LT(
      Apart("heavy ball, mu = 0", {"heavy_ball", {{"lr", 0.6}, {"momentum", 0}}}, {"average", {{"alpha", 0.6}}}),
      1e-5);
}

TEST(OuterRules, LookaheadOfOneWorkerIsOuterSgdWithRateAlpha) {
  EXPECT_LT(Apart("lookahead", {"lookahead", {{"alpha", 0.4}}}, {"average", {{"alpha", 0.4}}}, 1), 1e-5);
}

TEST(OuterRules, AverageWithRateOneIsFederatedAveraging) {
  std::mt19937_64 random(SeedOf("federated averaging"));
  const Flat start = RandomFlat(random, Trainer::DefaultCount());
  Trainer trainer(DeltaModel({"average", {{"alpha", 1}}}, 3, Reduction::kRunning), start);
  for (int round = 0; round < 4; ++round) {
    const std::vector<Flat> trained = RandomWorkers(random, 3);
    Round(trainer, trained, InOrder(3));
    Flat mean(start.size());
    for (size_t i = 0; i < mean.size(); ++i)
      mean[i] = (double{trained[0][i]} + trained[1][i] + trained[2][i]) / 3;
    EXPECT_LT(RelativeDifference(trainer.Slow(), mean), 1e-5) << "round " << round;
  }
}

}  // namespace
}  // namespace stepback::property
