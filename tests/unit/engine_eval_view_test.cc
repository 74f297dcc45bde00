// What readers of each view get when the inner rule averages by itself: the weights for trainers, the average
// for evaluators, in every codec, with the tensors that no rule trains in both.
#include <gtest/gtest.h>

#include "tests/unit/engine_fixture.h"

namespace stepback {
namespace {

// Trained "t0", batch statistics "t1", a frozen "t2"; the mean of the weights from step 2 on.
ModelSpec AveragingSpec() {
  ModelSpec spec = GradientSpec("m", {2, 1, 1});
  spec.tensors[1].role = Role::kAveraged;
  spec.tensors[2].role = Role::kFrozen;
  spec.inner = {.name = "asgd", .values = {{"lr", 1}, {"lambd", 0}, {"t0", 0}}};
  spec.outer = {.name = "none"};
  return spec;
}

class EngineEvalView : public testing::Test {
 protected:
  EngineEvalView()
      : model_(server_.Create(AveragingSpec(), std::vector<float>{8, -8, 5, 3})),
        worker_(std::make_unique<Worker>(model_, "w")) {}

  // Gradients (2, 4) for the trained tensor, 1 for the averaged one; frozen tensors are not sent.
  void Step() { ASSERT_TRUE(worker_->Push({2, 4, 1}).ok()); }

  EngineFixture server_;
  std::shared_ptr<Handle> model_;
  std::unique_ptr<Worker> worker_;
};

using Floats = std::vector<float>;

TEST_F(EngineEvalView, BeforeTheFirstStepBothViewsAreTheWeights) {
  EXPECT_EQ(Weights(model_.get(), View::kTrain), Floats({8, -8, 5, 3}));
  EXPECT_EQ(Weights(model_.get(), View::kEval), Floats({8, -8, 5, 3}));
}

TEST_F(EngineEvalView, TrainersGetTheWeightsAndEvaluatorsTheAverage) {
  for (int step = 0; step < 3; ++step) Step();
  EXPECT_EQ(Weights(model_.get(), View::kTrain), Floats({2, -20, 2, 3}));
  EXPECT_EQ(Weights(model_.get(), View::kEval), Floats({3, -18, 2, 3})) << "only what is trained is averaged";
}

TEST_F(EngineEvalView, EncodedFormsShowTheirView) {
  for (int step = 0; step < 3; ++step) Step();
  const kernels::CodecInfo& bf16 = *kernels::FindCodec("bf16");
  for (const auto& [view, expected] :
       {std::pair(View::kTrain, Floats({2, -20, 2, 3})), std::pair(View::kEval, Floats({3, -18, 2, 3}))}) {
    const auto bytes = ReadAll(model_.get(), {.view = view, .codec = bf16.id});
    ASSERT_TRUE(bytes.ok()) << bytes.status();
    Floats decoded(4);
    bf16.decode(bytes->data(), 4, decoded.data());
    EXPECT_EQ(decoded, expected);
  }
}

TEST_F(EngineEvalView, ASavedAverageIsServedAfterARestart) {
  for (int step = 0; step < 3; ++step) Step();
  const auto saved = Await<SnapshotInfo>([&](auto done) { model_->SaveSnapshot("", done); });
  ASSERT_TRUE(saved.ok()) << saved.status();
  worker_.reset();
  model_.reset();
  server_.Start();
  const auto found = server_.engine->Find("m");
  ASSERT_TRUE(found.ok()) << found.status();
  EXPECT_EQ(Weights(found->get(), View::kTrain), Floats({2, -20, 2, 3}));
  EXPECT_EQ(Weights(found->get(), View::kEval), Floats({3, -18, 2, 3}));
}

}  // namespace
}  // namespace stepback
