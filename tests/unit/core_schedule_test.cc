// Schedules against a second implementation of each formula of algorithms.md section 9: recursions as
// training scripts run them, and figures worked out by hand. The comparison with torch itself is
// tests/python/test_schedules.py.
#include "server/core/schedule.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>

namespace stepback {
namespace {

using testing::HasSubstr;

Schedule Make(const std::string& name, std::map<std::string, double> values) {
  absl::StatusOr<Schedule> schedule = Schedule::Make({.name = name, .values = std::move(values)}, "s");
  EXPECT_TRUE(schedule.ok()) << schedule.status();
  return *std::move(schedule);
}

std::string Refusal(const std::string& name, std::map<std::string, double> values) {
  return std::string(Schedule::Make({.name = name, .values = std::move(values)}, "s").status().message());
}

// Factor by factor over the first steps.
void ExpectFollows(const Schedule& schedule, uint64_t steps,
                   const std::function<double(uint64_t)>& expected) {
  for (uint64_t t = 0; t < steps; ++t) ASSERT_NEAR(schedule.FactorAt(t), expected(t), 1e-12) << "step " << t;
}

// A recursion: state f becomes next(f, t) after step t.
std::function<double(uint64_t)> Recursion(double first, std::function<double(double, uint64_t)> next) {
  return [first, next](uint64_t t) {
    double f = first;
    for (uint64_t i = 0; i < t; ++i) f = next(f, i);
    return f;
  };
}

TEST(Schedule, StepMultipliesEveryFewSteps) {
  ExpectFollows(Make("step", {{"step_size", 3}, {"gamma", 0.5}}), 20,
                Recursion(1, [](double f, uint64_t t) { return (t + 1) % 3 == 0 ? f * 0.5 : f; }));
  ExpectFollows(Make("step", {{"step_size", 2}, {"gamma", 0.1}, {"floor", 0.01}}), 12,
                Recursion(1, [](double f, uint64_t t) { return t % 2 == 1 ? std::max(f * 0.1, 0.01) : f; }));
}

TEST(Schedule, MultistepMultipliesAtItsMilestones) {
  const Schedule schedule =
      Make("multistep", {{"gamma", 0.2}, {"milestone_1", 3}, {"milestone_2", 7}, {"milestone_5", 7}});
  ExpectFollows(schedule, 12, [](uint64_t t) { return t < 3 ? 1 : t < 7 ? 0.2 : 0.008; });
  EXPECT_NEAR(schedule.SmallestFactor(), 0.008, 1e-15);
}

TEST(Schedule, ExponentialMayStepAndStop) {
  ExpectFollows(Make("exponential", {{"gamma", 0.9}}), 30,
                Recursion(1, [](double f, uint64_t) { return f * 0.9; }));
  ExpectFollows(Make("exponential", {{"gamma", 0.5}, {"steps", 4}}), 20,
                Recursion(1, [](double f, uint64_t) { return f * std::pow(2, -0.25); }));
  ExpectFollows(Make("exponential", {{"gamma", 0.5}, {"steps", 4}, {"staircase", 1}, {"floor", 0.2}}), 20,
                [](uint64_t t) {
                  return t < 4 ? 1 : t < 8 ? 0.5 : t < 12 ? 0.25 : 0.2;
                });
}

TEST(Schedule, InverseSqrtIsTheTransformersRateRelativeToItsPeak) {
  constexpr double kWarmup = 10, kModel = 512;
  const auto transformer = [](double t) {
    return std::pow(kModel, -0.5) * std::min(std::pow(t, -0.5), t * std::pow(kWarmup, -1.5));
  };
  ExpectFollows(Make("inverse_sqrt", {{"warmup", kWarmup}}), 100,
                [&](uint64_t t) { return transformer(static_cast<double>(t) + 1) / transformer(kWarmup); });
  ExpectFollows(Make("inverse_sqrt", {}), 9, [](uint64_t t) { return 1 / std::sqrt(t + 1.0); });
}

TEST(Schedule, LinearAddsTheSameAmountEveryStep) {
  ExpectFollows(Make("linear", {{"start_factor", 0.2}, {"end_factor", 0.7}, {"steps", 10}}), 15,
                Recursion(0.2, [](double f, uint64_t t) { return t < 10 ? f + 0.05 : f; }));
}

TEST(Schedule, PolynomialEndsAtItsLeastFactor) {
  ExpectFollows(Make("polynomial", {{"steps", 4}, {"power", 2}}), 8,
                [](uint64_t t) { return std::vector<double>{1, 0.5625, 0.25, 0.0625, 0, 0, 0, 0}[t]; });
  // torch's PolynomialLR steps by ((1 - t/T) / (1 - (t-1)/T))^p.
  ExpectFollows(Make("polynomial", {{"steps", 12}, {"power", 0.7}}), 12,
                Recursion(1, [](double f, uint64_t t) {
                  return f * std::pow((1 - (t + 1) / 12.0) / (1 - t / 12.0), 0.7);
                }));
  EXPECT_DOUBLE_EQ(Make("polynomial", {{"steps", 4}, {"min_factor", 0.5}}).FactorAt(2), 0.75);
}

TEST(Schedule, CosineStaysDownOrComesBackUp) {
  constexpr int kSteps = 7;
  // The half-angle form: cos^2(x / 2).
  const auto wave = [](double t) { return std::pow(std::cos(M_PI * t / (2 * kSteps)), 2); };
  ExpectFollows(Make("cosine", {{"steps", kSteps}, {"min_factor", 0.1}}), 30, [&](uint64_t t) {
    return 0.1 + 0.9 * wave(static_cast<double>(std::min<uint64_t>(t, kSteps)));
  });
  const Schedule periodic = Make("cosine", {{"steps", kSteps}, {"periodic", 1}});
  ExpectFollows(periodic, 40, [&](uint64_t t) { return wave(static_cast<double>(t)); });
  EXPECT_DOUBLE_EQ(periodic.FactorAt(2'000'000 * kSteps), 1) << "no rounding gathers";
}

TEST(Schedule, WsdWarmsUpStaysAndFalls) {
  const Schedule line = Make("wsd", {{"warmup", 4}, {"steps", 20}, {"decay_steps", 10}, {"min_factor", 0.2}});
  ExpectFollows(line, 30, [](uint64_t t) {
    if (t < 4) return (t + 1) / 4.0;
    return t <= 10 ? 1 : t >= 20 ? 0.2 : 1 - 0.08 * (t - 10.0);
  });
  const Schedule root = Make("wsd", {{"steps", 20}, {"decay_steps", 16}, {"sqrt", 1}});
  EXPECT_DOUBLE_EQ(root.FactorAt(4), 1);
  EXPECT_DOUBLE_EQ(root.FactorAt(8), 0.5);
  EXPECT_DOUBLE_EQ(root.FactorAt(13), 0.25);
  EXPECT_DOUBLE_EQ(root.FactorAt(99), 0);
  EXPECT_THAT(Refusal("wsd", {{"warmup", 11}, {"steps", 20}, {"decay_steps", 10}}),
              HasSubstr("decay_steps 10 and warmup 11 are above steps 20"));
}

TEST(Schedule, AWarmupRisesInALineAndTheCurveBeginsAtItsEnd) {
  ExpectFollows(Make("constant", {{"warmup", 4}}), 9,
                [](uint64_t t) { return std::min((t + 1) / 4.0, 1.0); });
  ExpectFollows(Make("constant", {{"warmup", 4}, {"warmup_start", 1}}), 9,
                [](uint64_t t) { return std::min(t / 4.0, 1.0); });  // optax: the first update moves nothing
  const Schedule alone = Make("cosine", {{"steps", 9}}),
                 after = Make("cosine", {{"steps", 9}, {"warmup", 5}});
  for (uint64_t t = 0; t < 20; ++t) EXPECT_EQ(after.FactorAt(5 + t), alone.FactorAt(t));
  EXPECT_THAT(Refusal("linear", {{"warmup", 3}}), HasSubstr("the line is a warm-up of its own"));
}

// A rule's bounds are checked against these.
TEST(Schedule, NoFactorLeavesItsBounds) {
  const std::map<std::string, std::map<std::string, double>> kNeeded = {
      {"cosine", {{"steps", 13}, {"min_factor", 0.1}, {"periodic", 1}}},
      {"exponential", {{"gamma", 0.8}, {"floor", 0.05}, {"warmup", 3}}},
      {"inverse_sqrt", {{"warmup", 7}}},
      {"linear", {{"start_factor", 0.9}, {"end_factor", 0.3}}},
      {"multistep", {{"milestone_1", 5}}},
      {"polynomial", {{"steps", 11}, {"min_factor", 0.2}, {"warmup", 2}, {"warmup_start", 1}}},
      {"step", {{"step_size", 4}}},
      {"wsd", {{"steps", 20}, {"decay_steps", 5}, {"min_factor", 0.3}}},
  };
  for (const ScheduleInfo& info : Schedules()) {
    const auto needed = kNeeded.find(std::string(info.name));
    if (needed == kNeeded.end()) {
      EXPECT_EQ(info.name, "constant");
      continue;
    }
    const Schedule schedule = Make(needed->first, needed->second);
    for (uint64_t t = 0; t < 200; ++t) {
      EXPECT_LE(schedule.FactorAt(t), schedule.LargestFactor()) << info.name << " " << t;
      EXPECT_GE(schedule.FactorAt(t), schedule.SmallestFactor() - 1e-15) << info.name << " " << t;
    }
  }
}

TEST(Schedule, RefusesWhatNoScheduleHas) {
  EXPECT_THAT(Refusal("cosine", {{"step", 3}}),
              HasSubstr("s.values.step is no parameter of schedule 'cosine'"));
  EXPECT_THAT(Refusal("cosine", {{"step", 3}}), HasSubstr("did you mean 'steps'?"));
  EXPECT_THAT(Refusal("multistep", {}), HasSubstr("s.values.milestone_1 is missing"));
  EXPECT_THAT(Refusal("multistep", {{"milestone_1", 0}}), HasSubstr("expected an integer in [1,"));
  EXPECT_THAT(Refusal("polynomial", {{"steps", 3}, {"power", 0}}),
              HasSubstr("is 0, expected a number in (0, 100]"));
  EXPECT_THAT(Refusal("constant", {{"warmup", -1}}), HasSubstr("is -1"));
  EXPECT_THAT(Refusal("constant", {{"warmup_start", 0.5}}),
              HasSubstr("is 0.5, expected an integer in [0, 1]"));
}

}  // namespace
}  // namespace stepback
