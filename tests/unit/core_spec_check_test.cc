#include "server/core/spec_check.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>

#include "server/base/errors.h"
#include "server/core/rule_choice.h"
#include "server/core/schedule.h"
#include "server/core/settings.h"
#include "tests/unit/core_support.h"

namespace stepback {
namespace {

using core_test::DeltaSpec;
using core_test::GradientSpec;
using core_test::Rule;
using core_test::Trained;
using testing::AllOf;
using testing::HasSubstr;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInf = std::numeric_limits<double>::infinity();

ModelSpec Gradient() { return GradientSpec(8, Rule("sgd", {{"momentum", 0.9}}), Rule("lookahead"), 5); }

using Change = std::function<void(ModelSpec*)>;

absl::Status Check(ModelSpec spec, const Change& change) {
  change(&spec);
  return ValidateSpec(spec);
}

// One wrong thing, the field that must be named, and words of the message.
struct Case {
  const char* field;
  const char* words;
  Change change;
};

void ExpectRefused(const ModelSpec& good, const std::vector<Case>& cases) {
  ASSERT_TRUE(ValidateSpec(good).ok()) << ValidateSpec(good);
  for (const Case& c : cases) {
    const absl::Status status = Check(good, c.change);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << c.field << " " << c.words;
    EXPECT_EQ(FieldOf(status), c.field) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(c.words));
  }
}

TEST(ValidateSpec, RefusesWhatIsOutOfBoundsNamingFieldValueAndBound) {
  ExpectRefused(
      DeltaSpec(8),
      {{"spec.name", "is '' (0 bytes)", [](ModelSpec* s) { s->name = ""; }},
       {"spec.name", "129 bytes", [](ModelSpec* s) { s->name = std::string(129, 'a'); }},
       {"spec.name", "'-x'", [](ModelSpec* s) { s->name = "-x"; }},
       {"spec.name", "'a/b'", [](ModelSpec* s) { s->name = "a/b"; }},
       {"spec.name", "expected", [](ModelSpec* s) { s->name = std::string("a\0b", 3); }},
       {"spec.tensors", "0 entries", [](ModelSpec* s) { s->tensors.clear(); }},
       {"spec.mode", "is 3, expected 1..2", [](ModelSpec* s) { s->mode = static_cast<Mode>(3); }},
       {"spec.rounds.policy", "is 0", [](ModelSpec* s) { s->rounds.policy = static_cast<RoundPolicy>(0); }},
       {"spec.rounds.reduction", "is 9",
        [](ModelSpec* s) { s->rounds.reduction = static_cast<Reduction>(9); }},
       {"spec.rounds.accumulate", "is 3",
        [](ModelSpec* s) { s->rounds.accumulate = static_cast<AccumulateType>(3); }},
       {"spec.rounds.weighting", "is 0",
        [](ModelSpec* s) { s->rounds.weighting = static_cast<Weighting>(0); }},
       {"spec.rounds.quorum", "is 0, expected 1..65536", [](ModelSpec* s) { s->rounds.quorum = 0; }},
       {"spec.rounds.quorum", "65537", [](ModelSpec* s) { s->rounds.quorum = 65537; }},
       {"spec.rounds.deadline_seconds", "nan", [](ModelSpec* s) { s->rounds.deadline_seconds = kNan; }},
       {"spec.rounds.deadline_seconds", "-1", [](ModelSpec* s) { s->rounds.deadline_seconds = -1; }},
       {"spec.rounds.deadline_seconds", "inf", [](ModelSpec* s) { s->rounds.deadline_seconds = kInf; }},
       {"spec.rounds.buffer_pushes", "is 0", [](ModelSpec* s) { s->rounds.buffer_pushes = 0; }},
       {"spec.rounds.max_workers", "is 4097, expected 1..4096",
        [](ModelSpec* s) { s->rounds.max_workers = 4097; }},
       {"spec.rounds.staleness_exponent", "10.5", [](ModelSpec* s) { s->rounds.staleness_exponent = 10.5; }},
       {"spec.rounds.staleness_exponent", "nan", [](ModelSpec* s) { s->rounds.staleness_exponent = kNan; }},
       {"spec.clip.value", "is -1, expected a finite number", [](ModelSpec* s) { s->clip.value = -1; }},
       {"spec.clip.tensor_norm", "nan", [](ModelSpec* s) { s->clip.tensor_norm = kNan; }},
       {"spec.clip.global_norm", "inf", [](ModelSpec* s) { s->clip.global_norm = kInf; }},
       {"spec.inner_state", "is 7", [](ModelSpec* s) { s->inner_state = static_cast<InnerState>(7); }},
       {"spec.lease_seconds", "is 0.5, expected 1..86400", [](ModelSpec* s) { s->lease_seconds = 0.5; }},
       {"spec.lease_seconds", "nan", [](ModelSpec* s) { s->lease_seconds = kNan; }},
       {"spec.lease_seconds", "86401", [](ModelSpec* s) { s->lease_seconds = 86401; }},
       {"spec.quarantine.after", "is 1001, expected 0..1000", [](ModelSpec* s) { s->quarantine.after = 1001; }},
       {"spec.quarantine.seconds", "is 0.5, expected 1..86400", [](ModelSpec* s) { s->quarantine.seconds = 0.5; }},
       {"spec.quarantine.seconds", "nan", [](ModelSpec* s) { s->quarantine.seconds = kNan; }},
       {"spec.snapshot_interval_seconds", "-1", [](ModelSpec* s) { s->snapshot_interval_seconds = -1; }},
       {"spec.expected_push_bytes_per_s", "is -1, expected a finite number",
        [](ModelSpec* s) { s->expected_push_bytes_per_s = -1; }},
       {"spec.expected_push_bytes_per_s", "nan", [](ModelSpec* s) { s->expected_push_bytes_per_s = kNan; }},
       {"spec.expected_push_bytes_per_s", "inf", [](ModelSpec* s) { s->expected_push_bytes_per_s = kInf; }},
       {"spec.max_live_versions", "is 1, expected 2..64", [](ModelSpec* s) { s->max_live_versions = 1; }},
       {"spec.max_live_versions", "65", [](ModelSpec* s) { s->max_live_versions = 65; }},
       {"the size of spec.description", "4097",
        [](ModelSpec* s) { s->description = std::string(4097, 'x'); }},
       {"the number of spec.labels", "65",
        [](ModelSpec* s) {
          for (int i = 0; i < 65; ++i) s->labels[std::string(1, static_cast<char>('!' + i))] = "";
        }},
       {"spec.durability", "is 5", [](ModelSpec* s) { s->durability = static_cast<Durability>(5); }}});
}

TEST(ValidateSpec, DeltaModeHasAnOuterRuleAndNoInnerOne) {
  ExpectRefused(DeltaSpec(8),
                {{"spec.inner", "DELTA mode", [](ModelSpec* s) { s->inner = Rule("sgd"); }},
                 {"spec.outer", "'none' in DELTA mode", [](ModelSpec* s) { s->outer = Rule("none"); }},
                 {"spec.groups[0].inner", "DELTA mode",
                  [](ModelSpec* s) { s->groups = {{.name = "g", .inner = Rule("sgd")}}; }}});
  EXPECT_TRUE(Check(DeltaSpec(8), [](ModelSpec* s) { s->sync_period = 0; }).ok()) << "the workers choose H";
}

TEST(ValidateSpec, GradientModeHasAPeriodOfAtLeastOne) {
  ExpectRefused(Gradient(), {{"spec.sync_period", "is 0", [](ModelSpec* s) { s->sync_period = 0; }}});
}

TEST(ValidateSpec, AnswersAMisspeltRuleWithTheNearestOne) {
  ExpectRefused(
      Gradient(),
      {{"spec.inner.name", "'adamm' is no inner rule; did you mean 'adam'?",
        [](ModelSpec* s) { s->inner = Rule("adamm"); }},
       {"spec.outer.name", "'look_ahead' is no outer rule; did you mean 'lookahead'?",
        [](ModelSpec* s) { s->outer = Rule("look_ahead"); }},
       {"spec.outer.name", "'sgd' is no outer rule", [](ModelSpec* s) { s->outer = Rule("sgd"); }},
       {"spec.inner.name", "did you mean", [](ModelSpec* s) { s->inner = Rule(std::string(1 << 20, 'z')); }},
       {"spec.inner.values.learning_rate", "is no hyperparameter of rule 'sgd'",
        [](ModelSpec* s) {
          s->inner = Rule("sgd", {{"learning_rate", 1}});
        }},
       {"spec.inner.options.fused", "is no option",
        [](ModelSpec* s) { s->inner.options["fused"] = "yes"; }}});
}

TEST(ValidateSpec, HoldsHyperparametersToTheRulesOwnTable) {
  ExpectRefused(
      Gradient(),
      {{"spec.inner.values.lr", "is -0.1, expected a number in [0,",
        [](ModelSpec* s) { s->inner.values["lr"] = -0.1; }},
       {"spec.inner.values.lr", "is nan", [](ModelSpec* s) { s->inner.values["lr"] = kNan; }},
       {"spec.inner.values.lr", "is inf", [](ModelSpec* s) { s->inner.values["lr"] = kInf; }},
       {"spec.inner.values.momentum", "[0, 1)", [](ModelSpec* s) { s->inner.values["momentum"] = 1; }},
       {"spec.inner.values.nesterov", "is 0.5, expected an integer",
        [](ModelSpec* s) { s->inner.values["nesterov"] = 0.5; }},
       {"spec.outer.values.alpha", "is 1.01, expected a number in [0, 1]",
        [](ModelSpec* s) { s->outer.values["alpha"] = 1.01; }},
       {"spec.inner", "dampening", [](ModelSpec* s) {
          s->inner.values["nesterov"] = 1;
          s->inner.values["dampening"] = 0.1;
        }}});
}

// Every hyperparameter of every rule: its default and bounds are taken, what lies beyond is not.
TEST(ValidateSpec, BoundsOfEveryRuleAreEnforced) {
  const auto check = [](const kernels::RuleInfo& rule, kernels::RuleKind kind) {
    for (const kernels::HyperInfo& hyper : rule.hypers) {
      const auto made = [&](double value) {
        return RuleChoice::Make(Rule(std::string(rule.name), {{std::string(hyper.name), value}}), kind, 1,
                                "x")
            .ok();
      };
      EXPECT_TRUE(made(hyper.default_value)) << rule.name << " " << hyper.name;
      EXPECT_EQ(made(hyper.min), !hyper.min_open) << rule.name << " " << hyper.name;
      EXPECT_EQ(made(hyper.max), !hyper.max_open) << rule.name << " " << hyper.name;
      EXPECT_FALSE(made(std::nextafter(hyper.min, -kInf))) << rule.name << " " << hyper.name;
      EXPECT_FALSE(made(std::nextafter(hyper.max, kInf))) << rule.name << " " << hyper.name;
      EXPECT_FALSE(made(kNan)) << rule.name << " " << hyper.name;
    }
  };
  for (const auto& rule : kernels::InnerRules()) check(rule, kernels::RuleKind::kInner);
  for (const auto& rule : kernels::OuterRules()) check(rule, kernels::RuleKind::kOuter);
  for (const auto& rule : kernels::AverageRules()) check(rule, kernels::RuleKind::kAverage);
}

TEST(ValidateSpec, AveragesHaveNamesAndRulesOfTheirOwn) {
  ModelSpec good = DeltaSpec(8);
  good.averages = {{"ema", Rule("ema", {{"decay", 0}})},
                   {"a.b_c-9", Rule("swa", {{"start", 3}, {"period", 2}})},
                   {std::string(64, 'x'), Rule("polyak")},
                   {"last", Rule("ema")}};
  ExpectRefused(
      good,
      {{"the number of spec.averages", "is 5, expected 0..4",
        [](ModelSpec* s) {
          s->averages.push_back({"one-more", Rule("ema")});
        }},
       {"spec.averages[1].name", "'ema' is there twice", [](ModelSpec* s) { s->averages[1].name = "ema"; }},
       {"spec.averages[0].name", "is '' (0 bytes), expected 1..64 of [a-z0-9_.-]",
        [](ModelSpec* s) { s->averages[0].name = ""; }},
       {"spec.averages[0].name", "is 'Ema'", [](ModelSpec* s) { s->averages[0].name = "Ema"; }},
       {"spec.averages[2].name", "65 bytes", [](ModelSpec* s) { s->averages[2].name += "x"; }},
       {"spec.averages[3].rule.name", "'emma' is no average; did you mean 'ema'?",
        [](ModelSpec* s) { s->averages[3].rule = Rule("emma"); }},
       {"spec.averages[3].rule.name", "'none' is no average",
        [](ModelSpec* s) { s->averages[3].rule = Rule("none"); }},
       {"spec.averages[3].rule.name", "'nesterov' is no average",
        [](ModelSpec* s) { s->averages[3].rule = Rule("nesterov"); }},
       {"spec.averages[0].rule.values.decay", "is 1, expected a number in [0, 1)",
        [](ModelSpec* s) { s->averages[0].rule.values["decay"] = 1; }},
       {"spec.averages[0].rule.values.debias", "expected an integer in [0, 1]",
        [](ModelSpec* s) { s->averages[0].rule.values["debias"] = 0.5; }},
       {"spec.averages[1].rule.values.period", "is 0, expected an integer in [1",
        [](ModelSpec* s) { s->averages[1].rule.values["period"] = 0; }},
       {"spec.averages[1].rule.values.perod", "did you mean 'period'?",
        [](ModelSpec* s) { s->averages[1].rule.values["perod"] = 2; }},
       {"spec.averages[0].rule.schedules.decay", "cannot follow a schedule", [](ModelSpec* s) {
          s->averages[0].rule.schedules["decay"] = {"cosine", {}};
        }}});
}

TEST(ValidateSpec, AnExtrapolationOfDeltasNeedsAnOuterRule) {
  ModelSpec good = Gradient();
  good.averages = {{"fine", Rule("online_rna")}};
  ExpectRefused(good, {{"spec.averages[0].rule", "there is no outer rule",
                        [](ModelSpec* s) { s->outer = Rule("none"); }},
                       {"spec.averages[0].rule.values.memory", "is 11, expected an integer in [3, 10]",
                        [](ModelSpec* s) { s->averages[0].rule.values["memory"] = 11; }},
                       {"spec.averages[0].rule.values.regularization", "is 0",
                        [](ModelSpec* s) { s->averages[0].rule.values["regularization"] = 0; }}});
}

TEST(ValidateSpec, GroupsHoldTrainedTensorsOnceEach) {
  ModelSpec good = Gradient();
  good.tensors = {Trained("w", {8}), Trained("b", {2}), {"bn", {2}, DataType::kF32, Role::kAveraged}};
  good.groups = {{.name = "decay", .tensors = {"w"}, .lr_scale = 2},
                 {.name = "none.2", .tensors = {"b"}, .inner = Rule("none")}};
  ExpectRefused(
      good,
      {{"spec.groups[1].name", "'decay' is there twice", [](ModelSpec* s) { s->groups[1].name = "decay"; }},
       {"spec.groups[0].name", "'default'", [](ModelSpec* s) { s->groups[0].name = "default"; }},
       {"spec.groups[0].name", "is ''", [](ModelSpec* s) { s->groups[0].name = ""; }},
       {"spec.groups[1].tensors", "'x', which is no tensor",
        [](ModelSpec* s) { s->groups[1].tensors = {"x"}; }},
       {"spec.groups[1].tensors", "'bn', which is not TRAINED",
        [](ModelSpec* s) { s->groups[1].tensors = {"bn"}; }},
       {"spec.groups[1].tensors", "'w', which is in group 'decay' already",
        [](ModelSpec* s) { s->groups[1].tensors = {"w"}; }},
       {"spec.groups[0].tensors", "in group 'decay' already",
        [](ModelSpec* s) {
          s->groups[0].tensors = {"w", "w"};
        }},
       {"spec.groups[0].lr_scale", "is 0, expected (0, 1e6]",
        [](ModelSpec* s) { s->groups[0].lr_scale = 0; }},
       {"spec.groups[0].lr_scale", "nan", [](ModelSpec* s) { s->groups[0].lr_scale = kNan; }},
       {"spec.groups[0].lr_scale", "2000000", [](ModelSpec* s) { s->groups[0].lr_scale = 2e6; }},
       {"spec.groups[1].inner.name", "no inner rule",
        [](ModelSpec* s) { s->groups[1].inner = Rule("what"); }},
       {"spec.groups[1].inner", "'none' and yet has", [](ModelSpec* s) {
          s->groups[1].inner = Rule("none", {{"lr", 1}});
        }}});
}

TEST(ValidateSpec, RulesForMatricesRefuseOtherTensors) {
  ModelSpec good = Gradient();
  good.tensors = {Trained("w", {8, 4}), Trained("b", {8}), {"bn", {2}, DataType::kF32, Role::kAveraged}};
  good.inner = Rule("muon");
  good.groups = {{.name = "others", .tensors = {"b"}, .inner = Rule("adamw")}};
  ExpectRefused(
      good, {{"spec.tensors[1]", "'b' has shape [8], but its inner rule 'muon' works on matrices",
              [](ModelSpec* s) { s->groups.clear(); }},
             {"spec.tensors[0]", "'w' has shape [8, 4, 1], but its inner rule 'muon'",
              [](ModelSpec* s) {
                s->tensors[0].shape = {8, 4, 1};
              }},
             {"spec.tensors[1]", "such as adamw", [](ModelSpec* s) { s->groups[0].inner = Rule("muon"); }}});
}

TEST(ValidateSpec, InnerStatePoliciesNeedASyncAndPullbackAnAlpha) {
  ExpectRefused(Gradient(), {{"spec.inner_state", "without an outer rule",
                              [](ModelSpec* s) {
                                s->outer = Rule("none");
                                s->inner_state = InnerState::kReset;
                              }},
                             {"spec.inner_state", "which 'nesterov' has not", [](ModelSpec* s) {
                                s->outer = Rule("nesterov");
                                s->inner_state = InnerState::kPullback;
                              }}});
  EXPECT_TRUE(Check(Gradient(), [](ModelSpec* s) { s->inner_state = InnerState::kPullback; }).ok());
  EXPECT_TRUE(Check(Gradient(), [](ModelSpec* s) { s->outer = Rule("none"); }).ok());
}

TEST(ValidateSpec, OrderedRoundsMustFitTheirStaging) {
  ModelSpec good = DeltaSpec(8);
  good.rounds.reduction = Reduction::kOrdered;
  good.rounds.max_workers = 8;
  ExpectRefused(
      good, {{"spec.rounds.quorum", "is 9, above max_workers 8", [](ModelSpec* s) { s->rounds.quorum = 9; }},
             {"spec.rounds.buffer_pushes", "is 10, above max_workers 8", [](ModelSpec* s) {
                s->rounds.policy = RoundPolicy::kBuffered;
                s->rounds.buffer_pushes = 10;
              }}});
}

TEST(ValidateSpec, ReplicationIsUnimplementedYet) {
  const absl::Status status =
      Check(DeltaSpec(8), [=](ModelSpec* s) { s->durability = Durability::kReplicated; });
  EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented);
  EXPECT_EQ(FieldOf(status), "spec.durability");
  for (const Durability durability : {Durability::kVolatile, Durability::kRound, Durability::kPush}) {
    EXPECT_TRUE(Check(DeltaSpec(8), [=](ModelSpec* s) { s->durability = durability; }).ok());
  }
}

