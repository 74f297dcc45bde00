// A snapshot stalls nobody (reliability 3; decisions 29: the model's strand makes no copy of 1 MiB or more
// and no system call for it). Counted instead of timed: the disk stands still in the middle of a snapshot,
// and training, readers and operators go on as if there were none, in memory that does not hold a second
// state.
#include <gtest/gtest.h>

#include <string>

#include "tests/unit/engine_fixture.h"

namespace stepback {
namespace {

constexpr size_t kElements = 6 << 20;  // 24 MiB of weights, as much of momentum
constexpr uint64_t kArrayBytes = kElements * sizeof(float);

constexpr const char* kBlocksOfTheSnapshot = "write /data/models/m/snap-";
constexpr const char* kEverything = "";

struct Case {
  const char* name;
  Durability durability;
  const char* held;  // the calls of the disk that stand still
};

class SnapshotStall : public testing::TestWithParam<Case> {
 protected:
  SnapshotStall() {
    ModelSpec spec = DeltaSpec("m", {kElements});
    spec.durability = GetParam().durability;
    spec.rounds.policy = RoundPolicy::kAsync;
    spec.outer = {.name = "nesterov"};
    model_ = server_.Create(spec, Constant(kElements, 5));
    worker_ = std::make_unique<Worker>(model_, "w");
  }
  ~SnapshotStall() override { server_.disk.LetGo(); }

  void Step() {
    const absl::StatusOr<PushAnswer> answer = worker_->Push(Constant(kElements, 1));
    ASSERT_TRUE(answer.ok()) << answer.status();
  }

  // Asks for a snapshot and returns when the disk stands still in the middle of it.
  Later<SnapshotInfo> BeginSnapshot() {
    server_.disk.HoldCallsMatching(kBlocksOfTheSnapshot);
    Later<SnapshotInfo> saved;
    model_->SaveSnapshot("then", saved.done());
    server_.disk.AwaitHeld();
    server_.disk.HoldCallsMatching(GetParam().held);
    return saved;
  }

  EngineFixture server_;
  std::shared_ptr<Handle> model_;
  std::unique_ptr<Worker> worker_;
};

TEST_P(SnapshotStall, TrainingReadersAndOperatorsDoNotWaitForIt) {
  Step();
  const Version then = model_->Info().version->version;
  const std::vector<float> weights = Weights(model_.get());
  Later<SnapshotInfo> saved = BeginSnapshot();
  for (int step = 0; step < 3; ++step) Step();
  EXPECT_EQ(model_->Info().version->version, (Version{then.term, then.counter + 3}));
  EXPECT_NE(Weights(model_.get()), weights);
  EXPECT_EQ(Await<std::vector<SessionInfo>>([&](auto done) { model_->Sessions(done); })->size(), 1u);
  EXPECT_FALSE(saved.ready()) << "the disk stands still";

  server_.disk.LetGo();
  const absl::StatusOr<SnapshotInfo> info = saved.Get();
  ASSERT_TRUE(info.ok()) << info.status();
  EXPECT_EQ(info->version, then) << "it shows the moment at which it was asked for";
  const auto restored =
      Await<ModelInfo>([&](auto done) { model_->RestoreSnapshot("then", /*generation=*/0, done); });
  ASSERT_TRUE(restored.ok()) << restored.status();
  EXPECT_EQ(Weights(model_.get()), weights);
}

TEST_P(SnapshotStall, TheStateIsWrittenFromWhereItLies) {
  Step();
  Step();  // every buffer that training needs is there
  server_.Quiesce(model_.get());
  const uint64_t before = server_.pool.stats().in_use_bytes;
  Later<SnapshotInfo> saved = BeginSnapshot();
  EXPECT_LT(server_.pool.stats().in_use_bytes, before + kArrayBytes)
      << "less than one array: blocks, no copy";
  server_.disk.LetGo();
  EXPECT_TRUE(saved.Get().ok());
}

// PushHeader.save_soon: of durability ROUND.
class SaveWish : public SnapshotStall {};

TEST_P(SaveWish, ThatComesDuringASnapshotIsHeededNext) {
  Step();
  Later<SnapshotInfo> saved = BeginSnapshot();
  UploadRequest request = worker_->Next(kArrayBytes);
  request.save_soon = true;
  ASSERT_TRUE(worker_->Send(request, BytesOfFloats(Constant(kElements, 1))).ok());
  const Version newest = model_->Info().version->version;
  server_.disk.LetGo();
  ASSERT_TRUE(saved.Get().ok());
  server_.Quiesce(model_.get());
  server_.Advance(model_.get(), Duration::zero());
  EXPECT_EQ(model_->Info().durable_version, newest);
}

// A model whose calls are logged needs its log; the others need no file at all.
constexpr Case kRoundCase{"Round", Durability::kRound, kEverything};
INSTANTIATE_TEST_SUITE_P(, SnapshotStall,
                         testing::Values(Case{"Volatile", Durability::kVolatile, kEverything}, kRoundCase,
                                         Case{"Push", Durability::kPush, kBlocksOfTheSnapshot}),
                         [](const auto& info) { return info.param.name; });
INSTANTIATE_TEST_SUITE_P(, SaveWish, testing::Values(kRoundCase),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace stepback
