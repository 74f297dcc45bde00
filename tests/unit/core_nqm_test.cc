// The noisy quadratic model (algorithms.md 7) through a model of the core: every element is an independent
// replica, and mean and variance of the weights must lie where the exact recursions put them.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>

#include "tests/unit/core_support.h"

namespace stepback::core_test {
namespace {

constexpr size_t kReplicas = 4096;

struct Moments {
  double mean = 0, variance = 0;
};

Moments MomentsOf(const Floats& values) {
  Moments m;
  for (const float x : values) m.mean += x;
  m.mean /= static_cast<double>(values.size());
  for (const float x : values) m.variance += (x - m.mean) * (x - m.mean);
  m.variance /= static_cast<double>(values.size() - 1);
  return m;
}

void ExpectInBands(const Floats& values, const Moments& exact, const std::string& what) {
  const Moments seen = MomentsOf(values);
  const double replicas = static_cast<double>(values.size());
  EXPECT_LT(std::abs(seen.mean - exact.mean), 5 * std::sqrt(exact.variance / replicas)) << what;
  EXPECT_LT(std::abs(seen.variance / exact.variance - 1), 5 * std::sqrt(2 / (replicas - 1))) << what;
}

// The worker's gradient at theta: a (theta - c) with c ~ N(0, 1) and a = 1.
Floats Gradient(const Floats& theta, std::mt19937_64* random) {
  Floats gradient = RandomFloats(random, theta.size());
  for (size_t i = 0; i < theta.size(); ++i) gradient[i] = theta[i] - gradient[i];
  return gradient;
}

// Set P1: lr 0.1, alpha 0.5, k 5, start at 1; the transient (mean, variance) is published in
// algorithms.md 7.3.
TEST(NoisyQuadratic, LookaheadFollowsTheExactTransientOfSetP1) {
  const std::map<int, Moments> published = {{4, {.6561, .02997541}},
                                            {5, {.795245, .008570020525}},
                                            {10, {.632414610025, .0139898267132}},
                                            {50, {.101160151755, .0230757818765}},
                                            {100, {.010233376303, .0233119250359}}};
  SCOPED_TRACE(fmt::format("seed {}", Seed()));
  std::mt19937_64 random(Seed());
  TestModel model(GradientSpec(kReplicas, Rule("sgd", {{"lr", 0.1}}), Rule("lookahead"), 5),
                  OneTensor(Floats(kReplicas, 1)));
  model.Join("a");
  // The same noise in fp64: the trajectory itself, not only its moments.
  std::vector<double> fast(kReplicas, 1), slow(kReplicas, 1);
  for (int t = 1; t <= 1000; ++t) {
    const Floats gradient = Gradient(model.Theta(), &random);
    const Floats theta = model.Theta();
    model.Apply("a", OneTensor(gradient));
    for (size_t i = 0; i < kReplicas; ++i) {
      const double noise = double{theta[i]} - gradient[i];
      fast[i] -= 0.1 * (fast[i] - noise);
      if (t % 5 == 0) fast[i] = slow[i] += 0.5 * (fast[i] - slow[i]);
    }
    if (const auto exact = published.find(t); exact != published.end()) {
      ExpectInBands(model.Theta(), exact->second, fmt::format("fast weights after {} steps", t));
      if (t % 5 == 0)
        ExpectInBands(model.Phi(), exact->second, fmt::format("slow weights after {} steps", t));
    }
  }
  for (size_t i = 0; i < kReplicas; ++i) {
    ASSERT_NEAR(model.Theta()[i], fast[i], 1e-5 * std::max(1.0, std::abs(fast[i])) + 1e-6);
  }
  // Stationary: half the expected loss of table 7.3, P1.
  ExpectInBands(model.Phi(), {0, 2 * 0.0116571832814}, "stationary");
}

TEST(NoisyQuadratic, InnerStatePoliciesHaveTheirOwnVariances) {
  const std::map<InnerState, Moments> published = {
      {InnerState::kKeep, {-0.000456654806807, 0.129507512562}},
      {InnerState::kReset, {0.000726401377697, 0.075178517954}},
      {InnerState::kPullback, {0.00756650095648, 0.101172661455}}};
  for (const auto& [policy, exact] : published) {
    std::mt19937_64 random(Seed());
    ModelSpec spec =
        GradientSpec(kReplicas, Rule("sgd", {{"lr", 0.1}, {"momentum", 0.9}}), Rule("lookahead"), 5);
    spec.inner_state = policy;
    TestModel model(spec, OneTensor(Floats(kReplicas, 1)));
    model.Join("a");
    for (int t = 1; t <= 50; ++t) model.Apply("a", OneTensor(Gradient(model.Theta(), &random)));
    ExpectInBands(model.Theta(), exact, fmt::format("policy {} seed {}", static_cast<int>(policy), Seed()));
  }
}

// Delta mode: n workers run k SGD steps each; DiLoCo, heavy ball and FedAvg after ten rounds
// (algorithms.md 7.4).
TEST(NoisyQuadratic, OuterRulesFollowTheExactMomentsInDeltaMode) {
  struct Case {
    RuleSpec outer;
    Moments exact;
  };
  for (const Case& c :
       {Case{Rule("nesterov", {{"lr", 0.7}, {"momentum", 0.9}}), {0.121044218556, 0.0354866923322}},
        Case{Rule("average"), {0.00515377520732, 0.0131575452448}}}) {
    std::mt19937_64 random(Seed());
    TestModel model(DeltaSpec(kReplicas, c.outer), OneTensor(Floats(kReplicas, 1)));
    for (const char* client : {"a", "b", "c", "d"}) model.Join(client);
    for (int round = 0; round < 10; ++round) {
      const Floats base = model.Phi();
      for (const char* client : {"a", "b", "c", "d"}) {
        Floats theta = base;
        for (int step = 0; step < 5; ++step) {
          const Floats gradient = Gradient(theta, &random);
          for (size_t i = 0; i < kReplicas; ++i) theta[i] -= 0.1f * gradient[i];
        }
        Floats delta = base;
        for (size_t i = 0; i < kReplicas; ++i) delta[i] -= theta[i];
        model.Apply(client, OneTensor(delta));
      }
    }
    EXPECT_EQ(model.version().version.counter, 10u);
    ExpectInBands(model.Phi(), c.exact, fmt::format("{} seed {}", c.outer.name, Seed()));
  }
}

}  // namespace
}  // namespace stepback::core_test