TEST(WithDefaults, FillsRulesByModeAndNumbersThatAreZero) {
  ModelSpec gradient;
  gradient.mode = Mode::kGradient;
  gradient.sync_period = gradient.rounds.quorum = gradient.rounds.buffer_pushes = gradient.max_live_versions =
      0;
  gradient.lease_seconds = 0;
  gradient.rounds.max_workers = 0;
  gradient.groups = {{.name = "g", .lr_scale = 0}};
  gradient = WithDefaults(gradient);
  EXPECT_EQ(gradient.inner.name, "sgd");
  EXPECT_EQ(gradient.outer.name, "lookahead");
  EXPECT_EQ(gradient.sync_period, 5u);
  EXPECT_EQ(gradient.rounds.quorum, 1u);
  EXPECT_EQ(gradient.rounds.buffer_pushes, 10u);
  EXPECT_EQ(gradient.rounds.max_workers, 64u);
  EXPECT_EQ(gradient.max_live_versions, 4u);
  EXPECT_EQ(gradient.lease_seconds, 60);
  EXPECT_EQ(gradient.groups[0].lr_scale, 1);
  ModelSpec delta;
  delta.sync_period = 0;
  delta = WithDefaults(delta);
  EXPECT_EQ(delta.outer.name, "nesterov");
  EXPECT_EQ(delta.inner.name, "");
  EXPECT_EQ(delta.sync_period, 0u);
}

