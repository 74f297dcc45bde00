// Acknowledged pushes survive the server's death as long as the worker lives (durability ROUND).
#include "client/cpp/replay_log.h"

#include <thread>

#include "tests/unit/client_fixture.h"

namespace stepback::client {
namespace {

using fakes::Faults;

class ClientReplay : public ClientFixture {
 protected:
  void Start(Durability durability, RoundPolicy policy, const JoinOptions& join = {}) {
    ModelDefinition definition = Definition({{"w", {5000}}}, Mode::kDelta, policy);
    definition.durability = durability;
    model_ = std::make_unique<Model>(MakeModel(definition));
    worker_ = model_->Join("a", join).value();
    trainer_ = std::make_unique<Trainer>(*model_);
    ASSERT_OK(worker_->Pull(trainer_->weights.sinks()));
  }
  absl::StatusOr<StepResult> StepBy(float x) {
    trainer_->Add(0, x);
    return worker_->Step(trainer_->weights.data(), trainer_->weights.sinks());
  }

  std::unique_ptr<Model> model_;
  std::unique_ptr<Worker> worker_;
  std::unique_ptr<Trainer> trainer_;
};

TEST_F(ClientReplay, PushesThatTheServerLostComeBackInOrder) {
  Start(Durability::kRound, RoundPolicy::kAsync);
  for (int i = 0; i < 3; ++i) ASSERT_OK(StepBy(1));
  EXPECT_EQ(worker_->statistics().replay_bytes, 3u * 20000);
  fake_.Restart();  // nothing has been on disk since creation
  EXPECT_EQ(fake_.floats(0)[0], 0.0f);
  ASSERT_OK(StepBy(1));
  EXPECT_EQ(fake_.applied("a"), (std::vector<uint64_t>{1, 2, 3, 4}));
  EXPECT_EQ(fake_.floats(0)[4999], 5003.0f);
  EXPECT_EQ(trainer_->weights.floats(0)[4999], 5003.0f);
  EXPECT_EQ(worker_->statistics().replays, 3u);
  EXPECT_EQ(worker_->statistics().lost, 0u);
  EXPECT_EQ(worker_->base_version().term, 2u);
}

TEST_F(ClientReplay, WhatIsOnDiskIsNotSentAgain) {
  Start(Durability::kRound, RoundPolicy::kAsync);
  for (int i = 0; i < 2; ++i) ASSERT_OK(StepBy(1));
  ASSERT_OK(server_->Flush("lm"));
  ASSERT_OK(StepBy(1));
  EXPECT_EQ(worker_->statistics().replay_bytes, 20000u);
  EXPECT_EQ(worker_->durable_sequence(), 2u);
  fake_.Restart();
  ASSERT_OK(StepBy(1));
  EXPECT_EQ(worker_->statistics().replays, 1u);
  EXPECT_EQ(fake_.floats(0)[0], 4.0f);
}

TEST_F(ClientReplay, AStepWhoseRoundDiesWithTheServerIsReplayedAndFinished) {
  ModelDefinition definition = Definition({{"w", {5000}}});
  definition.rounds.quorum = 2;
  const Model model = MakeModel(definition);
  auto a = model.Join("a").value();
  Trainer trainer(model);
  ASSERT_OK(a->Pull(trainer.weights.sinks()));
  trainer.Add(0, 1);
  std::thread other([&] {
    while (a->last_sequence() == 0 && fake_.Count("push") == 0) std::this_thread::yield();
    fake_.Restart();
    auto b = model.Join("b").value();
    Trainer mine(model);
    ASSERT_OK(b->Pull(mine.weights.sinks()));
    mine.Add(0, 3);
    ASSERT_OK(b->Step(mine.weights.data(), mine.weights.sinks()));
  });
  const absl::StatusOr<StepResult> step = a->Step(trainer.weights.data(), trainer.weights.sinks());
  other.join();
  ASSERT_OK(step);
  EXPECT_EQ(step->outcome, Outcome::kApplied) << step->push.reason;
  EXPECT_EQ(step->pull.version, (Version{2, 1}));
  EXPECT_EQ(trainer.first(0), 2.0f);  // the mean of 1 and 3
  EXPECT_EQ(fake_.applied("a"), (std::vector<uint64_t>{1}));
}

// The push was buffered for a round with another worker, which stays away after the restart: the replay is the whole
// round, so its version is there already and nobody makes a newer one.
TEST_F(ClientReplay, AReplayThatClosesItsRoundIsNotWaitedForAgain) {
  const Model model = MakeModel(Definition({{"w", {5000}}}));
  auto a = model.Join("a").value();
  const auto b = model.Join("b").value();
  Trainer trainer(model);
  ASSERT_OK(a->Pull(trainer.weights.sinks()));
  trainer.Add(0, 1);
  std::thread crash([&] {
    while (fake_.Count("push") == 0) std::this_thread::yield();
    fake_.Restart();
  });
  const absl::StatusOr<StepResult> step =
      a->Step(trainer.weights.data(), trainer.weights.sinks(), {.timeout = std::chrono::seconds(30)});
  crash.join();
  ASSERT_OK(step);
  EXPECT_EQ(step->outcome, Outcome::kApplied) << step->push.reason;
  EXPECT_EQ(step->pull.version, (Version{2, 1}));
  EXPECT_EQ(trainer.first(0), 1.0f);
  EXPECT_EQ(fake_.applied("a"), (std::vector<uint64_t>{1}));
}

TEST_F(ClientReplay, AVolatileModelKeepsNothingAndResyncs) {
  Start(Durability::kVolatile, RoundPolicy::kAsync);
  for (int i = 0; i < 3; ++i) ASSERT_OK(StepBy(1));
  EXPECT_EQ(worker_->statistics().replay_bytes, 0u);
  fake_.Restart();
  const absl::StatusOr<StepResult> step = StepBy(1);
  ASSERT_OK(step);
  EXPECT_EQ(fake_.applied("a"), (std::vector<uint64_t>{1}));  // numbered after what the server knows
  EXPECT_EQ(worker_->statistics().replays, 0u);
}

// The pull would succeed at once, and show the weights without this worker's own pushes.
TEST_F(ClientReplay, APullAfterARestartSeesTheWorkersOwnPushes) {
  Start(Durability::kRound, RoundPolicy::kAsync);
  for (int i = 0; i < 2; ++i) ASSERT_OK(StepBy(1));
  fake_.Restart();
  ASSERT_EQ(fake_.floats(0)[0], 0.0f);
  const absl::StatusOr<PullInfo> pulled = worker_->Pull(trainer_->weights.sinks());
  ASSERT_OK(pulled);
  EXPECT_EQ(trainer_->weights.floats(0)[0], 2.0f);
  EXPECT_EQ(pulled->version, (Version{2, 2}));
  EXPECT_EQ(worker_->statistics().replays, 2u);
}

TEST_F(ClientReplay, AFullLogAsksForAFlush) {
  Start(Durability::kRound, RoundPolicy::kAsync, {.replay_bytes_max = 2 * 20000});
  for (int i = 0; i < 7; ++i) ASSERT_OK(StepBy(1));
  const Statistics stats = worker_->statistics();
  EXPECT_EQ(stats.flushes, 3u);
  EXPECT_LE(stats.replay_bytes, 2u * 20000);
  EXPECT_EQ(fake_.Count("flush"), 3u);
}

// The server writes while the worker computes; when the next push comes there is room.
TEST_F(ClientReplay, TheLastPushThatFitsAsksTheServerToSave) {
  fake_.HeedSaveSoon();
  Start(Durability::kRound, RoundPolicy::kAsync, {.replay_bytes_max = 2 * 20000});
  for (int i = 0; i < 7; ++i) ASSERT_OK(StepBy(1));
  EXPECT_EQ(fake_.Count("save_soon"), 3u) << "pushes 2, 4 and 6";
  EXPECT_EQ(worker_->statistics().flushes, 0u) << "nobody waited";
  fake_.Restart();
  ASSERT_OK(StepBy(1));
  EXPECT_EQ(fake_.floats(0)[0], 8.0f);
  EXPECT_EQ(worker_->statistics().replays, 1u);
}

TEST_F(ClientReplay, AServerWithoutADiskIsNotAskedTwice) {
  fake_.SetHasDisk(false);
  Start(Durability::kRound, RoundPolicy::kAsync, {.replay_bytes_max = 2 * 20000});
  for (int i = 0; i < 7; ++i) ASSERT_OK(StepBy(1));
  EXPECT_EQ(worker_->statistics().flushes, 1u);
  EXPECT_EQ(worker_->statistics().replay_bytes, 0u);
}

TEST_F(ClientReplay, AnIdleWorkerBringsItsPushesBackByItself) {
  Start(Durability::kRound, RoundPolicy::kAsync, {.heartbeat_interval = std::chrono::milliseconds(1)});
  for (int i = 0; i < 2; ++i) ASSERT_OK(StepBy(1));
  fake_.Restart();
  while (fake_.applied("a").size() < 2) std::this_thread::yield();
  EXPECT_EQ(fake_.floats(0)[0], 2.0f);
  while (worker_->statistics().replays < 2) std::this_thread::yield();
}

TEST_F(ClientReplay, ARefusalOfAnEarlierEpochEndsNothing) {
  Start(Durability::kRound, RoundPolicy::kAsync, {.heartbeat_interval = std::chrono::milliseconds(1)});
  fake_.Inject([](Faults* faults) { faults->stale_fences = 1; });
  while (fake_.Count("stale_fence") == 0) std::this_thread::yield();
  const uint64_t beats = fake_.Count("heartbeat");
  while (fake_.Count("heartbeat") == beats) std::this_thread::yield();  // the refusal has been dealt with
  for (int i = 0; i < 2; ++i) ASSERT_OK(StepBy(1));
  EXPECT_EQ(fake_.applied("a"), (std::vector<uint64_t>{1, 2}));
}

TEST_F(ClientReplay, RestartsInTheMiddleOfTrainingLoseNothing) {
  Start(Durability::kRound, RoundPolicy::kAsync, {.replay_bytes_max = 4 * 20000});
  for (int i = 1; i <= 40; ++i) {
    if (i % 3 == 0) fake_.Inject([&](Faults* faults) { faults->lose_answers = 1; });
    if (i % 5 == 0)
      fake_.Inject([&](Faults* faults) { faults->break_uploads = 1, faults->break_after_chunks = 2; });
    if (i % 7 == 0) fake_.Restart();
    const absl::StatusOr<StepResult> step = StepBy(1);
    ASSERT_OK(step);
    ASSERT_EQ(step->outcome, Outcome::kApplied) << "step " << i;
    ASSERT_EQ(trainer_->weights.floats(0)[4999], 4999.0f + static_cast<float>(i));
  }
  EXPECT_EQ(fake_.floats(0)[0], 40.0f);
  EXPECT_EQ(worker_->statistics().lost, 0u);
}

TEST_F(ClientReplay, AReplayThatIsRefusedIsCountedAsLost) {
  ModelDefinition definition = Definition({{"w", {100}}}, Mode::kDelta, RoundPolicy::kAsync);
  definition.rounds.max_staleness = 1;
  const Model model = MakeModel(definition);
  auto a = model.Join("a").value();
  auto b = model.Join("b").value();
  Trainer mine(model), other(model);
  ASSERT_OK(a->Pull(mine.weights.sinks()));
  mine.Add(0, 1);
  ASSERT_OK(a->PushWeights(mine.weights.data()));
  fake_.Restart();
  // Others go on meanwhile; the replay's base is too old by then.
  ASSERT_OK(b->Pull(other.weights.sinks()));
  for (int i = 0; i < 3; ++i) {
    other.Add(0, 1);
    ASSERT_OK(b->Step(other.weights.data(), other.weights.sinks()));
  }
  EXPECT_EQ(a->PushWeights(mine.weights.data())->outcome, Outcome::kResynced);
  EXPECT_EQ(a->statistics().lost, 1u);
  ASSERT_OK(a->Pull(mine.weights.sinks()));
  mine.Add(0, 1);
  EXPECT_EQ(a->PushWeights(mine.weights.data())->outcome, Outcome::kApplied);
  EXPECT_EQ(fake_.floats(0)[0], 4.0f);
}

TEST_F(ClientReplay, LeavingPutsTheLastPushesOnDisk) {
  Start(Durability::kRound, RoundPolicy::kAsync);
  ASSERT_OK(StepBy(1));
  ASSERT_OK(worker_->Close());
  fake_.Restart();
  EXPECT_EQ(fake_.floats(0)[0], 1.0f);
}

TEST(ClientReplayLog, IsBoundedByBytesAndByCount) {
  class Nothing final : public ChunkSource {
   public:
    uint64_t total_bytes() const override { return 10; }
    absl::StatusOr<Payload> Read(uint64_t, uint64_t) override { return Payload(); }
  };
  ReplayLog log(25);
  const auto add = [&](uint64_t sequence) {
    PushJob job{.id = sequence + 100, .source = std::make_unique<Nothing>()};
    job.header.set_sequence(sequence);
    log.Add(std::move(job));
  };
  EXPECT_TRUE(log.HasRoom(25));
  EXPECT_FALSE(log.HasRoom(26));
  add(1);
  add(2);
  EXPECT_FALSE(log.HasRoom(6));
  ASSERT_EQ(log.All().size(), 2u);
  EXPECT_EQ(log.Find(102)->sequence(), 2u);
  EXPECT_EQ(log.DropLost(), 0u);
  log.All()[1]->lost = true;
  EXPECT_EQ(log.DropLost(), 102u);
  EXPECT_EQ(log.Find(102), nullptr);
  log.DropThrough(1);
  EXPECT_TRUE(log.empty());
  EXPECT_EQ(log.bytes(), 0u);
  ReplayLog many(UINT64_MAX / 2);
  for (uint64_t i = 0; i < ReplayLog::kPushesMax; ++i) {
    PushJob job{.source = std::make_unique<Nothing>()};
    many.Add(std::move(job));
  }
  EXPECT_FALSE(many.HasRoom(1));
}

}  // namespace
}  // namespace stepback::client
