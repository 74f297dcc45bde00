// The averages of a model: what they sample and when, what they survive, what they cost. The reference is the
// definition over every slow weight that the model ever had, in fp64.
#include "server/core/averages.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "server/base/errors.h"
#include "server/base/pool.h"
#include "tests/unit/core_support.h"

namespace stepback {
namespace {

using namespace core_test;  // NOLINT(build/namespaces)
using testing::ElementsAre;
using testing::HasSubstr;

constexpr size_t kCount = 37;  // no multiple of anything

Floats Served(const ModelVersion& version, size_t average, size_t tensor = 0) {
  const std::vector<ShownTerm> terms = ShownTerms(version, average);
  EXPECT_EQ(terms.size(), 1u);
  EXPECT_EQ(terms[0].weight, 1);
  return Read(version, terms[0].array, tensor);
}

using Vector = std::vector<double>;

// The definitions over `history`, which starts with the initial weights.
Vector EmaOf(const std::vector<Floats>& history, double decay, bool debias) {
  Vector y(history[0].size());
  if (!debias) y.assign(history[0].begin(), history[0].end());
  for (size_t s = 1; s < history.size(); ++s) {
    for (size_t i = 0; i < y.size(); ++i) y[i] = decay * y[i] + (1 - decay) * history[s][i];
  }
  const double seen = 1 - std::pow(decay, static_cast<double>(history.size() - 1));
  for (double& x : y) x /= debias ? seen : 1;
  return y;
}

Vector MeanOf(const std::vector<Floats>& history, size_t start, size_t period) {
  Vector sum(history[0].size());
  size_t samples = 0;
  for (size_t s = start; s < history.size(); s += period, ++samples) {
    for (size_t i = 0; i < sum.size(); ++i) sum[i] += history[s][i];
  }
  if (samples == 0) return {history.back().begin(), history.back().end()};
  for (double& x : sum) x /= static_cast<double>(samples);
  return sum;
}

void ExpectNear(const Floats& seen, const Vector& expected, const std::string& what) {
  ASSERT_EQ(seen.size(), expected.size()) << what;
  for (size_t i = 0; i < seen.size(); ++i) {
    ASSERT_NEAR(seen[i], expected[i], 2e-6 * std::max(1.0, std::abs(expected[i])))
        << what << ", element " << i;
  }
}

std::vector<AverageSpec> FourAverages() {
  return {{"ema", Rule("ema", {{"decay", 0.8}})},
          {"plain", Rule("ema", {{"decay", 0.8}, {"debias", 0}})},
          {"late", Rule("polyak", {{"start", 5}})},
          {"swa", Rule("swa", {{"start", 2}, {"period", 3}})}};
}

void ExpectFour(const ModelVersion& version, const std::vector<Floats>& history) {
  const std::string at = fmt::format("after {} syncs", history.size() - 1);
  ExpectNear(Served(version, 0), history.size() > 1 ? EmaOf(history, 0.8, true) : MeanOf(history, 9, 1), at);
  ExpectNear(Served(version, 1), EmaOf(history, 0.8, false), at);
  ExpectNear(Served(version, 2), MeanOf(history, 5, 1), at);
  ExpectNear(Served(version, 3), MeanOf(history, 2, 3), at);
}

// --- what is sampled ---

TEST(Averages, OfADeltaModelFollowTheirDefinitions) {
  SCOPED_TRACE(fmt::format("seed {}", Seed()));
  std::mt19937_64 random(Seed());
  ModelSpec spec = DeltaSpec(kCount, Rule("nesterov"));
  spec.averages = FourAverages();
  TestModel model(spec, OneTensor(RandomFloats(&random, kCount)));
  model.Join("a");
  std::vector<Floats> history = {model.Phi()};
  ExpectFour(model.version(), history);
  for (int round = 0; round < 12; ++round) {
    model.Apply("a", OneTensor(RandomFloats(&random, kCount, 0.3f)));
    history.push_back(model.Phi());
    ExpectFour(model.version(), history);
  }
}

TEST(Averages, OfAGradientModelSampleRightAfterASyncAndNeverInMidCycle) {
  SCOPED_TRACE(fmt::format("seed {}", Seed()));
  std::mt19937_64 random(Seed());
  ModelSpec spec = GradientSpec(kCount, Rule("sgd", {{"lr", 0.1}, {"momentum", 0.9}}), Rule("lookahead"), 3);
  spec.averages = FourAverages();
  TestModel model(spec, OneTensor(RandomFloats(&random, kCount)));
  model.Join("a");
  std::vector<Floats> history = {model.Phi()};
  for (int step = 1; step <= 24; ++step) {
    const std::vector<AverageState> before = model.version().averages;
    model.Apply("a", OneTensor(RandomFloats(&random, kCount)));
    if (step % 3 == 0) {
      history.push_back(model.Phi());
    } else {
      for (size_t i = 0; i < 4; ++i) EXPECT_EQ(model.version().averages[i].value, before[i].value);
    }
    ExpectFour(model.version(), history);
  }
}

TEST(Averages, OfAModelWithoutAnOuterRuleSampleEveryStep) {
  SCOPED_TRACE(fmt::format("seed {}", Seed()));
  std::mt19937_64 random(Seed());
  ModelSpec spec = GradientSpec(kCount, Rule("sgd", {{"lr", 0.1}}), Rule("none"), 3);
  spec.averages = FourAverages();
  TestModel model(spec, OneTensor(RandomFloats(&random, kCount)));
  model.Join("a");
  std::vector<Floats> history = {model.Phi()};
  for (int step = 0; step < 9; ++step) {
    model.Apply("a", OneTensor(RandomFloats(&random, kCount)));
    history.push_back(model.Theta());
    ExpectFour(model.version(), history);
  }
}

TEST(Averages, ThatTakeNoSampleShareTheirArrayWithTheVersionBefore) {
  ModelSpec spec = DeltaSpec(2);
  spec.averages = {{"swa", Rule("swa", {{"start", 2}, {"period", 2}})}};
  TestModel model(spec, OneTensor({8, 16}));
  model.Join("a");
  model.Apply("a", OneTensor({1, 1}));
  EXPECT_EQ(model.version().averages[0].value, nullptr) << "no sample yet, no memory";
  EXPECT_THAT(Served(model.version(), 0), ElementsAre(7, 15)) << "the slow weights themselves";
  model.Apply("a", OneTensor({1, 1}));
  const Array first = model.version().averages[0].value;
  EXPECT_THAT(Served(model.version(), 0), ElementsAre(6, 14));
  model.Apply("a", OneTensor({1, 1}));
  EXPECT_EQ(model.version().averages[0].value, first);
  model.Apply("a", OneTensor({1, 1}));
  EXPECT_NE(model.version().averages[0].value, first);
  EXPECT_THAT(Served(model.version(), 0), ElementsAre(5, 13)) << "the mean of 6 and 4, 14 and 12";
}

// BatchNorm statistics are averaged too; counters and frozen tables are not numbers, whatever they hold.
TEST(Averages, TakeNumbersAndLeaveBytesAlone) {
  const float inf = std::numeric_limits<float>::infinity();
  ModelSpec spec = DeltaSpec(3);
  spec.tensors.push_back({"steps", {3}, DataType::kI64, Role::kCarried});
  spec.tensors.push_back({"mean", {2}, DataType::kF32, Role::kAveraged});
  spec.tensors.push_back({"mask", {2}, DataType::kF32, Role::kFrozen});
  spec.averages = {{"mean", Rule("polyak")}};
  TestModel model(spec, {{{8, 8, 8}}, {.bytes = std::string(24, '\xff')}, {{0, 4}}, {{-inf, 1}}});
  model.Join("a");
  model.Apply("a", {{{1, 2, 3}}, {.bytes = std::string(24, 'b')}, {{-2, 0}}, {}});
  model.Apply("a", {{{1, 2, 3}}, {.bytes = std::string(24, '\x7f')}, {{-2, 0}}, {}});
  EXPECT_THAT(Served(model.version(), 0, 0), ElementsAre(6.5f, 5, 3.5f));
  EXPECT_THAT(Served(model.version(), 0, 2), ElementsAre(3, 4));
  EXPECT_THAT(Served(model.version(), 0, 3), ElementsAre(-inf, 1));
  EXPECT_EQ(ReadRaw(model.version(), model.version().averages[0].value, 1), std::string(24, '\x7f'));
}

// A tensor that nobody sent keeps its weights, and these are what is sampled.
TEST(Averages, SampleTensorsThatWereNotSentAsTheyAre) {
  ModelSpec spec = DeltaSpec(1);
  spec.tensors.push_back(Trained("b", {1}));
  spec.averages = {{"mean", Rule("polyak")}};
  TestModel model(spec, {{{10}}, {{20}}});
  model.Join("a");
  model.Apply("a", {{{2}}, {{4}}});
  model.Apply("a", {{{2}}, {.present = false}});
  EXPECT_THAT(Served(model.version(), 0, 0), ElementsAre(7));
  EXPECT_THAT(Served(model.version(), 0, 1), ElementsAre(16));
}

// algorithms.md 6: phi_s of set P1 is an AR(1) process; its mean over 50 syncs and its EMA have these
// variances.
TEST(Averages, HaveTheVariancesOfTheNoisyQuadraticModel) {
  constexpr size_t kReplicas = 4096;
  SCOPED_TRACE(fmt::format("seed {}", Seed()));
  std::mt19937_64 random(Seed());
  ModelSpec spec = GradientSpec(kReplicas, Rule("sgd", {{"lr", 0.1}}), Rule("lookahead"), 5);
  spec.averages = {{"mean", Rule("polyak", {{"start", 101}})},
                   {"ema", Rule("ema", {{"decay", 0.9}, {"debias", 0}})}};
  TestModel model(spec, OneTensor(Floats(kReplicas, 1)));
  model.Join("a");
  for (int step = 0; step < 5 * 150; ++step) {
    Floats gradient = RandomFloats(&random, kReplicas);
    const Floats theta = model.Theta();
    for (size_t i = 0; i < kReplicas; ++i) gradient[i] = theta[i] - gradient[i];
    model.Apply("a", OneTensor(gradient));
  }
  const double exact[] = {0.00373451442453, 0.00740578358831};
  for (size_t average = 0; average < 2; ++average) {
    double sum = 0, squares = 0;
    for (const float x : Served(model.version(), average)) {
      sum += x;
      squares += double{x} * x;
    }
    EXPECT_LT(std::abs(sum / kReplicas), 5 * std::sqrt(exact[average] / kReplicas));
    EXPECT_LT(std::abs(squares / kReplicas / exact[average] - 1), 5 * std::sqrt(2.0 / kReplicas))
        << spec.averages[average].name;
  }
}

// --- what they survive ---

// Invariant 21 with averages: an image, continued, is the uninterrupted run bit for bit.
TEST(Averages, ContinueFromAnImageAsIfNeverStopped) {
  SCOPED_TRACE(fmt::format("seed {}", Seed()));
  for (const int stop : {1, 4, 7}) {
    std::mt19937_64 random(Seed());
    ModelSpec spec = GradientSpec(kCount, Rule("adamw"), Rule("nesterov"), 2);
    spec.averages = FourAverages();
    const Floats start = RandomFloats(&random, kCount);
    TestModel straight(spec, OneTensor(start)), first(spec, OneTensor(start));
    straight.Join("a");
    first.Join("a");
    std::vector<Floats> gradients;
    for (int step = 0; step < 20; ++step) gradients.push_back(RandomFloats(&random, kCount));
    for (const Floats& gradient : gradients) straight.Apply("a", OneTensor(gradient));
    for (int step = 0; step < stop; ++step) first.Apply("a", OneTensor(gradients[step]));
    TestModel second(first->current(), 2);
    second.sequences = first.sequences;
    second.Join("a");
    for (int step = stop; step < 20; ++step) second.Apply("a", OneTensor(gradients[step]));
    EXPECT_EQ(StateBits(second.version()), StateBits(straight.version())) << "stopped after " << stop;
  }
}

TEST(Averages, AreAsTheSnapshotHadThemAfterARestore) {
  ModelSpec spec = DeltaSpec(2);
  spec.averages = FourAverages();
  TestModel model(spec, OneTensor({8, 16}));
  model.Join("a");
  for (int i = 0; i < 6; ++i) model.Apply("a", OneTensor({1, 2}));
  const auto image = model->current();
  for (int i = 0; i < 3; ++i) model.Apply("a", OneTensor({1, 2}));
  ASSERT_TRUE(model->Restore(image, 2).ok());
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(model.version().averages[i].value, image->averages[i].value);
    EXPECT_EQ(model.version().averages[i].samples, image->averages[i].samples);
    EXPECT_EQ(model.version().averages[i].carry[0], image->averages[i].carry[0]);
  }
}

TEST(Averages, StartAnewWithImportedWeights) {
  ModelSpec spec = DeltaSpec(2);
  spec.averages = FourAverages();
  TestModel model(spec, OneTensor({8, 16}));
  model.Join("a");
  for (int i = 0; i < 6; ++i) model.Apply("a", OneTensor({1, 2}));
  const auto backend = kernels::MakeCpuBackend();
  ASSERT_TRUE(model->Import(Arena(backend.get(), spec, OneTensor({100, 200}))).ok());
  std::vector<Floats> history = {model.Phi()};
  ExpectFour(model.version(), history);
  for (int i = 0; i < 6; ++i) {
    model.Apply("a", OneTensor({1, 2}));
    history.push_back(model.Phi());
    ExpectFour(model.version(), history);
  }
}

TEST(Averages, OfAnImageMustFitItsSpecification) {
  ModelSpec spec = DeltaSpec(2);
  spec.averages = {{"mean", Rule("polyak")}};
  TestModel model(spec, OneTensor({8, 16}));
  model.Join("a");
  model.Apply("a", OneTensor({1, 2}));
  const auto refused = [&](const std::function<void(ModelVersion*)>& change) {
    auto image = std::make_shared<ModelVersion>(model.version());
    change(image.get());
    const auto backend = kernels::MakeCpuBackend();
    kernels::InlineExecutor executor;
    const absl::Status status = Model::FromImage(image, 2, {backend.get(), &executor}).status();
    return ReasonOf(status) == "LAYOUT_MISMATCH";
  };
  EXPECT_FALSE(refused([](ModelVersion*) {}));
  EXPECT_TRUE(refused([](ModelVersion* v) { v->averages.clear(); }));
  EXPECT_TRUE(refused([](ModelVersion* v) { v->averages.resize(2); }));
  EXPECT_TRUE(refused([](ModelVersion* v) { v->averages[0].value = nullptr; }));
  EXPECT_TRUE(refused([](ModelVersion* v) { v->averages[0].samples = 0; }));
  EXPECT_TRUE(refused([](ModelVersion* v) { v->averages[0].samples = -1; }));
  EXPECT_TRUE(
      refused([](ModelVersion* v) { v->averages[0].value = kernels::MakeCpuBackend()->Allocate(4); }));
}

TEST(Averages, EnterTheStateHash) {
  const auto backend = kernels::MakeCpuBackend();
  ModelSpec spec = DeltaSpec(2);
  spec.averages = {{"ema", Rule("ema")}};
  TestModel model(spec, OneTensor({8, 16}));
  model.Join("a");
  for (int i = 0; i < 2; ++i) model.Apply("a", OneTensor({1, 2}));
  const std::string hash = *StateHash(model.version(), backend.get());
  const auto changed = [&](const std::function<void(ModelVersion*)>& change) {
    ModelVersion version = model.version();
    change(&version);
    return *StateHash(version, backend.get()) != hash;
  };
  EXPECT_FALSE(changed([](ModelVersion*) {}));
  EXPECT_TRUE(changed([](ModelVersion* v) { v->averages[0].value = v->phi; }));
  EXPECT_TRUE(changed([](ModelVersion* v) { ++v->averages[0].samples; }));
  EXPECT_TRUE(changed([](ModelVersion* v) { v->averages[0].carry[0] *= 0.5; }));
}

// --- settings, failures, memory ---

TEST(Averages, ChangeTheirHyperparametersWhileTheModelRuns) {
  ModelSpec spec = DeltaSpec(1);
  spec.averages = {{"a.b", Rule("ema", {{"decay", 0.5}, {"debias", 0}})}};
  TestModel model(spec, OneTensor({8}));
  model.Join("a");
  model.Apply("a", OneTensor({4}));
  EXPECT_THAT(Served(model.version(), 0), ElementsAre(6));
  ASSERT_TRUE(model->Update({{"averages.a.b.decay", 0}}, 0).ok());
  model.Apply("a", OneTensor({1}));
  EXPECT_THAT(Served(model.version(), 0), ElementsAre(3));
  const auto refused = [&](const std::string& path, double value) {
    const absl::Status status = model->Update({{path, value}}, 0).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << path;
    return std::string(status.message());
  };
  EXPECT_THAT(refused("averages.a.b.decay", 1), HasSubstr("expected a number in [0, 1)"));
  EXPECT_THAT(refused("averages.b.decay", 0.5), HasSubstr("names average 'b', which the model has not"));
  EXPECT_THAT(refused("averages.a.b.lr", 0.5), HasSubstr("is no hyperparameter of rule 'ema'"));
  EXPECT_THAT(refused("averages.", 0.5), HasSubstr("is no setting that can change"));
}

TEST(Averages, ThatWouldOverflowDropTheRound) {
  ModelSpec spec = DeltaSpec(1);
  spec.averages = {{"fine", Rule("ema", {{"decay", 0}})}, {"mean", Rule("polyak")}};
  TestModel model(spec, OneTensor({3e38f}));
  model.Join("a");
  model.Apply("a", OneTensor({0}));
  model.Apply("a", OneTensor({3e38f}));
  model.Apply("a", OneTensor({1.5e38f}));
  const std::string before = StateBits(model.version());
  const Effects effects = model.Apply("a", OneTensor({1.8e38f}));
  EXPECT_EQ(ReasonOf(effects.round_dropped), "NONFINITE_RESULT") << effects.round_dropped;
  EXPECT_THAT(std::string(effects.round_dropped.message()), HasSubstr("average 'mean'"));
  EXPECT_EQ(StateBits(model.version()), before);
  EXPECT_NE(model.Apply("a", OneTensor({1})).committed, nullptr) << "the model goes on";
}

TEST(Averages, CostTwoArraysEachAndAreCounted) {
  constexpr uint64_t kElements = 100'000;
  BufferPool pool;
  const auto backend = kernels::MakeCpuBackend("", &pool);
  ModelSpec spec = DeltaSpec(kElements);
  spec.averages = {{"ema", Rule("ema")}, {"mean", Rule("polyak")}};
  TestModel model(spec, OneTensor(Floats(kElements, 1)), {.backend = backend.get()});
  model.Join("a");
  const uint64_t array = 4 * kElements;
  const uint64_t plain = model->state_bytes();
  for (int round = 0; round < 5; ++round) model.Apply("a", OneTensor(Floats(kElements, 1)));
  EXPECT_GE(model->state_bytes(), plain + 2 * array);
  EXPECT_LE(pool.stats().peak_bytes, 1.2 * 6 * array) << "phi and two averages, twice";
}

}  // namespace
}  // namespace stepback
