// What a model does with pushed weights (FedAsync), with contributions that are clipped one by one, with
// stale gradients that are compensated, and with a step size that it chooses itself. Every expectation is
// computed here in fp64 from the published formulas.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <deque>

#include "server/base/errors.h"
#include "server/core/settings.h"
#include "server/core/spec_check.h"
#include "tests/unit/core_support.h"

namespace stepback {
namespace {

using namespace core_test;  // NOLINT(build/namespaces)
using testing::ElementsAre;
using testing::HasSubstr;

std::string FieldOf(const Effects& effects, const std::string& event, const std::string& field) {
  for (const auto& each : effects.events) {
    if (each.name != event) continue;
    for (const auto& [name, value] : each.fields) {
      if (name == field) return value;
    }
  }
  return "";
}

std::string Refusal(const ModelSpec& spec) { return std::string(ValidateSpec(WithDefaults(spec)).message()); }

// --- pushed weights ---

ModelSpec AsyncSpec(uint64_t elements, double alpha, StalenessSpec staleness = {}) {
  ModelSpec spec = DeltaSpec(elements, Rule("fed_async", {{"alpha", alpha}}));
  spec.rounds.policy = RoundPolicy::kAsync;
  spec.rounds.staleness = std::move(staleness);
  return spec;
}

Push WeightsOf(TestModel* model, const std::string& client, const Floats& theta) {
  Push push = model->Next(client, OneTensor(theta));
  push.header.kind = PushKind::kWeights;
  return push;
}

// Invariant 17: a fresh push has exactly the mixing weight alpha.
TEST(FedAsync, AFreshPushMixesWithAlpha) {
  TestModel model(AsyncSpec(2, 0.25), OneTensor({8, -4}));
  model.Join("a");
  EXPECT_EQ(model.Answer(WeightsOf(&model, "a", {4, 4})).outcome, PushOutcome::kApplied);
  EXPECT_THAT(model.Phi(), ElementsAre(7, -2));  // 0.75 phi + 0.25 theta, exact in fp32
  EXPECT_DOUBLE_EQ(model.version().update_norm, std::sqrt(16.0 + 64));
}

TEST(FedAsync, AlphaOneTakesTheWeightsOverBitForBit) {
  TestModel model(AsyncSpec(3, 1), OneTensor({1e30f, 0.1f, 3}));
  model.Join("a");
  const Floats theta = {0.3f, -1e-30f, 7e7f};
  model.Answer(WeightsOf(&model, "a", theta));
  EXPECT_EQ(model.Phi(), theta);
}

// phi <- (1 - alpha s(tau)) phi + alpha s(tau) theta, from wherever phi is by then and not from the base.
TEST(FedAsync, AStalePushMixesWithItsStalenessWeight) {
  const uint64_t seed = Seed();
  std::mt19937_64 random(seed);
  TestModel model(AsyncSpec(50, 0.6, {.name = "polynomial", .values = {{"exponent", 0.5}}}),
                  OneTensor(RandomFloats(&random, 50)));
  model.Join("a");
  Floats phi = model.Phi();
  for (int step = 0; step < 40; ++step) {
    const Floats theta = RandomFloats(&random, 50);
    Push push = WeightsOf(&model, "a", theta);
    const uint64_t age = std::min<uint64_t>(random() % 4, push.header.base.counter);
    push.header.base.counter -= age;
    const PushAnswer answer = model.Answer(std::move(push));
    ASSERT_TRUE(answer.refusal.ok()) << answer.refusal;
    EXPECT_EQ(answer.staleness, age);
    const double alpha = 0.6 / std::sqrt(1.0 + static_cast<double>(age));
    const Floats next = model.Phi();
    for (size_t i = 0; i < 50; ++i) {
      ASSERT_NEAR(next[i], (1 - alpha) * phi[i] + alpha * theta[i], 1e-6)
          << "seed " << seed << " step " << step;
    }
    phi = next;
  }
}

// The whole model mixes, statistics too; carried bytes are the newest's.
TEST(FedAsync, AveragedTensorsMixToo) {
  ModelSpec spec = AsyncSpec(1, 0.5);
  spec.tensors.push_back({.name = "mean", .shape = {2}, .role = Role::kAveraged});
  TestModel model(spec, {{.floats = {0}}, {.floats = {2, 4}}});
  model.Join("a");
  Push push = model.Next("a", {{.floats = {4}}, {.floats = {6, 0}}});
  push.header.kind = PushKind::kWeights;
  ASSERT_TRUE(model.Answer(std::move(push)).refusal.ok());
  EXPECT_THAT(model.Phi(0), ElementsAre(2));
  EXPECT_THAT(model.Phi(1), ElementsAre(4, 2));
}

TEST(FedAsync, WeightsAndDeltasAreRefusedWhereTheOtherIsMeant) {
  TestModel mixing(AsyncSpec(1, 0.5), OneTensor({1}));
  mixing.Join("a");
  const absl::Status delta = mixing.Answer("a", OneTensor({1})).refusal;
  EXPECT_EQ(ReasonOf(delta), "KIND_NOT_ACCEPTED");
  EXPECT_THAT(std::string(delta.message()),
              HasSubstr("push of kind delta, expected weights: its outer rule 'fed_async' takes weights"));

  TestModel nesterov(DeltaSpec(1, Rule("nesterov")), OneTensor({1}));
  nesterov.Join("a");
  const absl::Status weights = nesterov.Answer(WeightsOf(&nesterov, "a", {1})).refusal;
  EXPECT_EQ(ReasonOf(weights), "KIND_NOT_ACCEPTED");
  EXPECT_EQ(weights.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(weights.message()),
              HasSubstr("push of kind weights, expected delta: its outer rule 'nesterov' takes deltas"));
  EXPECT_EQ(nesterov.version().version.counter, 0u);
}

TEST(FedAsync, WeightsHaveNoLossScaleAndNoFormForDifferences) {
  TestModel model(AsyncSpec(1, 0.5), OneTensor({1}));
  model.Join("a");
  Push scaled = WeightsOf(&model, "a", {1});
  scaled.header.loss_scale = 1024;
  EXPECT_EQ(ReasonOf(model.Answer(std::move(scaled)).refusal), "LOSS_SCALE_INVALID");
  --model.sequences["a"];
  Push signs = model.Next("a", OneTensor({1}), "sign");
  signs.header.kind = PushKind::kWeights;
  EXPECT_EQ(ReasonOf(model.Answer(std::move(signs)).refusal), "CODEC_FOR_DIFFERENCES");
  --model.sequences["a"];
  Push narrow = model.Next("a", OneTensor({3}), "bf16");
  narrow.header.kind = PushKind::kWeights;
  EXPECT_TRUE(model.Answer(std::move(narrow)).refusal.ok());
  EXPECT_THAT(model.Phi(), ElementsAre(2));
}

TEST(FedAsync, NeedsAsynchronousDeltaModelsWithoutBounds) {
  ModelSpec spec = AsyncSpec(1, 0.5);
  EXPECT_EQ(Refusal(spec), "");
  spec.rounds.policy = RoundPolicy::kBuffered;
  EXPECT_THAT(Refusal(spec), HasSubstr("spec.rounds.policy is not ASYNC, expected ASYNC"));
  spec = AsyncSpec(1, 0.5);
  spec.clip.value = 1;
  EXPECT_THAT(Refusal(spec), HasSubstr("spec.clip has a bound, expected none: outer rule 'fed_async'"));
  spec = GradientSpec(1, Rule("sgd"), Rule("fed_async"), 3);
  EXPECT_THAT(Refusal(spec), HasSubstr("spec.mode is GRADIENT, expected DELTA"));
}

// --- contributions clipped one by one ---

double NormOf(const Floats& values) {
  double sum = 0;
  for (const float x : values) sum += double{x} * x;
  return std::sqrt(sum);
}

ModelSpec ClippedSpec(double bound, Reduction reduction) {
  ModelSpec spec = DeltaSpec(100);
  spec.tensors.push_back(Trained("v", {30}));
  spec.tensors.push_back({.name = "mean", .shape = {4}, .role = Role::kAveraged});
  spec.clip.contribution_norm = bound;
  spec.rounds.reduction = reduction;
  spec.rounds.quorum = 3;
  return spec;
}

// Every push of any size and form counts at most `bound`; averaged tensors are neither clipped nor counted.
TEST(ContributionNorm, BoundsEveryPushBeforeTheMean) {
  const uint64_t seed = Seed();
  std::mt19937_64 random(seed);
  for (const Reduction reduction : {Reduction::kRunning, Reduction::kOrdered}) {
    for (const AccumulateType accumulate : {AccumulateType::kF32, AccumulateType::kF64}) {
      ModelSpec spec = ClippedSpec(3, reduction);
      spec.rounds.accumulate = accumulate;
      TestModel model(spec, {{.floats = Floats(100)}, {.floats = Floats(30)}, {.floats = Floats(4)}});
      std::vector<double> w(100), mean(4);
      for (const char* client : {"a", "b", "c"}) model.Join(client);
      double scale = 0.01;
      for (const char* client : {"a", "b", "c"}) {
        const PushData data = {{.floats = RandomFloats(&random, 100, static_cast<float>(scale))},
                               {.floats = RandomFloats(&random, 30, static_cast<float>(scale))},
                               {.floats = RandomFloats(&random, 4, 100)}};
        scale *= 30;
        const double norm = std::hypot(NormOf(data[0].floats), NormOf(data[1].floats));
        const double factor = std::min(1.0, 3 / (norm + 1e-6));
        for (size_t i = 0; i < 100; ++i) w[i] -= factor * data[0].floats[i] / 3;
        for (size_t i = 0; i < 4; ++i) mean[i] -= double{data[2].floats[i]} / 3;
        ASSERT_TRUE(model.Answer(client, data).refusal.ok());
      }
      ASSERT_EQ(model.version().version.counter, 1u);
      const Floats got = model.Phi(0), means = model.Phi(2);
      for (size_t i = 0; i < 100; ++i) EXPECT_NEAR(got[i], w[i], 1e-6) << "seed " << seed;
      for (size_t i = 0; i < 4; ++i) EXPECT_NEAR(means[i], mean[i], 5e-5) << "seed " << seed;
    }
  }
}

TEST(ContributionNorm, IsOfTheGradientWithoutItsLossScale) {
  ModelSpec spec = GradientSpec(2, Rule("sgd", {{"lr", 1}}), Rule("none"), 1);
  spec.clip.contribution_norm = 5;
  TestModel model(spec, OneTensor({0, 0}));
  model.Join("a");
  Push push = model.Next("a", OneTensor({3000, 4000}));  // 3, 4 at scale 1000
  push.header.loss_scale = 1000;
  ASSERT_TRUE(model.Answer(std::move(push)).refusal.ok());
  const Floats theta = model.Theta();
  EXPECT_NEAR(theta[0], -3, 2e-6);
  EXPECT_NEAR(theta[1], -4, 2e-6);
}

// Lossy forms are measured as they are decoded.
TEST(ContributionNorm, HoldsInEveryCodec) {
  const uint64_t seed = Seed();
  std::mt19937_64 random(seed);
  for (const kernels::CodecInfo& codec : kernels::Codecs()) {
    ModelSpec spec = DeltaSpec(5000);
    spec.clip.contribution_norm = 2;
    TestModel model(spec, OneTensor(Floats(5000)));
    model.Join("a");
    const Effects effects =
        model.Apply(model.Next("a", OneTensor(RandomFloats(&random, 5000)), std::string(codec.name)));
    ASSERT_TRUE(effects.answers.at(0).answer.refusal.ok()) << codec.name;
    EXPECT_NEAR(NormOf(model.Phi()), 2, 1e-5) << codec.name << " seed " << seed;
    EXPECT_THAT(FieldOf(effects, "round_closed", "members"), HasSubstr("clipped by 0.")) << codec.name;
  }
}

TEST(ContributionNorm, LeavesSmallPushesTheirBits) {
  for (const Reduction reduction : {Reduction::kRunning, Reduction::kOrdered}) {
    ModelSpec plain = DeltaSpec(200), bounded = DeltaSpec(200);
    plain.rounds.reduction = bounded.rounds.reduction = reduction;
    bounded.clip.contribution_norm = 1e6;
    std::mt19937_64 random(3);
    const Floats start = RandomFloats(&random, 200), first = RandomFloats(&random, 200),
                 second = RandomFloats(&random, 200);
    std::string bits[2];
    for (const bool clipped : {false, true}) {
      TestModel model(clipped ? bounded : plain, OneTensor(start));
      model.Join("a");
      model.Join("b");
      model.Apply("a", OneTensor(first));
      model.Apply("b", OneTensor(second));
      bits[clipped ? 1 : 0] = Bits(model.version().phi);
    }
    EXPECT_EQ(bits[0], bits[1]);
  }
}

TEST(ContributionNorm, IsASettingAndGoesWithTheMean) {
  TestModel model(DeltaSpec(4), OneTensor({0, 0, 0, 0}));
  model.Join("a");
  ASSERT_TRUE(model->Update({{"clip.contribution_norm", 1}}, 0).ok());
  model.Apply("a", OneTensor({2, 2, 2, 2}));
  EXPECT_NEAR(NormOf(model.Phi()), 1, 1e-6);
  const absl::Status negative = model->Update({{"clip.contribution_norm", -1}}, 0).status();
  EXPECT_THAT(std::string(negative.message()), HasSubstr("spec.clip.contribution_norm is -1, expected"));

  ModelSpec robust = DeltaSpec(4);
  robust.rounds.aggregator = Rule("coordinate_median");
  robust.rounds.reduction = Reduction::kOrdered;
  robust.clip.contribution_norm = 1;
  EXPECT_THAT(Refusal(robust),
              HasSubstr("aggregator 'coordinate_median' looks at contributions as they came"));
}

// --- compensation for age ---

ModelSpec CompensatedSpec(uint64_t elements, double lambda, uint32_t history, RuleSpec outer = Rule("none")) {
  ModelSpec spec = GradientSpec(elements, Rule("sgd", {{"lr", 0.05}}), std::move(outer), 3);
  spec.rounds.policy = RoundPolicy::kAsync;
  spec.rounds.max_staleness = 20;
  spec.rounds.staleness = {.name = "delay_compensated", .values = {{"lambda", lambda}}};
  spec.rounds.history_versions = history;
  return spec;
}

// g + lambda g g (theta - theta_base), theta_base being the fast weights that the push started from, syncs or
// not.
TEST(DelayCompensation, MeasuresAgainstTheWeightsOfTheBase) {
  const uint64_t seed = Seed();
  std::mt19937_64 random(seed);
  for (const RuleSpec& outer : {Rule("none"), Rule("lookahead")}) {
    TestModel model(CompensatedSpec(40, 0.5, 5, outer), OneTensor(RandomFloats(&random, 40)));
    model.Join("a");
    std::deque<Floats> past = {model.Theta()};  // newest last
    uint64_t phase = 0;
    Floats phi = model.Theta();
    for (int step = 0; step < 40; ++step) {
      const Floats g = RandomFloats(&random, 40);
      Push push = model.Next("a", OneTensor(g));
      const uint64_t age = random() % std::min<uint64_t>(past.size(), 6);
      push.header.base.counter -= age;
      const PushAnswer answer = model.Answer(std::move(push));
      ASSERT_TRUE(answer.refusal.ok()) << answer.refusal << " age " << age;
      const Floats& base = past[past.size() - 1 - age];
      Floats expected = past.back();
      for (size_t i = 0; i < 40; ++i) {
        const double moved = double{past.back()[i]} - base[i];
        expected[i] = static_cast<float>(past.back()[i] - 0.05 * (g[i] + 0.5 * g[i] * g[i] * moved));
        if (outer.name == "lookahead" && phase + 1 == 3) expected[i] = 0.5f * (phi[i] + expected[i]);
      }
      phase = (phase + 1) % 3;
      const Floats got = model.Theta();
      for (size_t i = 0; i < 40; ++i)
        ASSERT_NEAR(got[i], expected[i], 2e-6) << "seed " << seed << " step " << step;
      if (phase == 0) phi = got;
      past.push_back(got);
    }
  }
}

TEST(DelayCompensation, AFreshPushIsThePlainOneBitForBit) {
  ModelSpec plain = CompensatedSpec(100, 0.5, 3);
  plain.rounds.staleness = {};
  plain.rounds.history_versions = 0;
  std::mt19937_64 random(5);
  const Floats start = RandomFloats(&random, 100);
  TestModel one(CompensatedSpec(100, 0.5, 3), OneTensor(start)), other(plain, OneTensor(start));
  one.Join("a");
  other.Join("a");
  for (int step = 0; step < 5; ++step) {
    const Floats g = RandomFloats(&random, 100);
    one.Apply("a", OneTensor(g));
    other.Apply("a", OneTensor(g));
  }
  EXPECT_EQ(Bits(one.version().theta), Bits(other.version().theta));
}

TEST(DelayCompensation, ABaseOlderThanTheHistoryIsStale) {
  TestModel model(CompensatedSpec(2, 0.5, 2), OneTensor({0, 0}));
  model.Join("a");
  for (int step = 0; step < 5; ++step) model.Apply("a", OneTensor({1, 1}));  // kept: counters 3, 4; now 5
  Push push = model.Next("a", OneTensor({1, 1}));
  push.header.base.counter = 2;
  const PushAnswer answer = model.Answer(std::move(push));
  EXPECT_EQ(answer.refusal.code(), absl::StatusCode::kAborted);
  EXPECT_EQ(ReasonOf(answer.refusal), "STALE_BASE");
  EXPECT_THAT(std::string(answer.refusal.message()),
              HasSubstr("its weights are not kept any more, the oldest are of counter 3"));
  Push kept = model.Next("a", OneTensor({1, 1}));
  kept.header.base.counter = 3;
  EXPECT_TRUE(model.Answer(std::move(kept)).refusal.ok());
}

// The history is not in a snapshot: whoever comes back with an older base pulls anew.
TEST(DelayCompensation, StartsAnewAfterARecovery) {
  TestModel model(CompensatedSpec(2, 0.5, 4), OneTensor({0, 0}));
  model.Join("a");
  for (int step = 0; step < 3; ++step) model.Apply("a", OneTensor({1, 1}));
  TestModel recovered(model->current(), 2);
  recovered.Join("a");
  recovered.sequences["a"] = 3;
  Push old = recovered.Next("a", OneTensor({1, 1}));
  old.header.base = {1, 2};
  EXPECT_EQ(ReasonOf(recovered.Answer(std::move(old)).refusal), "STALE_BASE");
  Push newest = recovered.Next("a", OneTensor({1, 1}));
  newest.header.base = {1, 3};
  EXPECT_TRUE(recovered.Answer(std::move(newest)).refusal.ok());
  Push next = recovered.Next("a", OneTensor({1, 1}));
  next.header.base = {2, 3};
  EXPECT_TRUE(recovered.Answer(std::move(next)).refusal.ok()) << "kept since the recovery";
}

TEST(DelayCompensation, ItsHistoryIsInTheModelsBytesAndBounded) {
  TestModel model(CompensatedSpec(1024, 0.5, 3), OneTensor(Floats(1024)));
  model.Join("a");
  const uint64_t empty = model->state_bytes();
  uint64_t before = empty;
  for (int step = 0; step < 3; ++step) {
    model.Apply("a", OneTensor(Floats(1024, 1.0f)));
    EXPECT_EQ(model->state_bytes(), before + 4096);
    before = model->state_bytes();
  }
  for (int step = 0; step < 5; ++step) model.Apply("a", OneTensor(Floats(1024, 1.0f)));
  EXPECT_EQ(model->state_bytes(), empty + 3 * 4096);
  ASSERT_TRUE(model->Update({{"rounds.staleness.lambda", 0.1}}, 0).ok());
  EXPECT_EQ(model->state_bytes(), empty + 3 * 4096) << "settings keep it";
}

TEST(DelayCompensation, IsForAsynchronousGradients) {
  EXPECT_EQ(Refusal(CompensatedSpec(1, 0.5, 4)), "");
  EXPECT_EQ(WithDefaults(CompensatedSpec(1, 0.5, 0)).rounds.history_versions, 8u);
  EXPECT_THAT(Refusal(CompensatedSpec(1, 0.5, 65)),
              HasSubstr("spec.rounds.history_versions is 65, expected 1..64"));
  ModelSpec buffered = CompensatedSpec(1, 0.5, 4);
  buffered.rounds.policy = RoundPolicy::kBuffered;
  EXPECT_THAT(Refusal(buffered), HasSubstr("'delay_compensated', which is for gradients of ASYNC rounds"));
  ModelSpec idle = GradientSpec(1, Rule("sgd"), Rule("none"), 1);
  idle.rounds.history_versions = 4;
  EXPECT_THAT(Refusal(idle), HasSubstr("is 4, but only staleness 'delay_compensated' looks at past weights"));
  EXPECT_THAT(Refusal(CompensatedSpec(1, -1, 4)), HasSubstr("lambda"));
}

// --- the step size that a model chooses itself ---

// Proposition 1 with Adam's second moment as curvature, from the definitions in fp64.
class AdaptiveReference {
 public:
  explicit AdaptiveReference(const Floats& start) : theta_(start.begin(), start.end()), phi_(theta_) {
    m_ = v_ = std::vector<double>(theta_.size(), 0.0);
  }