TEST(SameDefinition, LooksThroughDefaults) {
  ModelSpec a = DeltaSpec(8), b = a;
  b.rounds.quorum = 0;
  EXPECT_TRUE(SameDefinition(a, b));
  b.outer.values["alpha"] = 0.25;
  EXPECT_FALSE(SameDefinition(a, b));
}

TEST(StagingBudget, HoldsAtLeastOneLargestPushOrOnePerWorkerWhenOrdered) {
  ModelSpec spec = DeltaSpec(1 << 20);
  spec.tensors.push_back({"steps", {2}, DataType::kI64, Role::kCarried});
  spec.tensors.push_back({"base", {1 << 20}, DataType::kF32, Role::kFrozen});
  const auto layout = *Layout::Make(spec.tensors);
  const uint64_t push = 4 * (1 << 20) + 16;
  EXPECT_GE(*StagingBudget(spec, *layout), push);
  spec.staging_bytes = push;
  EXPECT_EQ(*StagingBudget(spec, *layout), push);
  spec.staging_bytes = push - 1;
  EXPECT_EQ(FieldOf(StagingBudget(spec, *layout).status()), "spec.staging_bytes");
  spec.rounds.reduction = Reduction::kOrdered;
  spec.rounds.max_workers = 3;
  spec.staging_bytes = 3 * push - 1;
  EXPECT_THAT(std::string(StagingBudget(spec, *layout).status().message()), HasSubstr("3 x 4194320 bytes"));
  spec.staging_bytes = 0;
  EXPECT_GE(*StagingBudget(spec, *layout), 3 * push);
}

