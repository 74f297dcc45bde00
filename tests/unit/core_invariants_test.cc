// The invariants of algorithms.md section 11 that concern a model: those marked E bit for bit, the others
// within rounding. The number of each is in its test's name.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>

#include "kernels/rule.h"
#include "tests/unit/core_support.h"

namespace stepback::core_test {
namespace {

constexpr size_t kElements = 5003;  // more than a cache block, and a tail

const std::vector<RuleSpec>& InnerRules() {
  static const std::vector<RuleSpec> rules = {
      Rule("sgd", {{"lr", 0.1}}),
      Rule("sgd", {{"lr", 0.1}, {"momentum", 0.9}, {"dampening", 0.5}, {"weight_decay", 0.01}}),
      Rule("sgd", {{"lr", 0.1}, {"momentum", 0.9}, {"nesterov", 1}}),
      Rule("adam", {{"lr", 0.01}, {"amsgrad", 1}}),
      Rule("adamw", {{"lr", 0.01}, {"weight_decay", 0.1}}),
      Rule("lamb", {{"lr", 0.01}}),
      Rule("lars", {{"lr", 1}, {"momentum", 0.9}, {"weight_decay", 0.01}, {"trust_coeff", 0.01}}),
      Rule("adafactor", {{"lr", 0.01}})};
  return rules;
}

const std::vector<RuleSpec>& OuterRules() {
  static const std::vector<RuleSpec> rules = {Rule("lookahead"),
                                              Rule("average", {{"alpha", 0.3}}),
                                              Rule("heavy_ball"),
                                              Rule("nesterov"),
                                              Rule("delayed_nesterov", {{"delay", 2}}),
                                              Rule("fed_yogi"),
                                              Rule("slowmo", {{"inner_lr", 0.125}})};
  return rules;
}

class Invariants : public testing::Test {
 protected:
  Invariants() : random_(Seed()), trace_(__FILE__, __LINE__, fmt::format("seed {}", Seed())) {}

  Floats Random(size_t count = kElements) { return RandomFloats(&random_, count); }