  // One step of Adam at rate 1; every `k`-th syncs. The share it used, -1 without a sync.
  double Step(const std::vector<double>& g, int k) {
    ++t_;
    const std::vector<double> before = theta_;
    double upper = 0, lower = 0;
    for (size_t i = 0; i < g.size(); ++i) {
      m_[i] = 0.9 * m_[i] + 0.1 * g[i];
      v_[i] = 0.999 * v_[i] + 0.001 * g[i] * g[i];
      const double curvature = v_[i] / (1 - std::pow(0.999, t_));
      theta_[i] -= m_[i] / (1 - std::pow(0.9, t_)) / (std::sqrt(curvature) + 1e-8);
      const double d = phi_[i] - theta_[i], optimum = before[i] - g[i] / curvature;
      upper += (phi_[i] - optimum) * curvature * d;
      lower += d * curvature * d;
    }
    if (t_ % k != 0) return -1;
    const double share = std::min(std::max(upper / lower, 0.2), 1.0);
    for (size_t i = 0; i < g.size(); ++i) phi_[i] = theta_[i] = (1 - share) * phi_[i] + share * theta_[i];
    return share;
  }

  const std::vector<double>& theta() const { return theta_; }

 private:
  std::vector<double> theta_, phi_, m_, v_;
  int t_ = 0;
};

TEST(AdaptiveLookahead, FollowsItsPropositionOnANoisyQuadratic) {
  const uint64_t seed = Seed();
  std::mt19937_64 random(seed);
  const Floats start = RandomFloats(&random, 60);
  TestModel model(GradientSpec(60, Rule("adam", {{"lr", 1}}), Rule("adaptive_lookahead"), 4),
                  OneTensor(start));
  model.Join("a");
  AdaptiveReference reference(start);
  int between = 0;
  for (int step = 1; step <= 160; ++step) {
    const Floats noise = RandomFloats(&random, 60);
    Floats g = model.Theta();
    for (size_t i = 0; i < 60; ++i) g[i] = g[i] * static_cast<float>(1 + i % 2) + noise[i];
    const Effects effects = model.Apply("a", OneTensor(g));
    const double share = reference.Step({g.begin(), g.end()}, 4);
    EXPECT_EQ(effects.synced, share >= 0);
    if (share >= 0) {
      EXPECT_NEAR(model.version().merge_share, share, 1e-4 * share) << "seed " << seed << " step " << step;
      EXPECT_NEAR(std::stod(FieldOf(effects, "round_closed", "alpha")), share, 1e-4 * share);
      between += share > 0.2 && share < 1 ? 1 : 0;
    }
    const Floats theta = model.Theta();
    for (size_t i = 0; i < 60; ++i) ASSERT_NEAR(theta[i], reference.theta()[i], 2e-4) << "step " << step;
  }
  EXPECT_GT(between, 20) << "the bounds decided nearly every sync; seed " << seed;
}

TEST(AdaptiveLookahead, NeedsGradientsAndASecondMoment) {
  ModelSpec spec = GradientSpec(1, Rule("adamw"), Rule("adaptive_lookahead"), 3);
  EXPECT_EQ(Refusal(spec), "");
  spec.inner = Rule("sgd");
  EXPECT_THAT(Refusal(spec), HasSubstr("spec.inner 'sgd' keeps no second moment"));
  EXPECT_THAT(Refusal(spec), HasSubstr("those that do: adam, adamw"));
  EXPECT_THAT(Refusal(DeltaSpec(1, Rule("adaptive_lookahead"))), HasSubstr("expected GRADIENT mode"));
  spec.inner = Rule("adam");
  spec.outer = Rule("adaptive_lookahead", {{"alpha_low", 1.5}});
  EXPECT_THAT(Refusal(spec), HasSubstr("spec.outer.values.alpha_low is 1.5, expected a number in [0, 1]"));
}

// The pullback interpolates by the step size that was used, not by the fixed one.
TEST(AdaptiveLookahead, PullsTheMomentsBackByTheSameShare) {
  std::mt19937_64 random(11);
  const Floats start = RandomFloats(&random, 30);
  ModelSpec spec = GradientSpec(30, Rule("adam", {{"lr", 0.01}}), Rule("adaptive_lookahead"), 2);
  spec.inner_state = InnerState::kPullback;
  TestModel model(spec, OneTensor(start));
  model.Join("a");
  model.Apply("a", OneTensor(RandomFloats(&random, 30)));
  const Floats m = Read(model.version(), model.version().inner_slots[0], 0);
  const Floats g = RandomFloats(&random, 30);
  model.Apply("a", OneTensor(g));
  const double share = model.version().merge_share;
  ASSERT_GE(share, 0.2);
  const Floats pulled = Read(model.version(), model.version().inner_slots[0], 0);
  for (size_t i = 0; i < 30; ++i) EXPECT_NEAR(pulled[i], share * (0.9 * m[i] + 0.1 * g[i]), 1e-6);  // cache 0
}

}  // namespace
}  // namespace stepback