// --- schedules ---

std::vector<double> Factors(const std::string& name, std::map<std::string, double> values,
                            const std::vector<uint64_t>& steps) {
  const auto schedule = Schedule::Make({.name = name, .values = std::move(values)}, "s");
  EXPECT_TRUE(schedule.ok()) << schedule.status();
  std::vector<double> factors;
  for (const uint64_t t : steps) factors.push_back(schedule->FactorAt(t));
  return factors;
}

MATCHER_P(NearEach, expected, "") {
  if (arg.size() != expected.size()) return false;
  for (size_t i = 0; i < arg.size(); ++i) {
    if (!(std::abs(arg[i] - expected[i]) <= 1e-12)) return false;
  }
  return true;
}
using Doubles = std::vector<double>;

TEST(Schedule, FollowsItsClosedForm) {
  EXPECT_THAT(Factors("constant", {}, {0, 1, 1000000}), NearEach(Doubles{1, 1, 1}));
  EXPECT_THAT(Factors("step", {{"step_size", 3}, {"gamma", 0.5}}, {0, 2, 3, 5, 6, 9}),
              NearEach(Doubles{1, 1, 0.5, 0.5, 0.25, 0.125}));
  EXPECT_THAT(Factors("exponential", {{"gamma", 0.5}}, {0, 1, 4}), NearEach(Doubles{1, 0.5, 0.0625}));
  EXPECT_THAT(Factors("linear", {}, {0, 1, 4, 5, 100}),  // torch LinearLR's defaults
              NearEach(Doubles{1.0 / 3, 1.0 / 3 + 2.0 / 15, 1.0 / 3 + 8.0 / 15, 1, 1}));
  EXPECT_THAT(Factors("linear", {{"start_factor", 1}, {"end_factor", 0}, {"steps", 4}}, {0, 1, 4, 9}),
              NearEach(Doubles{1, 0.75, 0, 0}));
  EXPECT_THAT(Factors("cosine", {{"steps", 4}}, {0, 1, 2, 4, 8}),  // stays at the minimum
              NearEach(Doubles{1, 0.5 + std::sqrt(0.125), 0.5, 0, 0}));
  EXPECT_THAT(Factors("cosine", {{"steps", 4}, {"min_factor", 0.1}}, {0, 2, 4}),
              NearEach(Doubles{1, 0.55, 0.1}));
}

