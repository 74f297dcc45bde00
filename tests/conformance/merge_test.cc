// Outer steps that look at more than a delta: the adaptive step size of Lookahead, pushed weights, and
// gradients that are compensated for their age.
#include <cmath>

#include "kernels/contribution_norm.h"
#include "kernels/delay.h"
#include "kernels/outer/adaptive_lookahead.h"
#include "tests/conformance/backends.h"
#include "tests/conformance/reference.h"
#include "tests/conformance/trainer.h"
#include "tests/support/thread_executor.h"

namespace stepback::kernels::testing {
namespace {

using stepback::testing::ThreadExecutor;

// --- the adaptive step size ---

// A diagonal quadratic, sum a_i (x_i - optimum_i)^2 / 2, in numbers so round that fp32 holds them exactly.
struct Quadratic {
  Floats a, optimum;

  static Quadratic Random(size_t count, std::mt19937& random) {
    Quadratic q;
    for (size_t i = 0; i < count; ++i) {
      q.a.push_back(static_cast<float>(1 + random() % 64) / 16);
      q.optimum.push_back(static_cast<float>(random() % 256) / 64 - 2);
    }
    return q;
  }
  Floats GradientAt(const Floats& x) const {
    Floats g;
    for (size_t i = 0; i < a.size(); ++i) g.push_back(a[i] * (x[i] - optimum[i]));
    return g;
  }
  // Where the loss is least on the line phi - alpha d: its derivative there is linear in alpha.
  double BestAlpha(const Floats& phi, const Floats& theta) const {
    double slope = 0, bend = 0;
    for (size_t i = 0; i < a.size(); ++i) {
      const double d = double{phi[i]} - theta[i];
      slope += double{a[i]} * (double{phi[i]} - optimum[i]) * d;
      bend += double{a[i]} * d * d;
    }
    return slope / bend;
  }
};

Floats Grid(size_t count, std::mt19937& random) {
  Floats values;
  for (size_t i = 0; i < count; ++i) values.push_back(static_cast<float>(random() % 256) / 64 - 2);
  return values;
}

// RMSProp whose mean square never moves: its curvature is what the test puts there, its step g / (sqrt(a) +
// 1).
Scenario SyncOf(const Quadratic& q, const Floats& phi, const Floats& before, double lr) {
  const RuleInfo& rmsprop = *FindInnerRule("rmsprop");
  const RuleInfo& adaptive = *FindOuterRule("adaptive_lookahead");
  Scenario s;
  s.gradient = true;
  s.tensors = {{.count = q.a.size(),
                .inner_rule = rmsprop.id,
                .inner_hypers = Hypers(rmsprop, {{"lr", lr}, {"alpha", 1}, {"eps", 1}})}};
  s.outer_rule = adaptive.id;
  s.outer_hypers = Hypers(adaptive, {{"alpha", 0.5}, {"alpha_low", 0}});
  const int f32 = FindCodec("f32")->id;
  s.workers = {{.codec = f32, .weight = 1, .tensors = {Encode(f32, q.GradientAt(before))}}};
  s.Prepare();
  const auto padded = [&](Floats values) {
    values.resize(s.arena_floats());
    return values;
  };
  s.state.theta = padded(before);
  s.state.phi = padded(phi);
  s.state.inner[0] = padded(q.a);
  return s;
}

// The fast weights that the sync sees: what the same step leaves without one.
Floats ThetaOf(Backend& backend, Scenario s, size_t count) {
  InlineExecutor inline_executor;
  s.outer_rule = -1;
  s.state.phi.clear();
  Floats theta = RunOn(backend, &inline_executor, s).next.theta;
  theta.resize(count);
  return theta;
}

class Merging : public BackendTest {};
INSTANTIATE_FOR_BACKENDS(Merging);

// With the exact curvature and a gradient without noise the estimate of the optimum is the optimum.
TEST_P(Merging, AdaptiveLookaheadIsTheLineSearchOnADiagonalQuadratic) {
  size_t inside = 0;
  for (uint32_t seed = 0; seed < ScenarioCount(200); ++seed) {
    std::mt19937 random(seed);
    const size_t count = 1 + random() % 3000;
    const Quadratic q = Quadratic::Random(count, random);
    const Floats phi = Grid(count, random), before = Grid(count, random);
    const double rates[] = {0.05, 0.5, 2, 5};
    const Scenario s = SyncOf(q, phi, before, rates[seed % 4]);
    const Floats theta = ThetaOf(*backend_, s, count);
    const double best = q.BestAlpha(phi, theta);
    const Outcome outcome = RunOn(*backend_, &inline_, s);
    const double expected = std::min(std::max(best, 0.0), 1.0);
    ASSERT_NEAR(outcome.result.merge_share, expected, 1e-12) << "seed " << seed;
    inside += best > 0 && best < 1 ? 1 : 0;
    for (size_t i = 0; i < count; ++i) {
      const double at = phi[i] - expected * (double{phi[i]} - theta[i]);
      ASSERT_NEAR(outcome.next.phi[i], at, 1e-6) << "seed " << seed << " element " << i;
    }
  }
  EXPECT_GT(inside, ScenarioCount(200) / 4) << "few seeds have their minimum between the ends";
}

TEST(AdaptiveAlpha, StaysBetweenItsBounds) {
  const auto alpha = [](double numerator, double denominator) {
    const double sums[] = {numerator, denominator};
    return AdaptiveLookahead::Alpha(0.5, 0.2, sums);
  };
  EXPECT_EQ(alpha(3, 4), 0.75);
  EXPECT_EQ(alpha(1, 100), 0.2);
  EXPECT_EQ(alpha(-7, 1), 0.2);
  EXPECT_EQ(alpha(5, 1), 1);
  EXPECT_EQ(alpha(INFINITY, 1), 1);
}

TEST(AdaptiveAlpha, IsTheFixedOneWhereTheCurvatureSaysNothing) {
  const auto alpha = [](double numerator, double denominator) {
    const double sums[] = {numerator, denominator};
    return AdaptiveLookahead::Alpha(0.5, 0.2, sums);
  };
  EXPECT_EQ(alpha(1, 0), 0.5);
  EXPECT_EQ(alpha(0, 0), 0.5);
  EXPECT_EQ(alpha(1, -0.0), 0.5);
  EXPECT_EQ(alpha(1, 1e-320), 0.5);
  EXPECT_EQ(alpha(NAN, 1), 0.5);
  EXPECT_EQ(alpha(1, NAN), 0.5);
  EXPECT_EQ(alpha(INFINITY, INFINITY), 0.5);
}

TEST_P(Merging, AdaptiveLookaheadFallsBackWhereNothingMoved) {
  std::mt19937 random(5);
  const Quadratic q = Quadratic::Random(100, random);
  const Floats phi = Grid(100, random);
  const Outcome still = RunOn(*backend_, &inline_, SyncOf(q, phi, phi, 0));  // d = 0
  EXPECT_EQ(still.result.merge_share, 0.5);
  Scenario flat = SyncOf(q, phi, Grid(100, random), 1);
  flat.state.inner[0].assign(flat.state.inner[0].size(), 0.0f);  // no curvature anywhere
  EXPECT_EQ(RunOn(*backend_, &inline_, flat).result.merge_share, 0.5);
}

// One share for the whole model, from the tensors that have a gradient; the others follow it.
TEST_P(Merging, AdaptiveLookaheadMergesTensorsWithoutAGradientByTheSameShare) {
  std::mt19937 random(6);
  const Quadratic q = Quadratic::Random(64, random);
  Scenario s = SyncOf(q, Grid(64, random), Grid(64, random), 0.5);
  const double alone = RunOn(*backend_, &inline_, s).result.merge_share;
  s.tensors.push_back(s.tensors[0]);
  s.tensors[1].action = TensorAction::kKeep;
  s.workers[0].tensors.emplace_back();
  s.Prepare();
  for (Floats* array : {&s.state.theta, &s.state.phi, &s.state.inner[0]}) {
    const Floats first = *array;
    array->insert(array->end(), first.begin(), first.end());
  }
  const Outcome both = RunOn(*backend_, &inline_, s);
  EXPECT_EQ(both.result.merge_share, alone);
  ASSERT_GT(alone, 0);
  const auto share = static_cast<float>(alone);
  for (size_t i = 64; i < 128; ++i)
    EXPECT_EQ(both.next.phi[i], Lerp(s.state.phi[i], s.state.theta[i], share));
}

// --- pushed weights ---

Scenario WeightsOf(const Floats& phi, const Floats& theta, double alpha, TensorAction action) {
  Scenario s;
  s.weights = true;
  s.input = Input::kStaged;
  s.tensors = {{.count = phi.size(), .action = action}};
  s.outer_rule = FindOuterRule("fed_async")->id;
  s.outer_hypers = {alpha};
  const int f32 = FindCodec("f32")->id;
  s.workers = {{.codec = f32, .weight = 1, .tensors = {Encode(f32, theta)}}};
  s.Prepare();
  s.state.phi = phi;
  s.state.phi.resize(s.arena_floats());
  return s;
}

Floats Normal(size_t count, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  Floats values(count);
  for (float& x : values) x = normal(random);
  return values;
}

TEST_P(Merging, PushedWeightsMixWithThoseOfTheMoment) {
  const Floats phi = Normal(1500, 1), theta = Normal(1500, 2);
  for (const TensorAction action : {TensorAction::kTrained, TensorAction::kAveraged}) {
    const Outcome outcome = RunOn(*backend_, &inline_, WeightsOf(phi, theta, 0.3, action));
    for (size_t i = 0; i < phi.size(); ++i) {
      EXPECT_NEAR(outcome.next.phi[i], 0.7 * phi[i] + 0.3 * theta[i], 1e-6);
      EXPECT_EQ(outcome.delta[i], phi[i] - theta[i]);
    }
  }
}

// A lookahead that syncs from the same weights: the same arithmetic, so the same bits.
TEST_P(Merging, PushedWeightsMoveAsASyncDoes) {
  const Floats phi = Normal(700, 3), theta = Normal(700, 4);
  for (const double alpha : {0.0, 0.3, 0.5, 0.9, 1.0}) {
    Trainer lookahead(*backend_, *FindOuterRule("lookahead"), {alpha}, phi);
    lookahead.Merge(theta);
    Floats mixed = RunOn(*backend_, &inline_, WeightsOf(phi, theta, alpha, TensorAction::kTrained)).next.phi;
    mixed.resize(phi.size());
    EXPECT_EQ(mixed, lookahead.weights()) << alpha;
    if (alpha == 1) {
      EXPECT_EQ(mixed, theta);
    }
    if (alpha == 0) {
      EXPECT_EQ(mixed, phi);
    }
  }
}

TEST_P(Merging, PushedWeightsHaveTheNormOfTheWayToThem) {
  const Outcome outcome =
      RunOn(*backend_, &inline_, WeightsOf(Floats(16, 3.0f), Floats(16, 1.0f), 0.5, TensorAction::kTrained));
  EXPECT_EQ(outcome.result.input_sq, 64);
  EXPECT_EQ(outcome.result.weight_sq, 64);
}

// --- compensation for age ---

Scenario AgedSgd(const Floats& theta, const Floats& base, const Floats& g, float lambda) {
  const RuleInfo& sgd = *FindInnerRule("sgd");
  Scenario s;
  s.gradient = true;
  s.input = Input::kStaged;
  s.tensors = {{.count = theta.size(), .inner_rule = sgd.id, .inner_hypers = Hypers(sgd, {{"lr", 1}})}};
  const int f32 = FindCodec("f32")->id;
  s.workers = {{.codec = f32, .weight = 1, .tensors = {Encode(f32, g)}}};
  s.Prepare();
  const auto padded = [&](Floats values) {
    values.resize(s.arena_floats());
    return values;
  };
  s.state.theta = padded(theta);
  if (!base.empty()) s.base = padded(base);
  s.delay_lambda = lambda;
  return s;
}

// f(x) = ln cosh x has f' = tanh x and f'' = 1 - tanh^2 x; for losses whose curvature is the square of the
// gradient, f(x) = -ln(1 - x) with f' = 1 / (1 - x), f'' = f'^2, a compensated gradient is the Taylor
// expansion to first order with lambda = 1.
TEST_P(Merging, CompensationIsTheFirstOrderTermWhereTheCurvatureIsTheSquare) {
  const Floats base(50, 0.25f), now(50, 0.2575f);
  const Floats g(50, 1 / (1 - 0.25f));
  const Outcome outcome = RunOn(*backend_, &inline_, AgedSgd(now, base, g, 1));
  const double exact = 1 / (1 - double{0.2575f});
  const double used = double{now[0]} - outcome.next.theta[0];
  EXPECT_NEAR(used, exact, 2e-4);
  EXPECT_GT(std::abs(g[0] - exact), 1e-2) << "the stale gradient is far from it";
}

TEST_P(Merging, CompensationFollowsItsFormula) {
  const Floats now = Normal(1100, 1), base = Normal(1100, 2), g = Normal(1100, 3);
  const Outcome outcome = RunOn(*backend_, &inline_, AgedSgd(now, base, g, 0.5f));
  for (size_t i = 0; i < now.size(); ++i) {
    const double compensated = g[i] + 0.5 * g[i] * g[i] * (double{now[i]} - base[i]);
    EXPECT_NEAR(outcome.next.theta[i], now[i] - compensated, 2e-6 * (1 + std::abs(compensated)));
  }
}

TEST_P(Merging, CompensationOfAFreshGradientIsNone) {
  const Floats now = Normal(1100, 1), g = Normal(1100, 3);
  const Outcome plain = RunOn(*backend_, &inline_, AgedSgd(now, {}, g, 0));
  EXPECT_EQ(DifferenceOf(RunOn(*backend_, &inline_, AgedSgd(now, now, g, 0.5f)), plain), "");
  EXPECT_EQ(DifferenceOf(RunOn(*backend_, &inline_, AgedSgd(now, Normal(1100, 2), g, 0)), plain), "");
}

// Clipping comes after: the bound holds for what the rule gets.
TEST_P(Merging, CompensatedGradientsAreClippedAfterwards) {
  Scenario s = AgedSgd(Floats(64, 1.0f), Floats(64, 0.0f), Floats(64, 2.0f), 1);  // 2 + 4 = 6
  s.clip = {.value = 5, .global_norm = 8};                                        // 5 x 8, cut to 8
  const Outcome outcome = RunOn(*backend_, &inline_, s);
  for (size_t i = 0; i < 64; ++i) EXPECT_NEAR(outcome.next.theta[i], 0, 1e-6);
  EXPECT_EQ(outcome.result.input_sq, 64 * 36);
}

// --- the norm of one contribution ---

TEST(ContributionNorm, IsOfTheTrainedTensorsInEveryCodec) {
  InlineExecutor inline_executor;
  ThreadExecutor eight(8);
  const std::vector<Floats> values = {Normal(5000, 1), Normal(70, 2), Normal(1, 3)};
  std::vector<TensorStep> steps;
  for (const Floats& each : values) {
    steps.push_back({.arena_begin = 0, .count = each.size(), .action = TensorAction::kTrained});
  }
  steps[1].action = TensorAction::kAveraged;
  for (const CodecInfo& codec : Codecs()) {
    Bytes bytes;
    Contribution from{.codec = codec.id, .weight = 7, .bytes = nullptr, .tensor_offsets = {}};
    double expected = 0;
    for (size_t t = 0; t < values.size(); ++t) {
      from.tensor_offsets.push_back(static_cast<int64_t>(bytes.size()));
      const Bytes encoded = Encode(codec.id, values[t]);
      Floats decoded(values[t].size());
      codec.decode(encoded.data(), decoded.size(), decoded.data());
      for (const float x : decoded) expected += t == 1 ? 0 : double{x} * x;
      bytes.insert(bytes.end(), encoded.begin(), encoded.end());
    }
    const size_t cut = bytes.size() / 3;
    const std::vector<ByteSpan> spans = {{bytes.data(), cut}, {bytes.data() + cut, bytes.size() - cut}};
    const EncodedView view(spans);
    from.bytes = &view;
    double one = -1, many = -1;
    ASSERT_EQ(ContributionSquares(steps, from, &inline_executor, &one), Status::kOk);
    ASSERT_EQ(ContributionSquares(steps, from, &eight, &many), Status::kOk);
    EXPECT_NEAR(one, expected, 1e-12 * expected) << codec.name;
    EXPECT_EQ(one, many) << codec.name;
  }
}

TEST(ContributionNorm, CountsAnAbsentTensorAsZero) {
  InlineExecutor inline_executor;
  const int f32 = FindCodec("f32")->id;
  const Bytes bytes = Encode(f32, Floats(4, 3.0f));
  const std::vector<ByteSpan> spans = {{bytes.data(), bytes.size()}};
  const EncodedView view(spans);
  const std::vector<TensorStep> steps(2, {.count = 4, .action = TensorAction::kTrained});
  double sum = -1;
  const Contribution from{.codec = f32, .weight = 1, .bytes = &view, .tensor_offsets = {-1, 0}};
  ASSERT_EQ(ContributionSquares(steps, from, &inline_executor, &sum), Status::kOk);
  EXPECT_EQ(sum, 36);
}

}  // namespace
}  // namespace stepback::kernels::testing
