// Regularised nonlinear acceleration: the published oracles of algorithms.md 6, what its equations promise
// (invariant 31), and the iterates as part of a model's state.
#include "server/core/extrapolation.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <numeric>

#include "server/base/errors.h"
#include "server/base/pool.h"
#include "server/core/averages.h"
#include "tests/fakes/device_backend.h"
#include "tests/support/thread_executor.h"
#include "tests/unit/core_support.h"

namespace stepback {
namespace {

using namespace core_test;  // NOLINT(build/namespaces)
using ::testing::DoubleNear;
using ::testing::ElementsAre;

using Vector = std::vector<double>;

// R'R of consecutive differences, in fp64.
Vector ProductsOf(const std::vector<Vector>& iterates) {
  const size_t k = iterates.size() - 1;
  Vector products(k * k);
  for (size_t a = 0; a < k; ++a) {
    for (size_t b = 0; b < k; ++b) {
      for (size_t i = 0; i < iterates[0].size(); ++i) {
        products[a * k + b] += (iterates[a + 1][i] - iterates[a][i]) * (iterates[b + 1][i] - iterates[b][i]);
      }
    }
  }
  return products;
}

Vector Combine(const Vector& weights, const std::vector<Vector>& iterates, size_t from) {
  Vector sum(iterates[0].size());
  for (size_t j = 0; j < weights.size(); ++j) {
    for (size_t i = 0; i < sum.size(); ++i) sum[i] += weights[j] * iterates[from + j][i];
  }
  return sum;
}

// Gradient descent at rate 0.5 on f(x) = (x_1^2 + 0.1 x_2^2) / 2 from (1, 1): x_0 .. x_3.
std::vector<Vector> OracleIterates() {
  std::vector<Vector> iterates = {{1, 1}};
  for (int step = 0; step < 3; ++step)
    iterates.push_back({iterates.back()[0] * 0.5, iterates.back()[1] * 0.95});
  return iterates;
}

// --- the published oracles ---

TEST(Extrapolation, GivesThePublishedWeights) {
  const Vector products = ProductsOf(OracleIterates());
  EXPECT_THAT(ExtrapolationWeights(products, 1e-3),
              ElementsAre(DoubleNear(-0.4766561032, 1e-9), DoubleNear(0.4362079412, 1e-9),
                          DoubleNear(1.040448162, 1e-9)));
  const Vector weights = ExtrapolationWeights(products, 1e-1);
  EXPECT_THAT(weights, ElementsAre(DoubleNear(-0.2392815223, 1e-9), DoubleNear(0.4472491109, 1e-9),
                                   DoubleNear(0.7920324115, 1e-9)));
  EXPECT_THAT(Combine(weights, OracleIterates(), 1),
              ElementsAre(DoubleNear(0.0911756, 1e-6), DoubleNear(0.855394, 1e-6)));
}

TEST(Extrapolation, FindsTheMinimumWithoutRegularisation) {
  const Vector weights = ExtrapolationWeights(ProductsOf(OracleIterates()), 1e-12);
  EXPECT_THAT(weights, ElementsAre(DoubleNear(19, 0.01), DoubleNear(-58, 0.03), DoubleNear(40, 0.02)));
  for (const size_t from : {0, 1}) {
    for (const double x : Combine(weights, OracleIterates(), from)) EXPECT_LT(std::abs(x), 1.5e-4);
  }
}

TEST(Extrapolation, IsTheMeanUnderInfiniteRegularisation) {
  EXPECT_THAT(ExtrapolationWeights(ProductsOf(OracleIterates()), 1e6),
              ElementsAre(DoubleNear(1.0 / 3, 1e-6), DoubleNear(1.0 / 3, 1e-6), DoubleNear(1.0 / 3, 1e-6)));
  EXPECT_THAT(ExtrapolationWeights(Vector(9, 0.0), 1e-5), ElementsAre(1.0 / 3, 1.0 / 3, 1.0 / 3))
      << "iterates that do not move";
}

// --- invariant 31 ---

std::vector<Vector> RandomIterates(std::mt19937_64* random, size_t count, size_t elements) {
  std::normal_distribution<double> normal;
  std::vector<Vector> iterates(count, Vector(elements));
  for (Vector& iterate : iterates) {
    for (double& x : iterate) x = normal(*random);
  }
  return iterates;
}

TEST(Extrapolation, HasWeightsOfSumOneThatSolveTheSystem) {
  SCOPED_TRACE(fmt::format("seed {}", Seed()));
  std::mt19937_64 random(Seed());
  for (size_t count = 3; count <= 10; ++count) {
    const size_t k = count - 1;
    const Vector products = ProductsOf(RandomIterates(&random, count, 20));
    const double lambda = std::pow(10.0, -static_cast<double>(count));
    const Vector weights = ExtrapolationWeights(products, lambda);
    EXPECT_NEAR(std::accumulate(weights.begin(), weights.end(), 0.0), 1, 1e-12);
    // Power iteration gives |G| a second time; (G / |G| + lambda I) c must then be the same in every row.
    Vector v(k, 1.0), next(k);
    double norm = 0;
    for (int i = 0; i < 20'000; ++i) {
      for (size_t a = 0; a < k; ++a)
        next[a] = std::inner_product(v.begin(), v.end(), products.data() + a * k, 0.0);
      norm = std::sqrt(std::inner_product(next.begin(), next.end(), next.begin(), 0.0));
      for (size_t a = 0; a < k; ++a) v[a] = next[a] / norm;
    }
    Vector rows(k);
    for (size_t a = 0; a < k; ++a) {
      rows[a] = std::inner_product(weights.begin(), weights.end(), products.data() + a * k, 0.0) / norm +
                lambda * weights[a];
    }
    for (const double row : rows) EXPECT_NEAR(row / rows[0], 1, 1e-6) << count << " iterates";
  }
}

TEST(Extrapolation, IsExactOnQuadraticsWithFewDistinctEigenvalues) {
  SCOPED_TRACE(fmt::format("seed {}", Seed()));
  std::mt19937_64 random(Seed());
  const double curvatures[] = {1, 0.6, 0.25};
  std::vector<Vector> iterates = RandomIterates(&random, 1, 30);
  for (int step = 0; step < 4; ++step) {
    Vector next = iterates.back();
    for (size_t i = 0; i < next.size(); ++i) next[i] *= 1 - 0.9 * curvatures[i % 3];
    iterates.push_back(next);
  }
  for (const double x : Combine(ExtrapolationWeights(ProductsOf(iterates), 1e-14), iterates, 1)) {
    EXPECT_LT(std::abs(x), 1e-5);
  }
}

// --- as the average of a model ---

ModelSpec RnaSpec(uint64_t elements, std::map<std::string, double> values) {
  ModelSpec spec = DeltaSpec(elements);
  spec.averages = {{"rna", Rule("rna", std::move(values))}};
  return spec;
}

Vector Served(const ModelVersion& version, size_t tensor = 0) {
  Vector sum(version.layout->tensors()[tensor].elements);
  for (const ShownTerm& term : ShownTerms(version, 0)) {
    const Floats values = Read(version, term.array, tensor);
    for (size_t i = 0; i < sum.size(); ++i) sum[i] += term.weight * values[i];
  }
  return sum;
}

const Iterates& IteratesOf(const TestModel& model) { return model.version().averages[0].iterates; }

TEST(Extrapolation, OfAModelIsTheOracle) {
  for (const double first : {0.0, 1.0}) {
    TestModel model(RnaSpec(2, {{"regularization", 1e-1}, {"first", first}}), OneTensor({1, 1}));
    model.Join("a");
    for (int step = 0; step < 3; ++step) {
      const Floats phi = model.Phi();
      const Vector now(phi.begin(), phi.end());
      if (step < 2) EXPECT_EQ(Served(model.version()), now) << "below three iterates: the slow weights";
      model.Apply("a", OneTensor({phi[0] * 0.5f, phi[1] * 0.05f}));
    }
    const Vector exact = Combine(ExtrapolationWeights(ProductsOf(OracleIterates()), 1e-1), OracleIterates(),
                                 first == 1 ? 0 : 1);
    EXPECT_NEAR(Served(model.version())[0], exact[0], 1e-6);
    EXPECT_NEAR(Served(model.version())[1], exact[1], 1e-6);
  }
}

TEST(Extrapolation, KeepsTheLastIteratesAsTheVersionsHadThem) {
  TestModel model(RnaSpec(5, {{"memory", 4}}), OneTensor({1, 2, 3, 4, 5}));
  model.Join("a");
  std::mt19937_64 random(Seed());
  std::vector<Array> phis = {model.version().phi};
  for (int step = 0; step < 9; ++step) {
    model.Apply("a", OneTensor(RandomFloats(&random, 5)));
    phis.push_back(model.version().phi);
    const size_t kept = std::min<size_t>(phis.size(), 4);
    EXPECT_EQ(IteratesOf(model).arrays,
              std::vector<Array>(phis.end() - static_cast<ptrdiff_t>(kept), phis.end()));
    std::vector<Vector> iterates;
    for (const Array& array : IteratesOf(model).arrays) {
      const Floats values = Read(model.version(), array, 0);
      iterates.emplace_back(values.begin(), values.end());
    }
    const Vector exact = ProductsOf(iterates);
    ASSERT_EQ(IteratesOf(model).products.size(), exact.size());
    for (size_t i = 0; i < exact.size(); ++i) EXPECT_NEAR(IteratesOf(model).products[i], exact[i], 1e-12);
  }
}

// Adding a constant to every iterate changes no residual.
TEST(Extrapolation, ShiftsWithItsIterates) {
  const auto served = [](float shift) {
    TestModel model(RnaSpec(2, {}), OneTensor({1 + shift, 1 + shift}));
    model.Join("a");
    for (const float x : {0.5f, 0.25f, 0.125f}) model.Apply("a", OneTensor({x, x * x}));
    return Served(model.version());
  };
  const Vector plain = served(0), shifted = served(64);
  for (size_t i = 0; i < 2; ++i) EXPECT_NEAR(shifted[i], plain[i] + 64, 1e-9);
}

// The products are sums over many tasks; carried and frozen tensors may hold anything.
TEST(Extrapolation, HasTheSameProductsOnAnyThreadsAndOnADevice) {
  constexpr uint64_t kElements = 200'003;
  const std::string name = "m";
  ModelSpec spec = RnaSpec(kElements, {});
  spec.tensors.push_back({"bytes", {100}, DataType::kI64, Role::kCarried});
  spec.tensors.push_back(Trained("b", {7}));
  const auto run = [&](kernels::Backend* backend, kernels::Executor* executor) {
    std::mt19937_64 random(Seed());
    const std::string bytes(800, '\xff');
    const PushData weights = {
        {RandomFloats(&random, kElements)}, {.bytes = bytes}, {RandomFloats(&random, 7)}};
    auto arena = Arena(kernels::MakeCpuBackend().get(), spec, weights);
    auto start = backend->Allocate(arena->bytes());
    EXPECT_EQ(backend->Upload(start.get(), 0, arena->host(), arena->bytes()), kernels::Status::kOk);
    const Model::Environment environment{backend, executor};
    Iterates iterates;
    const auto runs = AverageRuns(**Layout::Make(spec.tensors));
    for (int step = 0; step < 4; ++step) {
      std::shared_ptr<kernels::Buffer> next = backend->Allocate(arena->bytes());
      for (const kernels::AverageRun& numbers : runs) {
        for (uint64_t i = 0; numbers.numbers && i < numbers.count; ++i) {
          arena->host_floats()[numbers.begin + i] *= 0.9f - 0.0001f * static_cast<float>(i % 100);
        }
      }
      EXPECT_EQ(backend->Upload(next.get(), 0, arena->host(), arena->bytes()), kernels::Status::kOk);
      EXPECT_TRUE(IterateKeeper(environment, name, runs, 10, &iterates).Add(next).ok());
    }
    return iterates.products;
  };
  const auto cpu = kernels::MakeCpuBackend();
  DeviceBackend device(cpu.get());
  kernels::InlineExecutor one;
  testing::ThreadExecutor eight(8);
  const Vector expected = run(cpu.get(), &one);
  EXPECT_EQ(expected.size(), 9u);
  for (const double product : expected) EXPECT_TRUE(std::isfinite(product));
  EXPECT_EQ(run(cpu.get(), &eight), expected);
  EXPECT_EQ(run(&device, &one), expected);
  device.FailDownloads(true);
  const Model::Environment environment{&device, &one};
  Iterates iterates;
  const auto runs = AverageRuns(**Layout::Make(spec.tensors));
  const Array array = device.Allocate((*Layout::Make(spec.tensors))->arena_floats() * sizeof(float));
  IterateKeeper keeper(environment, name, runs, 10, &iterates);
  EXPECT_TRUE(keeper.Add(array).ok()) << "alone it has no residual";
  EXPECT_EQ(ReasonOf(keeper.Add(array)), "DEVICE_ERROR");
}

TEST(Extrapolation, ContinuesFromAnImageAsIfNeverStopped) {
  for (const int stop : {1, 3, 8}) {
    std::mt19937_64 random(Seed());
    const ModelSpec spec = RnaSpec(6, {{"memory", 5}, {"regularization", 1e-2}});
    std::vector<Floats> deltas;
    for (int step = 0; step < 12; ++step) deltas.push_back(RandomFloats(&random, 6));
    TestModel straight(spec, OneTensor(Floats(6, 1))), first(spec, OneTensor(Floats(6, 1)));
    straight.Join("a");
    first.Join("a");
    for (const Floats& delta : deltas) straight.Apply("a", OneTensor(delta));
    for (int step = 0; step < stop; ++step) first.Apply("a", OneTensor(deltas[step]));
    auto image = std::make_shared<ModelVersion>(*first->current());
    image->averages[0].iterates.weights.clear();  // not part of the state
    TestModel second(image, 2);
    EXPECT_EQ(IteratesOf(second).weights, IteratesOf(first).weights);
    second.sequences = first.sequences;
    second.Join("a");
    for (int step = stop; step < 12; ++step) second.Apply("a", OneTensor(deltas[step]));
    EXPECT_EQ(StateBits(second.version()), StateBits(straight.version()));
    EXPECT_EQ(Served(second.version()), Served(straight.version()));
  }
}

TEST(Extrapolation, FollowsItsHyperparametersWhileTheModelRuns) {
  TestModel model(RnaSpec(2, {{"regularization", 1e-1}}), OneTensor({1, 1}));
  model.Join("a");
  for (int step = 0; step < 3; ++step) {
    const Floats phi = model.Phi();
    model.Apply("a", OneTensor({phi[0] * 0.5f, phi[1] * 0.05f}));
  }
  ASSERT_TRUE(model->Update({{"averages.rna.regularization", 1e6}}, 0).ok());
  for (const double weight : IteratesOf(model).weights) EXPECT_NEAR(weight, 1.0 / 3, 1e-5);
  ASSERT_TRUE(model->Update({{"averages.rna.memory", 3}}, 0).ok());
  model.Apply("a", OneTensor({0.01f, 0.01f}));
  EXPECT_EQ(IteratesOf(model).arrays.size(), 3u);
  EXPECT_EQ(IteratesOf(model).products.size(), 4u);
  EXPECT_EQ(model->Update({{"averages.rna.memory", 2}}, 0).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(model->Update({{"averages.rna.memory", 11}}, 0).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(Extrapolation, OfAnImageMustFitItself) {
  TestModel model(RnaSpec(2, {}), OneTensor({1, 1}));
  model.Join("a");
  for (int step = 0; step < 3; ++step) model.Apply("a", OneTensor({0.5f, 0.25f}));
  const auto refused = [&](const std::function<void(AverageState*)>& change) {
    auto image = std::make_shared<ModelVersion>(model.version());
    change(&image->averages[0]);
    const auto backend = kernels::MakeCpuBackend();
    kernels::InlineExecutor executor;
    return ReasonOf(Model::FromImage(image, 2, {backend.get(), &executor}).status()) == "LAYOUT_MISMATCH";
  };
  EXPECT_FALSE(refused([](AverageState*) {}));
  EXPECT_TRUE(refused([](AverageState* a) { a->iterates.products.pop_back(); }));
  EXPECT_TRUE(refused([](AverageState* a) { a->iterates.arrays.pop_back(); }));
  EXPECT_TRUE(refused([](AverageState* a) { a->iterates.arrays[1] = nullptr; }));
  EXPECT_TRUE(
      refused([](AverageState* a) { a->iterates.arrays[1] = kernels::MakeCpuBackend()->Allocate(4); }));
  EXPECT_TRUE(refused([](AverageState* a) { a->samples = 0; }));
  EXPECT_TRUE(refused([](AverageState* a) { a->iterates.deltas = a->iterates.arrays; }));
  EXPECT_TRUE(refused([](AverageState* a) { a->value = a->iterates.arrays[0]; }));
}

// --- the online form ---

// Its definition: iterates theta_i = phi_{i-1} - delta_i, residuals delta_i, whatever the outer rule makes of
// them.
TEST(OnlineExtrapolation, CombinesTheLastWeightsOfEveryIntervalByItsDeltas) {
  SCOPED_TRACE(fmt::format("seed {}", Seed()));
  for (const bool gradient : {false, true}) {
    std::mt19937_64 random(Seed());
    ModelSpec spec = gradient ? GradientSpec(9, Rule("sgd", {{"lr", 0.1}}), Rule("nesterov"), 2)
                              : DeltaSpec(9, Rule("nesterov"));
    spec.tensors.push_back({"mean", {3}, DataType::kF32, Role::kAveraged});
    spec.tensors.push_back({"steps", {3}, DataType::kI64, Role::kCarried});
    spec.averages = {{"online", Rule("online_rna", {{"memory", 4}, {"regularization", 1e-2}})}};
    TestModel model(spec, {{Floats(9, 1)}, {Floats(3, 2)}, {.bytes = std::string(24, '\xff')}});
    model.Join("a");
    const auto both = [&](const auto& read) {
      Vector all;
      for (const size_t tensor : {0, 1}) {
        for (const double x : read(tensor)) all.push_back(x);
      }
      return all;
    };
    std::vector<Vector> bases, deltas;
    for (int sync = 0; sync < 7; ++sync) {
      bases.push_back(both([&](size_t tensor) { return model.Phi(tensor); }));
      deltas.emplace_back(12, 0.0);
      for (int step = 0; step < (gradient ? 2 : 1); ++step) {
        const PushData push = {
            {RandomFloats(&random, 9)}, {RandomFloats(&random, 3)}, {.bytes = std::string(24, '\xee')}};
        model.Apply("a", push);
        for (size_t i = 0; i < 9; ++i) deltas.back()[i] += (gradient ? 0.1 : 1) * push[0].floats[i];
        for (size_t i = 0; i < 3; ++i) deltas.back()[9 + i] += push[1].floats[i];
      }
      const Vector served = both([&](size_t tensor) { return Served(model.version(), tensor); });
      const size_t kept = std::min<size_t>(bases.size(), 4), from = bases.size() - kept;
      ASSERT_EQ(IteratesOf(model).deltas.size(), kept);
      if (kept == 1) {
        EXPECT_EQ(served, both([&](size_t tensor) { return model.Phi(tensor); })) << "nothing to extrapolate";
        continue;
      }
      Vector products(kept * kept), expected(12);
      for (size_t a = 0; a < kept; ++a) {
        const Vector& row = deltas[from + a];
        for (size_t b = 0; b < kept; ++b) {
          products[a * kept + b] = std::inner_product(row.begin(), row.end(), deltas[from + b].begin(), 0.0);
        }
      }
      const Vector weights = ExtrapolationWeights(products, 1e-2);
      for (size_t j = 0; j < kept; ++j) {
        for (size_t i = 0; i < 12; ++i)
          expected[i] += weights[j] * (bases[from + j][i] - deltas[from + j][i]);
      }
      for (size_t i = 0; i < 12; ++i) {
        EXPECT_NEAR(served[i], expected[i], 2e-5)
            << "gradient " << gradient << " sync " << sync << " element " << i;
      }
    }
  }
}

// Workers descend a quadratic with two curvatures: its minimum shows, whatever momentum does outside.
TEST(OnlineExtrapolation, FindsTheMinimumOfAQuadraticThroughOuterMomentum) {
  ModelSpec spec = DeltaSpec(2, Rule("nesterov", {{"lr", 0.5}, {"momentum", 0.5}}));
  spec.averages = {{"online", Rule("online_rna", {{"regularization", 1e-10}})}};
  TestModel model(spec, OneTensor({1, 1}));
  model.Join("a");
  for (int round = 0; round < 4; ++round) {
    const Floats phi = model.Phi();
    model.Apply("a", OneTensor({phi[0] * 0.5f, phi[1] * 0.125f}));
  }
  for (const double x : Served(model.version())) EXPECT_LT(std::abs(x), 1e-3);
  EXPECT_GT(std::abs(model.Phi()[1]), 0.1) << "the slow weights are far from there";
}

TEST(OnlineExtrapolation, ContinuesFromAnImageAndCostsTwoArraysAnInterval) {
  constexpr uint64_t kElements = 50'000;
  std::mt19937_64 random(Seed());
  ModelSpec spec = DeltaSpec(kElements);
  spec.averages = {{"online", Rule("online_rna", {{"memory", 3}})}};
  std::vector<Floats> deltas;
  for (int step = 0; step < 8; ++step) deltas.push_back(RandomFloats(&random, kElements));
  TestModel straight(spec, OneTensor(Floats(kElements, 1))), first(spec, OneTensor(Floats(kElements, 1)));
  straight.Join("a");
  first.Join("a");
  for (const Floats& delta : deltas) straight.Apply("a", OneTensor(delta));
  for (int step = 0; step < 5; ++step) first.Apply("a", OneTensor(deltas[step]));
  EXPECT_GE(first->state_bytes(), 7 * 4 * kElements) << "phi, and three times a base and a delta";
  EXPECT_LE(first->state_bytes(), 7.2 * 4 * kElements);
  TestModel second(first->current(), 2);
  second.sequences = first.sequences;
  second.Join("a");
  for (int step = 5; step < 8; ++step) second.Apply("a", OneTensor(deltas[step]));
  EXPECT_EQ(StateBits(second.version()), StateBits(straight.version()));
}

TEST(Extrapolation, CostsItsIteratesAndNoMore) {
  constexpr uint64_t kElements = 100'000;
  BufferPool pool;
  const auto backend = kernels::MakeCpuBackend("", &pool);
  TestModel model(RnaSpec(kElements, {{"memory", 4}}), OneTensor(Floats(kElements, 1)),
                  {.backend = backend.get()});
  model.Join("a");
  for (int round = 0; round < 8; ++round) model.Apply("a", OneTensor(Floats(kElements, 0.1f)));
  const uint64_t array = 4 * kElements;
  EXPECT_GE(model->state_bytes(), 4 * array) << "phi is one of the four";
  EXPECT_LE(model->state_bytes(), 4.2 * array);
  EXPECT_LE(pool.stats().peak_bytes, 1.2 * 6 * array) << "four iterates, the sum and what is on its way out";
}

}  // namespace
}  // namespace stepback