TEST(Schedule, RefusesUnknownAndUnboundedThings) {
  const auto refusal = [](RuleSpec::Schedule spec) {
    return std::string(Schedule::Make(spec, "s").status().message());
  };
  EXPECT_THAT(refusal({"cosin", {}}), HasSubstr("did you mean 'cosine'?"));
  EXPECT_THAT(refusal({"cosine", {}}), HasSubstr("s.values.steps is missing"));
  EXPECT_THAT(refusal({"cosine", {{"steps", 0}}}), HasSubstr("is 0, expected an integer in [1,"));
  EXPECT_THAT(refusal({"cosine", {{"steps", 1.5}}}), HasSubstr("is 1.5"));
  EXPECT_THAT(refusal({"cosine", {{"steps", kNan}}}), HasSubstr("is nan"));
  EXPECT_THAT(refusal({"exponential", {{"gamma", 1.5}}}), HasSubstr("in [0, 1]"));
  EXPECT_THAT(refusal({"constant", {{"steps", 1}}}), HasSubstr("is no parameter of schedule 'constant'"));
}

TEST(Schedule, OnlyRatesMayFollowOne) {
  ModelSpec spec = Gradient();
  spec.inner.schedules["lr"] = {"cosine", {{"steps", 10}}};
  spec.outer.schedules["alpha"] = {"linear", {}};
  EXPECT_TRUE(ValidateSpec(spec).ok());
  spec.inner.schedules["momentum"] = {"constant", {}};
  EXPECT_EQ(FieldOf(ValidateSpec(spec)), "spec.inner.schedules.momentum");
  spec.inner.schedules = {{"rate", {"constant", {}}}};
  EXPECT_EQ(FieldOf(ValidateSpec(spec)), "spec.inner.schedules.rate");
}

