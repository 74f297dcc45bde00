// The noisy quadratic model through a real server (algorithm specification, sections 7.1-7.3): R independent
// replicas of d coordinates are the rows of one tensor, the client sends the gradient a (theta - c), c ~ N(0,
// sigma^2), and mean and variance over the rows must lie where the exact recursion says. The recursion here
// is fp64 and knows nothing of the server.
#include <cmath>
#include <random>
#include <vector>

#include "gtest/gtest.h"
#include "tests/property/trainer.h"

namespace stepback::property {
namespace {

struct Moments {
  double mean = 1, variance = 0;
};

struct Trajectory {
  Moments fast, slow;
};

struct Setting {
  double rate, alpha;
  int k;
};

// Exact mean and variance of fast and slow weights after `steps` inner steps from theta = phi = 1, for one
// coordinate with curvature a and unit noise (data-noise model: the injected variance is rate^2 a^2).
Trajectory Exact(double a, const Setting& s, int steps) {
  const double r = 1 - s.rate * a, q = s.rate * s.rate * a * a;
  Trajectory t;
  double covariance = 0;  // of slow and fast
  for (int step = 1; step <= steps; ++step) {
    t.fast = {r * t.fast.mean, r * r * t.fast.variance + q};
    covariance *= r;
    if (step % s.k != 0) continue;
    t.slow.mean = (1 - s.alpha) * t.slow.mean + s.alpha * t.fast.mean;
    t.slow.variance = (1 - s.alpha) * (1 - s.alpha) * t.slow.variance +
                      2 * s.alpha * (1 - s.alpha) * covariance + s.alpha * s.alpha * t.fast.variance;
    t.fast = t.slow;
    covariance = t.slow.variance;
  }
  return t;
}

// The published transients of set P1 (section 7.3) hold the recursion above to account.
TEST(NoisyQuadraticRecursion, GivesThePublishedTransients) {
  const Setting p1{.rate = .1, .alpha = .5, .k = 5};
  const struct {
    int steps;
    double mean, variance;
  } published[] = {{4, .6561, .02997541},
                   {5, .795245, .008570020525},
                   {10, .632414610025, .0139898267132},
                   {50, .101160151755, .0230757818765},
                   {100, .010233376303, .0233119250359}};
  for (const auto& p : published) {
    const Trajectory t = Exact(1, p1, p.steps);
    EXPECT_NEAR(t.fast.mean, p.mean, 1e-11) << p.steps;
    EXPECT_NEAR(t.fast.variance, p.variance, 1e-11) << p.steps;
  }
}

// Checks each column of `flat` (rows x curvatures) against its exact moments, five standard errors wide.
void ExpectMoments(const Flat& flat, size_t rows, const std::vector<double>& curvatures,
                   const Setting& setting, int step, Moments Trajectory::*which, const char* name) {
  const size_t d = curvatures.size();
  for (size_t j = 0; j < d; ++j) {
    const Moments exact = Exact(curvatures[j], setting, step).*which;
    double sum = 0, squares = 0;
    for (size_t i = 0; i < rows; ++i) sum += flat[i * d + j];
    const double mean = sum / rows;
    for (size_t i = 0; i < rows; ++i) squares += (flat[i * d + j] - mean) * (flat[i * d + j] - mean);
    const double variance = squares / (rows - 1);
    const double n = static_cast<double>(rows);
    // fp32 rounding of the weights themselves bounds what a variance near zero can show.
    EXPECT_NEAR(mean, exact.mean, 5 * std::sqrt(exact.variance / n) + 1e-6)
        << name << " step " << step << " a=" << curvatures[j];
    EXPECT_NEAR(variance, exact.variance, 5 * std::sqrt(2 / (n - 1)) * exact.variance + 1e-12)
        << name << " step " << step << " a=" << curvatures[j];
  }
}

class Laboratory {
 public:
  Laboratory(size_t rows, std::vector<double> curvatures, const Setting& setting, uint64_t seed)
      : rows_(rows),
        curvatures_(std::move(curvatures)),
        setting_(setting),
        random_(seed),
        theta_(rows * curvatures_.size(), 1.0f),
        trainer_(Definition(), theta_) {}

  void Run(const std::vector<int>& checked) {
    int step = 0;
    for (int until : checked) {
      for (; step < until; ++step) Step();
      ExpectMoments(trainer_.Fast(), rows_, curvatures_, setting_, step, &Trajectory::fast, "fast");
      ExpectMoments(trainer_.Slow(), rows_, curvatures_, setting_, step, &Trajectory::slow, "slow");
      if (::testing::Test::HasFailure()) return;
    }
  }

 private:
  client::ModelDefinition Definition() const {
    client::ModelDefinition definition = GradientModel(
        {"sgd", {{"lr", setting_.rate}}}, {"lookahead", {{"alpha", setting_.alpha}}}, setting_.k);
    definition.tensors = {{.name = "theta", .shape = {rows_, curvatures_.size()}}};
    return definition;
  }

  void Step() {
    const size_t d = curvatures_.size();
    Flat gradient(theta_.size());
    for (size_t i = 0; i < gradient.size(); ++i) {
      gradient[i] = static_cast<float>(curvatures_[i % d] * (theta_[i] - normal_(random_)));
    }
    trainer_.PushGradient("w", gradient);
    theta_ = trainer_.PullAs("w");
  }

  size_t rows_;
  std::vector<double> curvatures_;
  Setting setting_;
  std::mt19937_64 random_;
  std::normal_distribution<float> normal_;
  Flat theta_;
  Trainer trainer_;
};

TEST(NoisyQuadratic, SetP1StaysInsideItsBands) {
  Laboratory(4096, {1.0}, {.rate = .1, .alpha = .5, .k = 5}, 20190719)
      .Run({1, 4, 5, 7, 10, 50, 100, 103, 1000});
}

TEST(NoisyQuadratic, TheWideSpectrumStaysInsideItsBands) {
  std::vector<double> curvatures;
  for (int j = 0; j < 32; ++j) curvatures.push_back(1 / std::pow(1000.0, j / 31.0));
  Laboratory(32768, curvatures, {.rate = .5, .alpha = .5, .k = 5}, 20190720).Run({5, 8, 50, 100, 200});
}

// rate x a = 2.1: SGD alone multiplies its distance by -1.1 every step, a sync after five of them takes it
// back to -0.305 of where the cycle began (specification, section 7.2).
TEST(NoisyQuadratic, AnOddPeriodStaysWhereSgdAloneRunsAway) {
  const Setting lookahead{.rate = 2.1, .alpha = .5, .k = 5};
  const Moments alone = Exact(1, {.rate = 2.1, .alpha = 1, .k = 5}, 200).fast;
  ASSERT_GT(std::abs(alone.mean), 1e8);
  ASSERT_NEAR(Exact(1, lookahead, 400).slow.variance, 9.22691778998, 1e-9);
  Laboratory(4096, {1.0}, lookahead, 20190721).Run({4, 5, 10, 52, 100, 200});
}

}  // namespace
}  // namespace stepback::property
