// Robust aggregation in a model: what a specification must say, who is selected and where it is told, rounds
// that are too small, and bits that depend on neither arrival order nor device.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>

#include "server/base/errors.h"
#include "server/core/settings.h"
#include "server/core/spec_check.h"
#include "tests/fakes/device_backend.h"
#include "tests/unit/core_support.h"

namespace stepback {
namespace {

using core_test::DeltaSpec;
using core_test::Floats;
using core_test::GradientSpec;
using core_test::OneTensor;
using core_test::PushData;
using core_test::ReadRaw;
using core_test::Rule;
using core_test::StateBits;
using core_test::TestModel;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

ModelSpec Robust(ModelSpec spec, RuleSpec aggregator, uint32_t quorum) {
  spec.rounds.aggregator = std::move(aggregator);
  spec.rounds.reduction = Reduction::kOrdered;
  spec.rounds.quorum = quorum;
  return spec;
}

std::string FieldOfEvent(const Effects& effects, const std::string& event, const std::string& field) {
  for (const Effects::Event& each : effects.events) {
    if (each.name != event) continue;
    for (const auto& [name, value] : each.fields) {
      if (name == field) return value;
    }
  }
  return "(none)";
}

std::vector<std::string> Join(TestModel* model, int workers) {
  std::vector<std::string> clients;
  for (int i = 0; i < workers; ++i) {
    clients.push_back("w" + std::to_string(i));
    model->Join(clients.back());
  }
  return clients;
}

// --- specifications ---

void ExpectRefused(const ModelSpec& valid, const std::string& field, const std::string& what,
                   const std::function<void(RoundSpec*)>& change) {
  ASSERT_TRUE(ValidateSpec(valid).ok()) << ValidateSpec(valid);
  ModelSpec spec = valid;
  change(&spec.rounds);
  const absl::Status status = ValidateSpec(spec);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ReasonOf(status), "INVALID_SPEC");
  EXPECT_THAT(std::string(status.message()), HasSubstr(field + " ")) << what;
  EXPECT_THAT(std::string(status.message()), HasSubstr(what));
}

TEST(AggregatorSpec, IsRefusedWithFieldValueAndBound) {
  const ModelSpec spec = Robust(DeltaSpec(4), Rule("krum", {{"f", 1}}), 5);
  const auto refused = [&](const std::string& field, const std::string& what,
                           const std::function<void(RoundSpec*)>& change) {
    ExpectRefused(spec, field, what, change);
  };
  refused("spec.rounds.aggregator.name", "'krumm' is no aggregator; did you mean 'krum'?",
          [](RoundSpec* r) { r->aggregator.name = "krumm"; });
  refused("spec.rounds.aggregator.name", "is no aggregator",
          [](RoundSpec* r) { r->aggregator.name = std::string(10000, 'x'); });
  refused("spec.rounds.aggregator.values.g", "no hyperparameter of aggregator 'krum'; did you mean 'f'?",
          [](RoundSpec* r) { r->aggregator.values["g"] = 1; });
  refused("spec.rounds.aggregator.values.f", "is 1.5, expected an integer in [0, 126]",
          [](RoundSpec* r) { r->aggregator.values["f"] = 1.5; });
  refused("spec.rounds.aggregator.values.f", "is 1e+300",
          [](RoundSpec* r) { r->aggregator.values["f"] = 1e300; });
  refused("spec.rounds.aggregator.values.f", "is nan", [](RoundSpec* r) { r->aggregator.values["f"] = NAN; });
  refused("spec.rounds.aggregator.options.mode", "is no option",
          [](RoundSpec* r) { r->aggregator.options["mode"] = "x"; });
  refused("spec.rounds.aggregator.schedules.f", "cannot follow a schedule", [](RoundSpec* r) {
    r->aggregator.schedules["f"] = {"constant", {}};
  });
  refused("spec.rounds.quorum", "is 4, expected at least 5 for aggregator 'krum' with f = 1",
          [](RoundSpec* r) { r->quorum = 4; });
  refused("spec.rounds.quorum", "is 5, expected at least 7",
          [](RoundSpec* r) { r->aggregator.values["f"] = 2; });
  refused("spec.rounds.quorum", "is 5, expected at least 7 for aggregator 'bulyan' with f = 1",
          [](RoundSpec* r) { r->aggregator = Rule("bulyan"); });
  refused("spec.rounds.quorum", "is 5, expected at least 6 for aggregator 'multi_krum' with f = 1, m = 5",
          [](RoundSpec* r) {
            r->aggregator = Rule("multi_krum", {{"m", 5}});
          });
  refused("spec.rounds.buffer_pushes", "is 4, expected at least 5", [](RoundSpec* r) {
    r->policy = RoundPolicy::kBuffered;
    r->buffer_pushes = 4;
  });
  refused("spec.rounds.policy", "is ASYNC, expected SYNC or BUFFERED",
          [](RoundSpec* r) { r->policy = RoundPolicy::kAsync; });
  refused("spec.rounds.reduction", "is RUNNING, expected ORDERED",
          [](RoundSpec* r) { r->reduction = Reduction::kRunning; });
  refused("spec.rounds.weighting", "is SAMPLES, expected EQUAL",
          [](RoundSpec* r) { r->weighting = Weighting::kSamples; });
  refused("spec.rounds.staleness_exponent", "is 0.5, expected 0",
          [](RoundSpec* r) { r->staleness_exponent = 0.5; });
  refused("spec.rounds.max_workers", "is 257, expected at most 256",
          [](RoundSpec* r) { r->max_workers = 257; });
  refused("spec.rounds.aggregator.values.beta", "expected a number in [0, 0.5)", [](RoundSpec* r) {
    r->aggregator = Rule("trimmed_mean", {{"beta", 0.5}});
  });
  refused("spec.rounds.aggregator.values.f", "aggregator 'mean': it has none", [](RoundSpec* r) {
    r->aggregator = Rule("mean", {{"f", 1}});
  });
}

TEST(AggregatorSpec, UnsetIsTheMean) {
  ModelSpec unset = DeltaSpec(4);
  unset.rounds.aggregator.name = "";
  EXPECT_EQ(WithDefaults(unset).rounds.aggregator.name, "mean");
  EXPECT_TRUE(SameDefinition(unset, DeltaSpec(4)));
  EXPECT_TRUE(ValidateSpec(WithDefaults(unset)).ok());
}

TEST(AggregatorSpec, HyperparametersChangeWhileTheModelRuns) {
  const ModelSpec spec = Robust(DeltaSpec(4), Rule("krum", {{"f", 1}}), 5);
  const auto changed = WithSettings(spec, {{"rounds.aggregator.f", 2}, {"rounds.quorum", 7}});
  ASSERT_TRUE(changed.ok()) << changed.status();
  EXPECT_EQ((*changed)->rounds.aggregator.values.at("f"), 2);
  EXPECT_THAT(std::string(WithSettings(spec, {{"rounds.aggregator.f", 2}}).status().message()),
              HasSubstr("spec.rounds.quorum is 5, expected at least 7"));
  EXPECT_THAT(std::string(WithSettings(spec, {{"rounds.quorum", 3}}).status().message()),
              HasSubstr("spec.rounds.quorum is 3, expected at least 5"));
  EXPECT_THAT(std::string(WithSettings(DeltaSpec(4), {{"rounds.aggregator.f", 2}}).status().message()),
              HasSubstr("aggregator 'mean'"));
}

// --- rounds ---

TEST(RobustRound, TakesTheMedianOfTheDeltas) {
  TestModel model(Robust(DeltaSpec(2), Rule("coordinate_median"), 3), OneTensor({10, 20}));
  Join(&model, 3);
  model.Apply("w0", OneTensor({1, 5}));
  model.Apply("w1", OneTensor({1000, 2}));
  const Effects effects = model.Apply("w2", OneTensor({3, -1000}));
  ASSERT_NE(effects.committed, nullptr);
  EXPECT_THAT(model.Phi(), ElementsAre(7, 18));
  EXPECT_EQ(FieldOfEvent(effects, "round_closed", "aggregator"), "aggregator 'coordinate_median'");
  EXPECT_EQ(FieldOfEvent(effects, "round_closed", "selected"), "(none)") << "it looks at elements";
}

TEST(RobustRound, NamesWhomKrumSelected) {
  TestModel model(Robust(DeltaSpec(2), Rule("krum", {{"f", 1}}), 5), OneTensor({10, 20}));
  Join(&model, 5);
  model.Apply("w0", OneTensor({1, 1}));
  model.Apply("w1", OneTensor({1.5, 1}));
  model.Apply("w2", OneTensor({-1000, -1000}));
  model.Apply("w3", OneTensor({1.25, 1}));
  EXPECT_EQ(model.Phi(), Floats({10, 20})) << "four are too few";
  const Effects effects = model.Apply("w4", OneTensor({2, 1}));
  EXPECT_THAT(model.Phi(), ElementsAre(8.75, 19));
  EXPECT_EQ(FieldOfEvent(effects, "round_closed", "selected"), "w3:1");
  EXPECT_EQ(FieldOfEvent(effects, "round_closed", "aggregator"), "aggregator 'krum' with f = 1");
  EXPECT_THAT(FieldOfEvent(effects, "round_closed", "members"),
              HasSubstr("w2:1 weight 1 staleness 0 not selected; w3:1 weight 1 staleness 0;"));
  EXPECT_EQ(model.version().samples, 5u);
}

TEST(RobustRound, SaysHowMuchOfALargeContributionWasTaken) {
  TestModel model(Robust(DeltaSpec(1), Rule("median_norm_clip"), 3), OneTensor({0}));
  Join(&model, 3);
  model.Apply("w0", OneTensor({-1}));
  model.Apply("w1", OneTensor({-2}));
  const Effects effects = model.Apply("w2", OneTensor({-8}));
  EXPECT_FLOAT_EQ(model.Phi()[0], (1 + 2 + 2) / 3.0f);
  EXPECT_THAT(FieldOfEvent(effects, "round_closed", "members"),
              HasSubstr("w2:1 weight 1 staleness 0 scaled by 0.25"));
  EXPECT_EQ(FieldOfEvent(effects, "round_closed", "selected"), "w0:1; w1:1; w2:1");
}

TEST(RobustRound, StaysOpenUntilItsQuorumWhateverTheDeadline) {
  ModelSpec spec = Robust(DeltaSpec(1), Rule("krum", {{"f", 0}}), 3);
  spec.rounds.deadline_seconds = 1;
  TestModel model(spec, OneTensor({0}));
  Join(&model, 4);
  model.Apply("w0", OneTensor({1}));
  model.Apply("w1", OneTensor({1}));
  model.now += std::chrono::seconds(10);
  EXPECT_EQ(model->Tick(model.now).committed, nullptr);
  EXPECT_NE(model.Apply("w2", OneTensor({1})).committed, nullptr)
      << "the deadline has passed, the quorum is there";
}

// Overflowed pushes satisfy membership, so a full round can have too little to compare.
TEST(RobustRound, ThatIsTooSmallIsDroppedWithAReason) {
  TestModel model(Robust(DeltaSpec(1), Rule("krum", {{"f", 0}}), 3), OneTensor({0}));
  Join(&model, 3);
  const std::string before = StateBits(model.version());
  model.Apply("w0", OneTensor({1}));
  Push overflow = model.Next("w1", OneTensor({INFINITY}));
  overflow.finite = false;
  overflow.header.loss_scale = 1024;
  model.Apply(std::move(overflow));
  const Effects effects = model.Apply("w2", OneTensor({1}));
  EXPECT_EQ(effects.committed, nullptr);
  EXPECT_EQ(effects.round_dropped.code(), absl::StatusCode::kAborted);
  EXPECT_EQ(ReasonOf(effects.round_dropped), "ROUND_TOO_SMALL");
  EXPECT_THAT(
      std::string(effects.round_dropped.message()),
      HasSubstr("aggregator 'krum' with f = 0 needs 3 contributions, the round has 2 and 1 that overflowed"));
  EXPECT_EQ(StateBits(model.version()), before);
  for (const char* client : {"w0", "w1"}) model.Apply(client, OneTensor({1}));
  EXPECT_NE(model.Apply("w2", OneTensor({1})).committed, nullptr) << "everyone may contribute again";
}

// --- tensors ---

ModelSpec SpecOfAllRoles(RuleSpec aggregator) {
  ModelSpec spec = Robust(DeltaSpec(2), std::move(aggregator), 3);
  spec.tensors.push_back({.name = "mean", .shape = {1}, .role = Role::kAveraged});
  spec.tensors.push_back({.name = "steps", .shape = {1}, .dtype = DataType::kI32, .role = Role::kCarried});
  spec.tensors.push_back({.name = "base", .shape = {1}, .role = Role::kFrozen});
  return spec;
}

PushData AllRoles(Floats trained, float mean, char steps) {
  return {
      {.floats = std::move(trained)}, {.floats = {mean}}, {.bytes = std::string(4, steps)}, {.floats = {7}}};
}

TEST(RobustRound, SelectionsTakeAveragedAndCarriedTensorsFromTheSelected) {
  TestModel model(SpecOfAllRoles(Rule("krum", {{"f", 0}})), AllRoles({10, 20}, 100, '0'));
  Join(&model, 3);
  model.Apply("w0", AllRoles({1, 1}, 5, 'a'));
  model.Apply("w1", AllRoles({1, 1}, 6, 'b'));
  ASSERT_NE(model.Apply("w2", AllRoles({-500, 1}, -900, 'c')).committed, nullptr);
  EXPECT_THAT(model.Phi(0), ElementsAre(9, 19));
  EXPECT_THAT(model.Phi(1), ElementsAre(95));
  EXPECT_EQ(ReadRaw(model.version(), model.version().phi, 2), "aaaa");
  EXPECT_THAT(model.Phi(3), ElementsAre(7));
}

TEST(RobustRound, CoordinateWiseOnesTreatAveragedTensorsLikeTrainedOnes) {
  TestModel model(SpecOfAllRoles(Rule("coordinate_median")), AllRoles({10, 20}, 100, '0'));
  Join(&model, 3);
  model.Apply("w0", AllRoles({1, 1}, 5, 'a'));
  model.Apply("w1", AllRoles({2, 2}, 6, 'b'));
  model.Apply("w2", AllRoles({-500, 300}, -900, 'c'));
  EXPECT_THAT(model.Phi(0), ElementsAre(9, 18));
  EXPECT_THAT(model.Phi(1), ElementsAre(95));
  EXPECT_EQ(ReadRaw(model.version(), model.version().phi, 2), "cccc") << "the newest";
}

TEST(RobustRound, AnIncompletePushIsRefusedWhereWholeContributionsAreCompared) {
  const auto lacking = [](size_t tensor) {
    PushData data = AllRoles({1, 1}, 5, 'a');
    data[tensor].present = false;
    return data;
  };
  for (const char* name : {"krum", "median_norm_clip"}) {
    const RuleSpec rule = name == std::string("krum") ? Rule("krum", {{"f", 0}}) : Rule(name);
    TestModel model(SpecOfAllRoles(rule), AllRoles({10, 20}, 100, '0'));
    Join(&model, 3);
    for (const size_t tensor : {0, 1, 2}) {
      const PushAnswer answer = model.Answer("w0", lacking(tensor));
      EXPECT_EQ(ReasonOf(answer.refusal), "TENSOR_MISSING");
      EXPECT_FALSE(answer.decided) << "the number is free";
      EXPECT_THAT(std::string(answer.refusal.message()), HasSubstr(model.spec().tensors[tensor].name));
      --model.sequences["w0"];
    }
    EXPECT_TRUE(model.Answer("w0", AllRoles({1, 1}, 5, 'a')).refusal.ok());
  }
}

TEST(RobustRound, CoordinateWiseOnesSkipTensorsThatNobodySent) {
  TestModel model(SpecOfAllRoles(Rule("trimmed_mean", {{"beta", 0.4}})), AllRoles({10, 20}, 100, '0'));
  Join(&model, 3);
  PushData part = AllRoles({1, 2}, 0, 'x');
  part[1].present = part[2].present = false;
  for (const char* client : {"w0", "w1", "w2"}) model.Apply(client, part);
  EXPECT_THAT(model.Phi(0), ElementsAre(9, 18));
  EXPECT_THAT(model.Phi(1), ElementsAre(100));
  EXPECT_EQ(ReadRaw(model.version(), model.version().phi, 2), "0000");
}

// --- the same bits ---

std::vector<RuleSpec> AllAggregators() {
  return {Rule("mean"),
          Rule("coordinate_median"),
          Rule("trimmed_mean", {{"beta", 0.3}}),
          Rule("krum", {{"f", 2}}),
          Rule("multi_krum", {{"f", 2}}),
          Rule("bulyan", {{"f", 1}}),
          Rule("median_norm_clip")};
}

// State after three rounds of seven workers that arrive in the order of `seed`.
std::string StateAfter(const ModelSpec& spec, uint32_t seed, kernels::Backend* backend = nullptr) {
  constexpr size_t kElements = 1100;
  std::mt19937_64 data(core_test::Seed());
  TestModel model(spec, OneTensor(core_test::RandomFloats(&data, kElements)), {.backend = backend});
  std::vector<std::string> clients = Join(&model, 7);
  for (int round = 0; round < 3; ++round) {
    std::map<std::string, Floats> pushes;
    for (const std::string& client : clients) pushes[client] = core_test::RandomFloats(&data, kElements);
    std::vector<std::string> order = clients;
    std::shuffle(order.begin(), order.end(), std::mt19937(seed + static_cast<uint32_t>(round)));
    for (const std::string& client : order) model.Apply(client, OneTensor(pushes[client]));
  }
  EXPECT_EQ(model.version().version.counter, 3u);
  return StateHash(model.version(), backend != nullptr ? backend : kernels::MakeCpuBackend().get()).value();
}

std::vector<ModelSpec> SpecsOfBothModes(const RuleSpec& aggregator) {
  return {Robust(DeltaSpec(1100, Rule("nesterov")), aggregator, 7),
          Robust(GradientSpec(1100, Rule("adam"), Rule("lookahead"), 2), aggregator, 7),
          Robust(GradientSpec(1100, Rule("sgd"), Rule("none"), 5), aggregator, 7)};
}

TEST(RobustRound, DoesNotSeeTheOrderOfArrival) {
  for (const RuleSpec& aggregator : AllAggregators()) {
    for (const ModelSpec& spec : SpecsOfBothModes(aggregator)) {
      EXPECT_EQ(StateAfter(spec, 1), StateAfter(spec, 2)) << aggregator.name;
    }
  }
}

TEST(RobustRound, HasTheSameBitsWhereTheHostCannotReachTheMemory) {
  const auto cpu = kernels::MakeCpuBackend();
  DeviceBackend device(cpu.get());
  for (const RuleSpec& aggregator : AllAggregators()) {
    for (const ModelSpec& spec : SpecsOfBothModes(aggregator)) {
      EXPECT_EQ(StateAfter(spec, 1, &device), StateAfter(spec, 1)) << aggregator.name;
    }
  }
}

TEST(RobustRound, DoesNotSeeTheAccumulatorsType) {
  for (const RuleSpec& aggregator : AllAggregators()) {
    ModelSpec wide = Robust(DeltaSpec(1100), aggregator, 7);
    wide.rounds.accumulate = AccumulateType::kF64;
    EXPECT_EQ(StateAfter(wide, 1), StateAfter(Robust(DeltaSpec(1100), aggregator, 7), 1)) << aggregator.name;
  }
}

TEST(RobustRound, WithNothingTrimmedIsTheOrderedMeanBitForBit) {
  for (const ModelSpec& mean : SpecsOfBothModes(Rule("mean"))) {
    ModelSpec trimmed = mean;
    trimmed.rounds.aggregator = Rule("trimmed_mean", {{"beta", 0.1}});
    EXPECT_EQ(StateAfter(trimmed, 1), StateAfter(mean, 1));
  }
}

TEST(RobustRound, ClosesByCountWhenBuffered) {
  ModelSpec spec = Robust(DeltaSpec(1), Rule("coordinate_median"), 1);
  spec.rounds.policy = RoundPolicy::kBuffered;
  spec.rounds.buffer_pushes = 3;
  TestModel model(spec, OneTensor({0}));
  Join(&model, 1);
  for (const float delta : {-1.0f, -50.0f})
    EXPECT_EQ(model.Apply("w0", OneTensor({delta})).committed, nullptr);
  EXPECT_NE(model.Apply("w0", OneTensor({-2})).committed, nullptr);
  EXPECT_THAT(model.Phi(), ElementsAre(2));
}

}  // namespace
}  // namespace stepback