// SlowMo divides by the inner rate.
TEST(Schedule, KeepsARateAboveItsOpenBound) {
  ModelSpec spec = DeltaSpec(4);
  spec.outer = Rule("slowmo", {{"inner_lr", 0.1}});
  spec.outer.schedules["inner_lr"] = {"cosine", {{"steps", 10}, {"min_factor", 0.1}}};
  EXPECT_TRUE(ValidateSpec(spec).ok()) << ValidateSpec(spec);
  spec.outer.schedules["inner_lr"] = {"cosine", {{"steps", 10}}};
  EXPECT_THAT(std::string(ValidateSpec(spec).message()),
              HasSubstr("spec.outer.schedules.inner_lr at its smallest is 0, expected a number in (0,"));
}

TEST(RuleChoice, AppliesScaleAndScheduleToTheRate) {
  RuleSpec spec = Rule("sgd", {{"lr", 0.5}, {"momentum", 0.9}});
  spec.schedules["lr"] = {"step", {{"step_size", 2}, {"gamma", 0.1}}};
  const auto choice = *RuleChoice::Make(spec, kernels::RuleKind::kInner, 3, "x");
  const int lr = kernels::HyperIndex(choice.info(), "lr"),
            momentum = kernels::HyperIndex(choice.info(), "momentum");
  EXPECT_DOUBLE_EQ(choice.HypersAt(0)[lr], 1.5);
  EXPECT_DOUBLE_EQ(choice.HypersAt(2)[lr], 0.15);
  EXPECT_DOUBLE_EQ(choice.HypersAt(2)[momentum], 0.9);
}

