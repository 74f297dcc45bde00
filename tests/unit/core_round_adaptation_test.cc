// What a round adapts to: the age of pushes, the time that quorums take, the pace of the workers, and the
// outer step's place in the schedule of the sync period.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "server/core/grace_window.h"
#include "server/core/local_steps.h"
#include "server/core/presets.h"
#include "server/core/rule_choice.h"
#include "server/core/spec_check.h"
#include "server/core/staleness_weight.h"
#include "server/core/sync_period.h"
#include "tests/unit/core_support.h"

namespace stepback {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::ElementsAre;
using testing::HasSubstr;

// --- age ---

RoundSpec Aged(const std::string& name, std::map<std::string, double> values = {}) {
  return {.policy = RoundPolicy::kAsync, .staleness = {.name = name, .values = std::move(values)}};
}
std::vector<double> Weights(const RoundSpec& rounds, const std::vector<uint64_t>& ages) {
  const auto weight = StalenessWeight::Make(rounds, "r");
  EXPECT_TRUE(weight.ok()) << weight.status();
  std::vector<double> weights;
  for (const uint64_t age : ages) weights.push_back(weight->At(age));
  return weights;
}
std::string Refusal(const RoundSpec& rounds) {
  return std::string(StalenessWeight::Make(rounds, "r").status().message());
}

TEST(StalenessWeight, FollowsTheFormulasOfFedAsync) {
  EXPECT_THAT(Weights(Aged("constant"), {0, 1, 100}), ElementsAre(1, 1, 1));
  EXPECT_THAT(Weights(Aged("polynomial"), {0, 3, 8}), ElementsAre(1, 0.5, 1.0 / 3));
  EXPECT_THAT(Weights(Aged("polynomial", {{"exponent", 2}}), {0, 1, 3}), ElementsAre(1, 0.25, 0.0625));
  EXPECT_THAT(Weights(Aged("hinge"), {0, 4, 5, 6}), ElementsAre(1, 1, 1.0 / 11, 1.0 / 21));
  EXPECT_THAT(Weights(Aged("hinge", {{"a", 1}, {"b", 0}}), {0, 1, 3}), ElementsAre(1, 0.5, 0.25));
  EXPECT_THAT(Weights(Aged("exponential", {{"gamma", 0.5}}), {0, 1, 3}), ElementsAre(1, 0.5, 0.125));
}

TEST(StalenessWeight, WithoutANameIsThePolynomialOfTheExponent) {
  EXPECT_THAT(Weights({.policy = RoundPolicy::kAsync}, {0, 1, 9}), ElementsAre(1, 1, 1));
  EXPECT_THAT(Weights({.policy = RoundPolicy::kAsync, .staleness_exponent = 1}, {0, 1, 3}),
              ElementsAre(1, 0.5, 0.25));
}

// 0 would take the push out of the mean and leave its share in the divisor.
TEST(StalenessWeight, NeverVanishes) {
  for (const StalenessInfo& info : StalenessFunctions()) {
    const auto weights = Weights(Aged(std::string(info.name)), {0, 1, 7, 1'000'000'000});
    EXPECT_EQ(weights[0], 1) << info.name;
    for (size_t i = 1; i < weights.size(); ++i) {
      EXPECT_GT(static_cast<float>(weights[i]), 0) << info.name;
      EXPECT_LE(weights[i], weights[i - 1]) << info.name;
    }
  }
}

TEST(StalenessWeight, RefusesWhatNoFunctionHas) {
  EXPECT_THAT(Refusal(Aged("hing")),
              HasSubstr("r.staleness.name 'hing' is no staleness weight; did you mean 'hinge'?"));
  EXPECT_THAT(Refusal(Aged("hinge", {{"c", 1}})), HasSubstr("r.staleness.values.c is no parameter"));
  EXPECT_THAT(Refusal(Aged("exponential", {{"gamma", 0}})), HasSubstr("expected a number in (0, 1]"));
  RoundSpec both = Aged("hinge");
  both.staleness_exponent = 0.5;
  EXPECT_THAT(Refusal(both), HasSubstr("r.staleness_exponent is 0.5 beside staleness 'hinge'"));
  EXPECT_THAT(Refusal(Aged("", {{"a", 1}})), HasSubstr("is set without a name"));
}

// --- grace ---

RoundSpec Graceful(double grace_seconds, double factor) {
  return {.quorum = 2, .grace_seconds = grace_seconds, .grace_factor = factor};
}

TEST(GraceWindow, IsTheSecondsWithoutAFactor) {
  GraceWindow grace;
  EXPECT_EQ(grace.For(Graceful(0, 0)), std::nullopt);
  EXPECT_EQ(grace.For(Graceful(1.5, 0)), milliseconds(1500));
  grace.Record(seconds(100));
  EXPECT_EQ(grace.For(Graceful(1.5, 0)), milliseconds(1500));
}

TEST(GraceWindow, FollowsTheMedianOfRecentQuorums) {
  GraceWindow grace;
  EXPECT_EQ(grace.For(Graceful(0, 2)), std::nullopt) << "nothing seen yet";
  EXPECT_EQ(grace.For(Graceful(9, 2)), seconds(9));
  grace.Record(seconds(1));
  EXPECT_EQ(grace.For(Graceful(0, 2)), seconds(2));
  grace.Record(seconds(100));  // one slow round
  grace.Record(seconds(3));
  EXPECT_EQ(grace.For(Graceful(0, 2)), seconds(6));
  grace.Record(seconds(5));
  EXPECT_EQ(grace.For(Graceful(0, 2)), seconds(8)) << "of four, the middle two's mean";
  EXPECT_EQ(grace.For(Graceful(7, 2)), seconds(7)) << "at most grace_seconds";
}

TEST(GraceWindow, ForgetsRoundsThatAreLongPast) {
  GraceWindow grace;
  for (size_t i = 0; i < GraceWindow::kRoundsRemembered; ++i) grace.Record(seconds(50));
  for (size_t i = 0; i < GraceWindow::kRoundsRemembered; ++i) grace.Record(seconds(2));
  EXPECT_EQ(grace.For(Graceful(0, 1)), seconds(2));
}

// Two of three workers come; the third is waited for as long as quorums take.
TEST(GraceWindow, ClosesARoundOfTheModel) {
  ModelSpec spec = core_test::DeltaSpec(1);
  spec.rounds = Graceful(20, 3);
  core_test::TestModel model(spec, core_test::OneTensor({0}));
  for (const char* const id : {"a", "b", "c"}) model.Join(id);
  const auto round = [&](Duration spread) {
    model.Apply("a", core_test::OneTensor({1}));
    model.now += spread;
    const Effects effects = model.Apply("b", core_test::OneTensor({1}));
    EXPECT_TRUE(effects.events.empty()) << "c is awaited";
    return model.now;
  };

  const TimePoint first = round(seconds(2));
  EXPECT_EQ(model->NextTick(), first + seconds(20)) << "no round has closed yet: grace_seconds";
  EXPECT_EQ(model->Tick(first + seconds(20) - Duration(1)).committed, nullptr);
  Effects closed = model->Tick(first + seconds(20));
  ASSERT_NE(closed.committed, nullptr);
  EXPECT_EQ(closed.events[0].reason, "grace of 20 s after the quorum of 2 passed with 2 of 3 workers");

  model.now = first + seconds(25);
  const TimePoint second = round(seconds(4));
  EXPECT_EQ(model->NextTick(), second + seconds(6)) << "3 x the 2 s that the first quorum took";
  EXPECT_THAT(model->WaitingFor(), HasSubstr("2 of 3 workers, grace of 6 s after the quorum runs"));
  EXPECT_NE(model->Tick(second + seconds(6)).committed, nullptr);

  model.now = second + seconds(7);
  const TimePoint third = round(seconds(0));
  EXPECT_EQ(model->NextTick(), third + seconds(9)) << "3 x the median of 2 s and 4 s";
  EXPECT_NE(model.Apply("c", core_test::OneTensor({1})).committed, nullptr) << "everyone is there: no wait";
}

TEST(GraceWindow, IsASyncRoundsAlone) {
  ModelSpec spec = core_test::DeltaSpec(1);
  spec.rounds = Graceful(0, 2);
  EXPECT_TRUE(ValidateSpec(spec).ok()) << ValidateSpec(spec);
  spec.rounds.quorum = 1;
  EXPECT_THAT(std::string(ValidateSpec(spec).message()),
              HasSubstr("grace_factor is 2 with quorum 1, expected quorum at least 2"));
  spec.rounds.grace_factor = 101;
  EXPECT_THAT(std::string(ValidateSpec(spec).message()),
              HasSubstr("spec.rounds.grace_factor is 101, expected 0..100"));
  spec.rounds = {.policy = RoundPolicy::kBuffered, .grace_seconds = 1};
  EXPECT_THAT(std::string(ValidateSpec(spec).message()),
              HasSubstr("spec.rounds.grace_seconds is set, but only a SYNC round"));
  spec.rounds.grace_seconds = -1;
  EXPECT_THAT(std::string(ValidateSpec(spec).message()), HasSubstr("is -1, expected 0..31536000"));
}

// --- pace ---

TEST(LocalSteps, AreTheShareOfTheFastestWorkersPace) {
  WorkerPace worker;
  EXPECT_EQ(LocalSteps(50, worker, 10), 50u) << "not known yet";
  worker.Pushed(20, TimePoint(seconds(10)));
  EXPECT_EQ(LocalSteps(50, worker, 10), 50u) << "one push has no duration";
  worker.Pushed(20, TimePoint(seconds(14)));
  EXPECT_EQ(worker.steps_per_second, 5);
  EXPECT_EQ(LocalSteps(50, worker, 10), 25u);
  EXPECT_EQ(LocalSteps(50, worker, 15), 16u) << "rounded down";
  EXPECT_EQ(LocalSteps(50, worker, 1e6), 1u) << "at least one";
  EXPECT_EQ(LocalSteps(50, worker, 5), 50u) << "the fastest runs all of them";
  EXPECT_EQ(LocalSteps(0, worker, 5), 0u);
  worker.Pushed(7, TimePoint(seconds(14)));
  EXPECT_EQ(worker.steps_per_second, 5) << "a replay in the same instant says nothing";
}

Push Steps(core_test::TestModel* model, const std::string& id, uint64_t local_steps) {
  Push push = model->Next(id, core_test::OneTensor({1}));
  push.header.local_steps = local_steps;
  return push;
}

TEST(LocalSteps, AreToldInEveryAnswer) {
  ModelSpec spec = core_test::DeltaSpec(1);
  spec.sync_period = 40;
  spec.rounds = {.policy = RoundPolicy::kAsync, .dynamic_local_steps = true};
  core_test::TestModel model(spec, core_test::OneTensor({0}));
  model.Join("fast");
  model.Join("slow");
  EXPECT_EQ(model.Answer(Steps(&model, "fast", 40)).local_steps, 40u);
  EXPECT_EQ(model.Answer(Steps(&model, "slow", 40)).local_steps, 40u);
  model.now += seconds(4);
  EXPECT_EQ(model.Answer(Steps(&model, "fast", 40)).local_steps, 40u) << "10 per second";
  model.now += seconds(12);
  const PushAnswer slow = model.Answer(Steps(&model, "slow", 40));
  EXPECT_EQ(slow.local_steps, 10u) << "2.5 per second";
  EXPECT_EQ(slow.reason, "applied at once; next 10 local steps: 2.5 per second, the fastest worker 10");
  EXPECT_EQ(model->Open({.client_id = "slow", .attach = true}, model.now)->local_steps, 10u);
  EXPECT_EQ(model->Open({.client_id = "new"}, model.now)->local_steps, 40u);

  ASSERT_TRUE(model->Close("fast", model.epochs["fast"], model.now).ok());
  model.now += seconds(4);
  EXPECT_EQ(model.Answer(Steps(&model, "slow", 10)).local_steps, 40u) << "the fastest of those that are left";
}

TEST(LocalSteps, AreDynamicOnlyWhereThePaceIsTheWorkersOwn) {
  ModelSpec spec = core_test::DeltaSpec(1);
  spec.sync_period = 40;
  spec.rounds.dynamic_local_steps = true;
  EXPECT_THAT(std::string(ValidateSpec(spec).message()),
              HasSubstr("dynamic_local_steps is set in SYNC rounds"));
  spec.rounds.policy = RoundPolicy::kBuffered;
  EXPECT_TRUE(ValidateSpec(spec).ok()) << ValidateSpec(spec);
  spec.sync_period = 0;
  EXPECT_THAT(std::string(ValidateSpec(spec).message()), HasSubstr("needs spec.sync_period"));
  ModelSpec gradient = core_test::GradientSpec(1, core_test::Rule("sgd"), core_test::Rule("lookahead"), 5);
  gradient.rounds = {.policy = RoundPolicy::kAsync, .dynamic_local_steps = true};
  EXPECT_THAT(std::string(ValidateSpec(gradient).message()), HasSubstr("is set in GRADIENT mode"));
}

// --- the period's schedule ---

TEST(SyncPeriod, IsThePeriodTimesTheFactorInWholeSteps) {
  ModelSpec spec = core_test::DeltaSpec(1);
  spec.sync_period = 10;
  EXPECT_EQ(SyncPeriodAt(spec, 99), 10u);
  spec.sync_period_schedule = {.name = "linear", .values = {{"start_factor", 0}, {"steps", 20}}};
  std::vector<uint32_t> periods;
  for (uint64_t s = 0; s < 8; ++s) periods.push_back(SyncPeriodAt(spec, s));
  EXPECT_THAT(periods, ElementsAre(1, 1, 1, 2, 2, 3, 3, 4)) << "0.5 s, halves away from 0, at least 1";
  EXPECT_EQ(SyncPeriodAt(spec, 20), 10u);
}

TEST(SyncPeriod, ChangesWhenAModelSyncs) {
  ModelSpec spec = core_test::GradientSpec(1, core_test::Rule("sgd"), core_test::Rule("lookahead"), 8);
  spec.sync_period_schedule = {.name = "step", .values = {{"step_size", 1}, {"gamma", 0.5}}};
  core_test::TestModel model(spec, core_test::OneTensor({0}));
  model.Join("a");
  std::vector<int> syncs;
  for (int step = 1; step <= 17; ++step) {
    if (model.Apply("a", core_test::OneTensor({1})).synced) syncs.push_back(step);
  }
  EXPECT_THAT(syncs, ElementsAre(8, 12, 14, 15, 16, 17)) << "k = 8, 4, 2, 1, 1, 1";
  ASSERT_TRUE(model->Update({{"sync_period_schedule.gamma", 1}, {"sync_period", 2}}, 0).ok());
  EXPECT_FALSE(model.Apply("a", core_test::OneTensor({1})).synced);
  EXPECT_TRUE(model.Apply("a", core_test::OneTensor({1})).synced);
}

TEST(SyncPeriod, NeedsAPeriodToMultiply) {
  ModelSpec spec = core_test::DeltaSpec(1);
  spec.sync_period = 0;  // theirs to choose
  spec.sync_period_schedule = {.name = "linear"};
  EXPECT_THAT(std::string(ValidateSpec(spec).message()), HasSubstr("is set without spec.sync_period"));
  spec.sync_period = 3;
  EXPECT_TRUE(ValidateSpec(spec).ok());
  spec.sync_period_schedule->name = "lineal";
  EXPECT_THAT(std::string(ValidateSpec(spec).message()),
              HasSubstr("spec.sync_period_schedule.name 'lineal'"));
}

// --- presets ---

TEST(Presets, SpellOutModelsThatTheServerTakes) {
  std::string_view before;
  for (const PresetInfo& preset : Presets()) {
    SCOPED_TRACE(std::string(preset.name));
    EXPECT_LT(before, preset.name);
    before = preset.name;
    for (const Mode mode : {Mode::kGradient, Mode::kDelta}) {
      if (preset.mode.value_or(mode) != mode) continue;
      RuleSpec outer{.name = std::string(preset.rule)};
      for (const PresetValue& value : preset.values) outer.values[std::string(value.name)] = value.value;
      ModelSpec spec = mode == Mode::kDelta ? core_test::DeltaSpec(1, outer)
                                            : core_test::GradientSpec(1, core_test::Rule("sgd"), outer, 5);
      spec.sync_period = std::max(preset.sync_period, 1u);
      spec.rounds.policy = preset.policy;
      spec.rounds.staleness.name = std::string(preset.staleness);
      if (preset.buffer_pushes > 0) spec.rounds.buffer_pushes = preset.buffer_pushes;
      EXPECT_TRUE(ValidateSpec(spec).ok()) << ValidateSpec(spec);
    }
  }
}

// Values that a preset does not spell out would change with the rule's defaults.
TEST(Presets, SpellOutEveryRateOfTheirRule) {
  for (const PresetInfo& preset : Presets()) {
    for (const char* const rate : {"lr", "alpha", "momentum", "beta1", "beta2", "tau"}) {
      if (kernels::HyperIndex(*kernels::FindOuterRule(preset.rule), rate) < 0) continue;
      const auto same = [&](const PresetValue& value) { return value.name == rate; };
      EXPECT_TRUE(std::any_of(preset.values.begin(), preset.values.end(), same))
          << preset.name << " " << rate;
    }
  }
}

}  // namespace
}  // namespace stepback