  std::mt19937_64 random_;
  testing::ScopedTrace trace_;
};

TestModel OneWorker(const ModelSpec& spec, const Floats& weights) {
  TestModel model(spec, OneTensor(weights));
  model.Join("a");
  return model;
}

double Distance(const Floats& a, const Floats& b) {
  double worst = 0;
  for (size_t i = 0; i < a.size(); ++i) worst = std::max(worst, std::abs(double{a[i]} - b[i]));
  return worst;
}

RuleSpec Without(RuleSpec rule, const std::string& hyper) {
  rule.values[hyper] = 0;
  return rule;
}

TEST_F(Invariants, I1_LookaheadWithAlphaOneIsTheInnerOptimizerForAnyPeriod) {
  for (const RuleSpec& inner : InnerRules()) {
    for (const uint32_t k : {1u, 2u, 5u, 7u}) {
      const Floats weights = Random();
      TestModel lookahead =
          OneWorker(GradientSpec(kElements, inner, Rule("lookahead", {{"alpha", 1}}), k), weights);
      TestModel alone = OneWorker(GradientSpec(kElements, inner, Rule("none"), k), weights);
      for (int step = 0; step < 15; ++step) {
        const Floats gradient = Random();
        lookahead.Apply("a", OneTensor(gradient));
        alone.Apply("a", OneTensor(gradient));
        ASSERT_EQ(Bits(lookahead.version().theta), Bits(alone.version().theta)) << inner.name << " k " << k;
      }
      EXPECT_EQ(alone.version().phi, alone.version().theta) << "without slow weights theta is phi";
      EXPECT_EQ(alone.version().outer_steps, 0u);
    }
  }
}

TEST_F(Invariants, I2_APeriodOfOneIsSgdAtAlphaTimesTheRate) {
  const Floats weights = Random();
  TestModel lookahead = OneWorker(
      GradientSpec(kElements, Rule("sgd", {{"lr", 0.2}}), Rule("lookahead", {{"alpha", 0.25}}), 1), weights);
  TestModel sgd = OneWorker(GradientSpec(kElements, Rule("sgd", {{"lr", 0.05}}), Rule("none"), 1), weights);
  for (int step = 0; step < 20; ++step) {
    const Floats gradient = Random();
    lookahead.Apply("a", OneTensor(gradient));
    sgd.Apply("a", OneTensor(gradient));
    ASSERT_LT(Distance(lookahead.Phi(), sgd.Phi()), 1e-5);
  }
}

TEST_F(Invariants, I3_WithAlphaZeroTheSlowWeightsStandAndTheFastComeBack) {
  for (const RuleSpec& inner : InnerRules()) {
    TestModel model =
        OneWorker(GradientSpec(kElements, inner, Rule("lookahead", {{"alpha", 0}}), 3), Random());
    const std::string start = Bits(model.version().phi);
    for (int step = 1; step <= 12; ++step) {
      model.Apply("a", OneTensor(Random()));
      ASSERT_EQ(Bits(model.version().phi), start);
      ASSERT_EQ(Bits(model.version().theta) == start, step % 3 == 0) << step;
    }
  }
}

TEST_F(Invariants, I4_AfterASyncFastAndSlowWeightsAreTheSameBits) {
  for (const RuleSpec& outer : OuterRules()) {
    for (const uint32_t k : {1u, 3u}) {
      TestModel model = OneWorker(GradientSpec(kElements, InnerRules()[3], outer, k), Random());
      for (uint32_t step = 1; step <= 9; ++step) {
        EXPECT_EQ(model.Apply("a", OneTensor(Random())).synced, step % k == 0) << "syncs at k, 2k, ...";
        EXPECT_EQ(Bits(model.version().theta) == Bits(model.version().phi), step % k == 0);
      }
    }
  }
}

TEST_F(Invariants, I5_SlowWeightsAreAnAverageOfTheFastOnesAtTheEndsOfTheCycles) {
  constexpr double kAlpha = 0.5;
  const Floats start = Random(8);
  TestModel model =
      OneWorker(GradientSpec(8, InnerRules()[0], Rule("lookahead", {{"alpha", kAlpha}}), 4), start);
  std::vector<double> average(start.begin(), start.end());
  for (int step = 1; step <= 40; ++step) {
    const Floats gradient = Random(8), theta = model.Theta();
    model.Apply("a", OneTensor(gradient));
    if (step % 4 != 0) continue;
    for (size_t i = 0; i < 8; ++i) {
      average[i] = kAlpha * (theta[i] - 0.1 * gradient[i]) + (1 - kAlpha) * average[i];
      EXPECT_NEAR(model.Phi()[i], average[i], 1e-5);
    }
  }
}

TEST_F(Invariants, I6_TheCounterRisesByOnePerAppliedAggregate) {
  for (const bool gradient : {true, false}) {
    ModelSpec spec = gradient ? GradientSpec(4, InnerRules()[0], OuterRules()[0], 2) : DeltaSpec(4);
    spec.rounds.quorum = 3;
    TestModel model(spec, OneTensor(Random(4)));
    for (const char* client : {"a", "b", "c"}) model.Join(client);
    for (uint64_t round = 1; round <= 6; ++round) {
      for (const char* client : {"a", "b", "c"}) {
        const Effects effects = model.Apply(client, OneTensor(Random(4)));
        const Version acknowledged = effects.answers.at(0).answer.version;
        EXPECT_GE(model.version().version, acknowledged) << "a pull after an acknowledged push";
        EXPECT_EQ(effects.committed != nullptr, std::string(client) == "c");
      }
      EXPECT_EQ(model.version().version, (Version{1, round})) << "a sync inside a step adds nothing";
    }
  }
}

TEST_F(Invariants, I7_ASkippedPushLeavesTheImageUnchanged) {
  for (const RuleSpec& inner : InnerRules()) {
    TestModel model = OneWorker(GradientSpec(kElements, inner, Rule("nesterov"), 3), Random());
    for (int step = 0; step < 5; ++step) {
      model.Apply("a", OneTensor(Random()));
      const std::string before = StateBits(model.version());
      Push overflow = model.Next("a", OneTensor(Floats(kElements, HUGE_VALF)));
      overflow.finite = false;
      overflow.header.loss_scale = 65536;
      EXPECT_EQ(model.Answer(overflow).outcome, PushOutcome::kSkipped);
      ASSERT_EQ(StateBits(model.version()), before);
    }
  }
}

ModelSpec Ordered(ModelSpec spec, Weighting weighting = Weighting::kEqual) {
  spec.rounds.reduction = Reduction::kOrdered;
  spec.rounds.weighting = weighting;
  return spec;
}

// Runs `rounds` rounds; contribute(round) gives each client's push in order of arrival.
using Arrivals = std::vector<std::tuple<std::string, Floats, uint64_t /*samples*/>>;
std::string RunRounds(const ModelSpec& spec, const Floats& weights, int rounds,
                      const std::function<Arrivals(int)>& contribute) {
  TestModel model(spec, OneTensor(weights));
  for (const auto& [client, values, samples] : contribute(0)) model.Join(client);
  for (int round = 0; round < rounds; ++round) {
    for (const auto& [client, values, samples] : contribute(round)) {
      Push push = model.Next(client, OneTensor(values));
      push.header.samples = samples;
      const PushAnswer answer = model.Answer(std::move(push));
      EXPECT_TRUE(answer.refusal.ok()) << answer.refusal;
    }
  }
  EXPECT_EQ(model.version().version.counter, static_cast<uint64_t>(rounds));
  const ModelVersion& version = model.version();
  std::string bits = Bits(version.phi) + Bits(version.theta);
  for (const auto* slots : {&version.inner_slots, &version.outer_slots}) {
    for (const Array& slot : *slots) bits += Bits(slot);
  }
  return bits;
}

std::vector<ModelSpec> OrderedSpecs(Weighting weighting) {
  return {Ordered(DeltaSpec(kElements, Rule("nesterov")), weighting),
          Ordered(DeltaSpec(kElements, Rule("heavy_ball")), weighting),
          Ordered(GradientSpec(kElements, InnerRules()[4], Rule("lookahead"), 2), weighting)};
}

TEST_F(Invariants, I8_AnyNumberOfIdenticalWorkersIsOneWorker) {
  const Floats weights = Random();
  const std::vector<Floats> values = {Random(), Random(), Random(), Random()};
  for (const Weighting weighting : {Weighting::kEqual, Weighting::kSamples}) {
    for (const ModelSpec& spec : OrderedSpecs(weighting)) {
      const auto workers = [&](int n) {
        return RunRounds(spec, weights, 4, [&](int round) {
          Arrivals arrivals;
          for (int w = 0; w < n; ++w) arrivals.emplace_back(fmt::format("w{}", w), values[round], 1 + w * w);
          return arrivals;
        });
      };
      const std::string one = workers(1);
      for (const int n : {2, 3, 5, 7}) EXPECT_EQ(workers(n), one) << n << " workers";
    }
  }
}

TEST_F(Invariants, I9_TheOrderOfArrivalChangesNothing) {
  constexpr int kWorkers = 6;
  const Floats weights = Random();
  std::vector<std::vector<Floats>> values(3);
  for (auto& round : values) {
    for (int w = 0; w < kWorkers; ++w) round.push_back(Random());
  }
  for (const ModelSpec& spec : OrderedSpecs(Weighting::kSamples)) {
    std::string expected;
    for (int trial = 0; trial < 8; ++trial) {
      const std::string bits = RunRounds(spec, weights, 3, [&](int round) {
        Arrivals arrivals;
        for (int w = 0; w < kWorkers; ++w)
          arrivals.emplace_back(fmt::format("w{}", w), values[round][w], 3 + w);
        if (trial > 0) std::shuffle(arrivals.begin(), arrivals.end(), random_);
        return arrivals;
      });
      if (trial == 0) expected = bits;
      ASSERT_EQ(bits, expected);
    }
  }
}

TEST_F(Invariants, I10_SplittingAWeightAmongEqualPushesChangesNothing) {
  const Floats weights = Random(), a = Random(), b = Random(), c = Random();
  for (const ModelSpec& spec : OrderedSpecs(Weighting::kSamples)) {
    const std::string whole = RunRounds(spec, weights, 2, [&](int) -> Arrivals {
      return {{"a", a, 4}, {"b", b, 9}, {"c", c, 2}};
    });
    const std::string split = RunRounds(spec, weights, 2, [&](int) -> Arrivals {
      return {{"a", a, 4}, {"b1", b, 2}, {"b2", b, 7}, {"c", c, 2}};
    });
    EXPECT_EQ(split, whole);
  }
}

TEST_F(Invariants, I11_TheMeanOfNGradientsIsTheirSumAtARateNTimesSmaller) {
  const Floats weights = Random(64), a = Random(64), b = Random(64);
  TestModel mean(GradientSpec(64, Rule("sgd", {{"lr", 0.2}}), Rule("none"), 1), OneTensor(weights));
  for (const char* client : {"a", "b"}) mean.Join(client);
  mean.Apply("a", OneTensor(a));
  mean.Apply("b", OneTensor(b));
  TestModel sum = OneWorker(GradientSpec(64, Rule("sgd", {{"lr", 0.1}}), Rule("none"), 1), weights);
  Floats both(64);
  for (size_t i = 0; i < 64; ++i) both[i] = a[i] + b[i];
  sum.Apply("a", OneTensor(both));
  EXPECT_LT(Distance(mean.Phi(), sum.Phi()), 1e-6);
}

TEST_F(Invariants, I12_WithoutMomentumEveryOuterRuleIsTheAverageAtItsRate) {
  const Floats weights = Random();
  const std::vector<Floats> deltas = {Random(), Random(), Random()};
  const auto run = [&](const RuleSpec& outer) {
    TestModel model = OneWorker(DeltaSpec(kElements, outer), weights);
    for (const Floats& delta : deltas) model.Apply("a", OneTensor(delta));
    return model.Phi();
  };
  const Floats average = run(Rule("average", {{"alpha", 0.7}}));
  EXPECT_LT(Distance(run(Rule("nesterov", {{"lr", 0.7}, {"momentum", 0}})), average), 2e-6);
  EXPECT_LT(Distance(run(Rule("heavy_ball", {{"lr", 0.7}, {"momentum", 0}})), average), 2e-6);
  EXPECT_LT(Distance(run(Rule("lookahead", {{"alpha", 0.7}})), average), 2e-6);
  EXPECT_LT(Distance(run(Rule("slowmo", {{"lr", 0.7}, {"momentum", 0}, {"inner_lr", 0.3}})), average), 2e-6);
  EXPECT_LT(Distance(run(Rule("delayed_nesterov", {{"lr", 0.7}, {"momentum", 0}})), average), 2e-6);
}

TEST_F(Invariants, I13_AtRateOneWithoutMomentumTheOuterStepIsFedAvg) {
  const Floats weights = Random(), a = Random(), b = Random(), c = Random();
  for (const RuleSpec& outer :
       {Rule("nesterov", {{"lr", 1}, {"momentum", 0}}), Rule("heavy_ball", {{"lr", 1}, {"momentum", 0}}),
        Rule("slowmo", {{"momentum", 0}, {"inner_lr", 0.01}}), Rule("average")}) {
    TestModel model(DeltaSpec(kElements, outer), OneTensor(weights));
    for (const char* client : {"a", "b", "c"}) model.Join(client);
    for (const auto& [client, theta] : {std::pair("a", &a), {"b", &b}, {"c", &c}}) {
      Floats delta(kElements);
      for (size_t i = 0; i < kElements; ++i) delta[i] = weights[i] - (*theta)[i];
      model.Apply(client, OneTensor(delta));
    }
    Floats mean(kElements);
    for (size_t i = 0; i < kElements; ++i) mean[i] = static_cast<float>((double{a[i]} + b[i] + c[i]) / 3);
    EXPECT_LT(Distance(model.Phi(), mean), 5e-6) << outer.name;
  }
}

TEST_F(Invariants, I14_LookaheadIsAnOuterSgdAtRateAlpha) {
  const Floats weights = Random();
  const auto run = [&](const RuleSpec& outer) {
    std::mt19937_64 gradients(1);
    TestModel model = OneWorker(GradientSpec(kElements, InnerRules()[3], outer, 3), weights);
    for (int step = 0; step < 12; ++step) model.Apply("a", OneTensor(RandomFloats(&gradients, kElements)));
    return model.Phi();
  };
  EXPECT_LT(Distance(run(Rule("lookahead", {{"alpha", 0.3}})),
                     run(Rule("heavy_ball", {{"lr", 0.3}, {"momentum", 0}}))),
            2e-5);
}

// At a constant inner rate; when the rate falls, the momentum's share falls with it.
TEST_F(Invariants, I15_SlowMoAtAConstantInnerRateIsHeavyBall) {
  const Floats weights = Random();
  const std::vector<Floats> deltas = {Random(), Random(), Random(), Random()};
  const auto run = [&](const RuleSpec& outer) {
    TestModel model = OneWorker(DeltaSpec(kElements, outer), weights);
    for (const Floats& delta : deltas) model.Apply("a", OneTensor(delta));
    return model.Phi();
  };
  const Floats heavy_ball = run(Rule("heavy_ball", {{"lr", 0.7}, {"momentum", 0.5}}));
  RuleSpec slowmo = Rule("slowmo", {{"lr", 0.7}, {"momentum", 0.5}, {"inner_lr", 0.03}});
  EXPECT_LT(Distance(run(slowmo), heavy_ball), 5e-6);
  slowmo.schedules["inner_lr"] = {"exponential", {{"gamma", 0.5}, {"floor", 0.1}}};
  const Floats falling = run(slowmo);
  std::vector<double> phi(weights.begin(), weights.end()), u(kElements, 0);
  for (size_t t = 0; t < deltas.size(); ++t) {
    const double gamma = 0.03 * std::max(std::pow(0.5, t), 0.1);
    for (size_t i = 0; i < kElements; ++i) {
      u[i] = 0.5 * u[i] + deltas[t][i] / gamma;
      phi[i] -= 0.7 * gamma * u[i];
    }
  }
  EXPECT_LT(Distance(falling, Floats(phi.begin(), phi.end())), 5e-6);
  EXPECT_GT(Distance(falling, heavy_ball), 0.1);
}

TEST_F(Invariants, I16_DelayedNesterovOfOneWorkerIsNesterovAndOfMoreMovesAsOneStep) {
  const Floats weights = Random(64);
  const auto model_of = [&](const RuleSpec& outer) {
    ModelSpec spec = DeltaSpec(64, outer);
    spec.rounds.policy = RoundPolicy::kAsync;
    return OneWorker(spec, weights);
  };
  TestModel nesterov = model_of(Rule("nesterov")), single = model_of(Rule("delayed_nesterov"));
  for (int push = 0; push < 5; ++push) {
    const Floats delta = Random(64);
    nesterov.Apply("a", OneTensor(delta));
    single.Apply("a", OneTensor(delta));
    ASSERT_EQ(Bits(single.version().phi), Bits(nesterov.version().phi));
  }
  // N = 4 deltas move phi in total by lr (mean + beta x momentum), which a Nesterov step on their mean does
  // at once.
  TestModel four = model_of(Rule("delayed_nesterov", {{"delay", 4}})), at_once = model_of(Rule("nesterov"));
  for (int group = 0; group < 3; ++group) {
    Floats mean(64, 0);
    for (int push = 0; push < 4; ++push) {
      const Floats delta = Random(64);
      for (size_t i = 0; i < 64; ++i) mean[i] += delta[i] / 4;
      four.Apply("a", OneTensor(delta));
    }
    at_once.Apply("a", OneTensor(mean));
    EXPECT_LT(Distance(four.Phi(), at_once.Phi()), 1e-5);
  }
}

TEST_F(Invariants, I17_AtStalenessZeroABufferOfOneAndAsyncAreASyncRoundOfOneWorker) {
  const Floats weights = Random();
  const std::vector<Floats> deltas = {Random(), Random(), Random()};
  const auto run = [&](const RoundSpec& rounds) {
    ModelSpec spec = DeltaSpec(kElements, Rule("nesterov"));
    spec.rounds = rounds;
    TestModel model = OneWorker(spec, weights);
    for (const Floats& delta : deltas) model.Apply("a", OneTensor(delta));
    EXPECT_EQ(model.version().version.counter, deltas.size());
    return Bits(model.version().phi);
  };
  const std::string sync = run({});
  for (const char* const name : {"", "constant", "exponential", "hinge", "polynomial"}) {
    EXPECT_EQ(run({.policy = RoundPolicy::kAsync, .staleness = {.name = name}}), sync) << name;
    EXPECT_EQ(run({.policy = RoundPolicy::kBuffered, .buffer_pushes = 1, .staleness = {.name = name}}), sync)
        << name;
  }
}

// A fresh push to FedAsync has exactly the weight alpha, whatever counts old ones: what a sync of lookahead
// does.
TEST_F(Invariants, I17_AtStalenessZeroFedAsyncMixesByAlphaItself) {
  for (const double alpha : {0.0, 0.3, 0.6, 1.0}) {
    for (const char* const name : {"", "constant", "exponential", "hinge", "polynomial"}) {
      ModelSpec spec = DeltaSpec(kElements, Rule("fed_async", {{"alpha", alpha}}));
      spec.rounds.policy = RoundPolicy::kAsync;
      spec.rounds.staleness.name = name;
      TestModel model = OneWorker(spec, Random());
      for (int step = 0; step < 3; ++step) {
        const Floats theta = Random(), phi = model.Phi();
        Push push = model.Next("a", OneTensor(theta));
        push.header.kind = PushKind::kWeights;
        ASSERT_TRUE(model.Answer(std::move(push)).refusal.ok());
        Floats mixed(kElements);
        for (size_t i = 0; i < kElements; ++i) {
          mixed[i] = kernels::Lerp(phi[i], theta[i], static_cast<float>(alpha));
        }
        ASSERT_EQ(model.Phi(), alpha == 1 ? theta : mixed) << name << " alpha " << alpha;
      }
    }
  }
}

// The same gradients: k steps on the worker and one delta, or k gradients and a sync on the server.
TEST_F(Invariants, I19_DeltaModeWithAnSgdClientIsGradientModeWithSgdOnTheServer) {
  constexpr int kPeriod = 5;
  const double rate = 0.1;
  for (const RuleSpec& outer : OuterRules()) {
    const Floats weights = Random();
    TestModel server =
        OneWorker(GradientSpec(kElements, Rule("sgd", {{"lr", rate}}), outer, kPeriod), weights);
    TestModel client = OneWorker(DeltaSpec(kElements, outer), weights);
    for (int round = 0; round < 4; ++round) {
      Floats theta = client.Phi();
      for (int step = 0; step < kPeriod; ++step) {
        const Floats gradient = Random();
        server.Apply("a", OneTensor(gradient));
        for (size_t i = 0; i < kElements; ++i) theta[i] -= static_cast<float>(rate) * gradient[i];
      }
      Floats delta = client.Phi();
      for (size_t i = 0; i < kElements; ++i) delta[i] -= theta[i];
      client.Apply("a", OneTensor(delta));
      ASSERT_LT(Distance(client.Phi(), server.Phi()), 2e-5) << outer.name << " round " << round;
    }
  }
}

TEST_F(Invariants, I20_ADuplicateChangesNothingHoweverOftenItArrives) {
  for (const Reduction reduction : {Reduction::kRunning, Reduction::kOrdered}) {
    ModelSpec spec = GradientSpec(64, InnerRules()[3], OuterRules()[3], 2);
    spec.rounds.reduction = reduction;
    const Floats weights = Random(64);
    TestModel once(spec, OneTensor(weights)), often(spec, OneTensor(weights));
    for (TestModel* model : {&once, &often}) {
      for (const char* client : {"a", "b"}) model->Join(client);
    }
    std::vector<Push> sent;
    for (int step = 0; step < 20; ++step) {
      for (const char* client : {"a", "b"}) {
        const Push push = once.Next(client, OneTensor(Random(64)));
        once.Apply(push);
        sent.push_back(push);
        const uint64_t first = sent.size() > 12 ? sent.size() - 12 : 0;
        for (int repeat = 0; repeat < 5; ++repeat) {
          const Push& again = repeat == 0 ? push : sent[first + random_() % (sent.size() - first)];
          const PushAnswer answer = often.Answer(again);
          EXPECT_EQ(answer.outcome == PushOutcome::kDuplicate, repeat > 0);
        }
      }
      ASSERT_EQ(StateBits(often.version()), StateBits(once.version()));
    }
  }
}

// An image taken at any commit, brought back, and fed with what it does not hold: the same bits as never
// stopped.
TEST_F(Invariants, I21_ImageRestoreContinueIsTheUninterruptedRun) {
  std::vector<ModelSpec> specs;
  for (const RuleSpec& inner : InnerRules()) {
    for (const InnerState state : {InnerState::kKeep, InnerState::kReset, InnerState::kPullback}) {
      specs.push_back(GradientSpec(200, inner, Rule("lookahead"), 3));
      specs.back().inner_state = state;
    }
    specs.push_back(GradientSpec(200, inner, Rule("none"), 3));
  }
  for (const RuleSpec& outer : OuterRules()) {
    specs.push_back(GradientSpec(200, InnerRules()[3], outer, 3));
    specs.push_back(DeltaSpec(200, outer));
    for (const Reduction reduction : {Reduction::kRunning, Reduction::kOrdered}) {
      specs.push_back(DeltaSpec(200, outer));
      specs.back().rounds.policy = RoundPolicy::kBuffered;
      specs.back().rounds.buffer_pushes = 3;  // stops in mid-buffer
      specs.back().rounds.max_staleness = 100;
      specs.back().rounds.reduction = reduction;
    }
  }
  for (const ModelSpec& spec : specs) {
    const Floats weights = Random(200);
    TestModel model(spec, OneTensor(weights));
    std::vector<std::shared_ptr<const ModelVersion>> images = {model->current()};
    std::vector<Push> sent;
    for (const char* client : {"a", "b"}) model.Join(client);
    for (int step = 0; step < 8; ++step) {
      for (const char* client : {"a", "b"}) {
        sent.push_back(model.Next(client, OneTensor(Random(200))));
        const Effects effects = model.Apply(sent.back());
        if (effects.committed != nullptr) images.push_back(effects.committed);
      }
    }
    for (size_t i = 0; i < images.size(); ++i) {
      TestModel resumed(images[i], 2 + i);
      for (const char* client : {"a", "b"}) resumed.Join(client);
      for (Push push : sent) {
        push.header.epoch = resumed.epochs[push.header.client_id];
        resumed.Apply(push);  // what the image holds is a duplicate
      }
      ASSERT_EQ(StateBits(resumed.version()), StateBits(model.version()))
          << spec.inner.name << " " << spec.outer.name << " image " << i << " of " << images.size();
    }
  }
}

TEST_F(Invariants, I29_NesterovWithoutMomentumIsPlainSgd) {
  const Floats weights = Random();
  TestModel nesterov =
      OneWorker(GradientSpec(kElements, Without(Rule("sgd", {{"lr", 0.1}, {"nesterov", 1}}), "momentum"),
                             Rule("none"), 1),
                weights);
  TestModel plain = OneWorker(GradientSpec(kElements, Rule("sgd", {{"lr", 0.1}}), Rule("none"), 1), weights);
  for (int step = 0; step < 5; ++step) {
    const Floats gradient = Random();
    nesterov.Apply("a", OneTensor(gradient));
    plain.Apply("a", OneTensor(gradient));
    EXPECT_EQ(Bits(nesterov.version().phi), Bits(plain.version().phi));
  }
}

// One tensor, or its rows as two: the same elements, for every rule that looks at elements.
TEST_F(Invariants, I22_SplittingATensorByRowsChangesNothingForElementwiseRules) {
  constexpr size_t kColumns = 701, kTop = 2, kRows = 7, kCut = kTop * kColumns;
  const auto split = [&](const Floats& values) -> PushData {
    return {{.floats = Floats(values.begin(), values.begin() + kCut)},
            {.floats = Floats(values.begin() + kCut, values.end())}};
  };
  std::vector<ModelSpec> specs;
  for (const kernels::RuleInfo& inner : kernels::InnerRules()) {
    if (inner.whole_tensor || inner.sums > 0) continue;
    const RuleSpec outer = Rule(inner.eval_slot < 0 ? "lookahead" : "none");
    specs.push_back(GradientSpec(kRows * kColumns, Rule(std::string(inner.name)), outer, 2));
  }
  for (const kernels::RuleInfo& outer : kernels::OuterRules()) {
    if (outer.takes_weights || outer.merge_sums > 0) continue;
    specs.push_back(DeltaSpec(kRows * kColumns, Rule(std::string(outer.name))));
  }
  for (ModelSpec spec : specs) {
    const Floats weights = Random(kRows * kColumns);
    spec.tensors = {Trained("w", {kRows, kColumns})};
    TestModel whole = OneWorker(spec, weights);
    spec.tensors = {Trained("top", {kTop, kColumns}), Trained("bottom", {kRows - kTop, kColumns})};
    TestModel parts(spec, split(weights));
    parts.Join("a");
    for (int step = 0; step < 5; ++step) {
      const Floats push = Random(kRows * kColumns);
      whole.Apply("a", OneTensor(push));
      parts.Apply("a", split(push));
      Floats joined = parts.Theta(0);
      const Floats bottom = parts.Theta(1);
      joined.insert(joined.end(), bottom.begin(), bottom.end());
      ASSERT_EQ(joined, whole.Theta()) << spec.inner.name << " " << spec.outer.name;
    }
  }
}

// Policies at a sync must be told apart: each has its own trajectory.
TEST_F(Invariants, InnerStatePoliciesDiffer) {
  const Floats weights = Random(), gradient = Random();
  std::set<std::string> ends;
  for (const InnerState state : {InnerState::kKeep, InnerState::kReset, InnerState::kPullback}) {
    ModelSpec spec = GradientSpec(kElements, InnerRules()[1], Rule("lookahead"), 2);
    spec.inner_state = state;
    TestModel model = OneWorker(spec, weights);
    for (int step = 0; step < 5; ++step) model.Apply("a", OneTensor(gradient));
    ends.insert(Bits(model.version().theta));
    EXPECT_EQ((*model.version().counters)[0].inner_steps, state == InnerState::kReset ? 1 : 5);
  }
  EXPECT_EQ(ends.size(), 3u);
}

}  // namespace
}  // namespace stepback::core_test