// --- settings ---

using Values = std::vector<std::pair<std::string, double>>;

TEST(WithSettings, ChangesNumbersByDottedPath) {
  ModelSpec spec = Gradient();
  spec.groups = {{.name = "no.decay", .tensors = {"w"}}};
  const auto changed = WithSettings(spec, Values{{"inner.lr", 0.25},
                                                 {"outer.alpha", 0.75},
                                                 {"groups.no.decay.lr_scale", 3},
                                                 {"groups.no.decay.weight_decay", 0.5},
                                                 {"sync_period", 7},
                                                 {"rounds.quorum", 3},
                                                 {"rounds.deadline_seconds", 1.5},
                                                 {"rounds.max_staleness", 0},
                                                 {"rounds.buffer_pushes", 20},
                                                 {"rounds.staleness_exponent", 0.5},
                                                 {"clip.value", 8},
                                                 {"clip.tensor_norm", 4},
                                                 {"clip.global_norm", 2},
                                                 {"lease_seconds", 90},
                                                 {"quarantine.after", 0},
                                                 {"quarantine.seconds", 7.5},
                                                 {"snapshot_interval_seconds", 5},
                                                 {"finish_after_steps", 100},
                                                 {"finish_after_samples", 1e12}});
  ASSERT_TRUE(changed.ok()) << changed.status();
  ModelSpec expected = spec;
  expected.inner.values["lr"] = 0.25;
  expected.outer.values["alpha"] = 0.75;
  expected.groups[0].lr_scale = 3;
  expected.groups[0].inner = expected.inner;
  expected.groups[0].inner->values["weight_decay"] = 0.5;
  expected.sync_period = 7;
  expected.rounds.quorum = 3;
  expected.rounds.deadline_seconds = 1.5;
  expected.rounds.max_staleness = 0;
  expected.rounds.buffer_pushes = 20;
  expected.rounds.staleness_exponent = 0.5;
  expected.clip = {.value = 8, .tensor_norm = 4, .global_norm = 2};
  expected.lease_seconds = 90;
  expected.quarantine = {.after = 0, .seconds = 7.5};
  expected.snapshot_interval_seconds = 5;
  expected.finish_after_steps = 100;
  expected.finish_after_samples = 1000000000000;
  EXPECT_EQ(**changed, expected);
}

