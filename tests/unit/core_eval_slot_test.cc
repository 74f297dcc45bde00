// Models whose inner rule averages by itself: trainers take gradients at the weights, evaluators read a slot.
#include "server/core/eval_slot.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "server/base/errors.h"
#include "server/core/spec_check.h"
#include "tests/unit/core_support.h"

namespace stepback {
namespace {

using namespace core_test;  // NOLINT(build/namespaces)
using testing::ElementsAre;
using testing::HasSubstr;

const RuleSpec kScheduleFree = Rule("schedule_free_sgd", {{"beta", 0.5}});
const RuleSpec kAveraged = Rule("asgd", {{"lr", 0.5}, {"lambd", 0}, {"t0", 0}});
constexpr int kX = 0, kZ = 1;

ModelSpec Averaging(RuleSpec inner = kScheduleFree) { return GradientSpec(2, inner, Rule("none"), 1); }

Floats Slot(const TestModel& model, int slot, size_t tensor = 0) {
  return Read(model.version(), model.version().inner_slots[slot], tensor);
}

void ExpectRefused(const ModelSpec& spec, const std::string& field, const std::string& words) {
  const absl::Status status = ValidateSpec(spec);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(FieldOf(status), field) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr(words));
}

TEST(EvalSlot, GoesWithNoSlowWeights) {
  for (const char* rule : {"asgd", "gpa", "schedule_free_sgd", "schedule_free_adamw"}) {
    ModelSpec spec = Averaging(Rule(rule));
    EXPECT_TRUE(ValidateSpec(spec).ok()) << ValidateSpec(spec);
    EXPECT_EQ(EvalSlotOf(spec), kX);
    spec.outer = Rule("lookahead");
    ExpectRefused(spec, "spec.outer.name",
                  "is 'lookahead', expected 'none': the inner rule '" + std::string(rule) + "' averages");
  }
}

TEST(EvalSlot, IsWhyTheOuterRuleIsNoneByDefault) {
  ModelSpec spec = Averaging();
  spec.outer = {};
  EXPECT_EQ(WithDefaults(spec).outer.name, "none");
  spec.inner = Rule("adamw");
  EXPECT_EQ(WithDefaults(spec).outer.name, "lookahead");
  EXPECT_EQ(EvalSlotOf(spec), -1);
}

TEST(EvalSlot, IsTheSameForAllTrainedTensors) {
  ModelSpec spec = Averaging();
  spec.tensors = {Trained("w", {2}), Trained("b", {2})};
  spec.groups = {{.name = "bias", .tensors = {"b"}, .inner = kAveraged}};
  EXPECT_TRUE(ValidateSpec(spec).ok()) << "both serve slot 0";
  spec.groups[0].inner = Rule("none");
  EXPECT_TRUE(ValidateSpec(spec).ok()) << "what does not train is its own average";
  spec.groups[0].inner = Rule("sgd");
  ExpectRefused(spec, "spec.groups[0].inner.name",
                "is 'sgd', whose evaluators read the weights, expected a rule whose evaluators read slot 0 "
                "as those of 'schedule_free_sgd' do, or 'none'");
  std::swap(spec.inner, *spec.groups[0].inner);
  ExpectRefused(spec, "spec.groups[0].inner.name", "is 'schedule_free_sgd', whose evaluators read slot 0");
}

TEST(EvalSlot, IsTheWeightsBeforeTheFirstStep) {
  TestModel model(Averaging(), OneTensor({1, 2}));
  EXPECT_THAT(Slot(model, kX), ElementsAre(1, 2));
  EXPECT_THAT(Slot(model, kZ), ElementsAre(1, 2));
  EXPECT_THAT(model.Theta(), ElementsAre(1, 2));
}

// z = 1 - t; x its mean; the weights half way between.
TEST(EvalSlot, IsTheAverageWhileTheWeightsAreWhereTrainersAre) {
  TestModel model(Averaging(), OneTensor({1, 2}));
  model.Join("a");
  model.Apply("a", OneTensor({1, 1}));
  EXPECT_THAT(Slot(model, kX), ElementsAre(0, 1));
  EXPECT_THAT(model.Theta(), ElementsAre(0, 1));
  model.Apply("a", OneTensor({1, 1}));
  EXPECT_THAT(Slot(model, kZ), ElementsAre(-1, 0));
  EXPECT_THAT(Slot(model, kX), ElementsAre(-0.5, 0.5));
  EXPECT_THAT(model.Theta(), ElementsAre(-0.75, 0.25));
}

TEST(EvalSlot, OfATensorNobodySentStaysAndItsStepsDoNotCount) {
  ModelSpec spec = Averaging(kAveraged);
  spec.tensors = {Trained("w", {1}), Trained("b", {1})};
  TestModel model(spec, {{.floats = {4}}, {.floats = {4}}});
  model.Join("a");
  for (int step = 0; step < 3; ++step) {
    model.Apply("a", {{.floats = {2}}, {.floats = {2}, .present = step != 1}});
  }
  EXPECT_THAT(model.Theta(0), ElementsAre(1));
  EXPECT_THAT(Slot(model, kX, 0), ElementsAre(1.5)) << "the mean of 2 and 1: averaging starts with step 2";
  EXPECT_THAT(model.Theta(1), ElementsAre(2));
  EXPECT_THAT(Slot(model, kX, 1), ElementsAre(2));
}

TEST(EvalSlot, StartsAnewFromImportedWeights) {
  TestModel model(Averaging(), OneTensor({1, 2}));
  model.Join("a");
  model.Apply("a", OneTensor({1, 1}));
  const auto backend = kernels::MakeCpuBackend();
  ASSERT_TRUE(model->Import(Arena(backend.get(), model.spec(), OneTensor({7, 8}))).ok());
  EXPECT_THAT(Slot(model, kX), ElementsAre(7, 8));
  EXPECT_THAT(Slot(model, kZ), ElementsAre(7, 8));
}

// Both have z in slot 1; slot 2 is the first moment of one and nothing to the other.
TEST(EvalSlot, SlotsOfEveryTensorStartAsItsRuleSays) {
  ModelSpec spec = Averaging(kScheduleFree);
  spec.tensors = {Trained("w", {2}), Trained("b", {2})};
  spec.groups = {{.name = "second", .tensors = {"b"}, .inner = Rule("gpa")}};
  TestModel model(spec, {{.floats = {1, 2}}, {.floats = {3, 4}}});
  EXPECT_THAT(Slot(model, kZ, 0), ElementsAre(1, 2));
  EXPECT_THAT(Slot(model, kZ, 1), ElementsAre(3, 4)) << "gpa's z";
  EXPECT_THAT(Slot(model, 2, 1), ElementsAre(0, 0)) << "gpa's first moment";
}

}  // namespace
}  // namespace stepback