TEST(WithSettings, ChangesTheNumbersOfCurvesAndRounds) {
  ModelSpec spec = DeltaSpec(4);
  spec.sync_period = 20;
  spec.outer = Rule("nesterov");
  spec.outer.schedules["lr"] = {"cosine", {{"steps", 10}}};
  spec.sync_period_schedule = {"linear", {}};
  spec.rounds.quorum = 2;
  const auto changed = WithSettings(spec, Values{{"outer.schedules.lr.steps", 50},
                                                 {"outer.schedules.lr.warmup", 5},
                                                 {"sync_period_schedule.steps", 30},
                                                 {"rounds.grace_seconds", 2},
                                                 {"rounds.grace_factor", 1.5}});
  ASSERT_TRUE(changed.ok()) << changed.status();
  EXPECT_EQ((*changed)->outer.schedules.at("lr").values,
            (std::map<std::string, double>{{"steps", 50}, {"warmup", 5}}));
  EXPECT_EQ((*changed)->sync_period_schedule->values, (std::map<std::string, double>{{"steps", 30}}));
  EXPECT_EQ((*changed)->rounds.grace_seconds, 2);
  EXPECT_EQ((*changed)->rounds.grace_factor, 1.5);

  spec.rounds = {.policy = RoundPolicy::kAsync, .staleness = {.name = "hinge", .values = {}}};
  const auto async = WithSettings(spec, Values{{"rounds.staleness.b", 7}, {"rounds.dynamic_local_steps", 1}});
  ASSERT_TRUE(async.ok()) << async.status();
  EXPECT_EQ((*async)->rounds.staleness.values.at("b"), 7);
  EXPECT_TRUE((*async)->rounds.dynamic_local_steps);
  EXPECT_THAT(std::string(WithSettings(spec, Values{{"outer.schedules.lr.pace", 1}}).status().message()),
              HasSubstr("spec.outer.schedules.lr.values.pace is no parameter of schedule 'cosine'"));
}

TEST(WithSettings, RefusesTheWholeChangeNamingThePath) {
  ModelSpec spec = Gradient();
  spec.groups = {{.name = "g", .tensors = {"w"}}};
  const auto refusal = [&](const Values& values) {
    const auto changed = WithSettings(spec, values);
    EXPECT_EQ(changed.status().code(), absl::StatusCode::kInvalidArgument);
    return std::string(changed.status().message());
  };
  EXPECT_THAT(refusal({{"sync_periode", 3}}), HasSubstr("did you mean 'sync_period'?"));
  EXPECT_THAT(refusal({{"sync_period", 0}}), HasSubstr("is 0"));
  EXPECT_THAT(refusal({{"sync_period", 2.5}}), HasSubstr("sync_period is 2.5, expected an integer"));
  EXPECT_THAT(refusal({{"sync_period", -1}}), HasSubstr("is -1"));
  EXPECT_THAT(refusal({{"sync_period", 4294967296.0}}), HasSubstr("0..4294967295"));
  EXPECT_THAT(refusal({{"rounds.quorum", kNan}}), HasSubstr("is nan"));
  EXPECT_THAT(refusal({{"rounds.max_staleness", kInf}}), HasSubstr("is inf"));
  EXPECT_THAT(refusal({{"clip.global_norm", -2}}), HasSubstr("spec.clip.global_norm is -2"));
  EXPECT_THAT(refusal({{"inner.lr", kNan}}), HasSubstr("spec.inner.values.lr is nan"));
  EXPECT_THAT(refusal({{"inner.rate", 1}}), HasSubstr("no hyperparameter"));
  EXPECT_THAT(refusal({{"groups.h.lr", 1}}), HasSubstr("group 'h', which the model has not"));
  EXPECT_THAT(refusal({{"groups.lr", 1}}), HasSubstr("groups.lr"));
  EXPECT_THAT(refusal({{"groups.", 1}}), HasSubstr("groups."));
  EXPECT_THAT(refusal({{"inner.lr", 1}, {"inner.lr", 2}}), HasSubstr("given twice"));
  EXPECT_THAT(refusal({{"mode", 2}}), HasSubstr("no setting that can change"));
  EXPECT_THAT(refusal({{"outer.schedules.lr.steps", 2}}), HasSubstr("names no schedule of rule 'lookahead'"));
  EXPECT_THAT(refusal({{"outer.schedules.", 2}}), HasSubstr("names no schedule"));
  EXPECT_THAT(refusal({{"sync_period_schedule.steps", 2}}), HasSubstr("the model has no such schedule"));
  EXPECT_THAT(refusal({{"rounds.staleness.a", 2}}), HasSubstr("the model has no staleness function"));
  EXPECT_THAT(refusal({{"rounds.dynamic_local_steps", 2}}), HasSubstr("is 2, expected 0 or 1"));
  EXPECT_THAT(refusal({{"rounds.grace_factor", kNan}}), HasSubstr("spec.rounds.grace_factor is nan"));
  EXPECT_THAT(refusal({{"", 2}}), HasSubstr("no setting"));
  const auto delta = WithSettings(DeltaSpec(4), Values{{"inner.lr", 1}});
  EXPECT_THAT(std::string(delta.status().message()), HasSubstr("DELTA mode"));
}

}  // namespace
}  // namespace stepback
