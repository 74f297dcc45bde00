// What a worker does when connection, session or server go away: one push, one effect.
#include <thread>

#include "tests/unit/client_fixture.h"

namespace stepback::client {
namespace {

using fakes::Faults;

class ClientRecovery : public ClientFixture {
 protected:
  // A worker with its base, on a model of 5,000 floats (five chunks).
  void Start(Durability durability = Durability::kRound, const JoinOptions& join = {}) {
    ModelDefinition definition = Definition({{"w", {5000}}});
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
  void Inject(int Faults::*fault, int times = 1, int after_chunks = 0) {
    fake_.Inject([&](Faults* faults) {
      faults->*fault = times;
      faults->break_after_chunks = after_chunks;
    });
  }

  std::unique_ptr<Model> model_;
  std::unique_ptr<Worker> worker_;
  std::unique_ptr<Trainer> trainer_;
};

TEST_F(ClientRecovery, ABrokenUploadGoesOnWhereItStopped) {
  Start();
  Inject(&Faults::break_uploads, 1, 3);
  const StepResult step = StepBy(1).value();
  EXPECT_EQ(step.outcome, Outcome::kApplied);
  EXPECT_EQ(fake_.floats(0)[4999], 5000.0f);
  EXPECT_EQ(fake_.Count("resumed_bytes"), 3u * 4096);
  EXPECT_EQ(fake_.Count("chunk"), 5u);
  EXPECT_EQ(worker_->statistics().reconnects, 1u);
}

TEST_F(ClientRecovery, UploadsThatBreakAgainAndAgainGetThrough) {
  for (int after = 0; after < 5; ++after) {
    Start();
    Inject(&Faults::break_uploads, 3, after);
    ASSERT_OK(StepBy(1));
    EXPECT_EQ(fake_.floats(0)[17], 18.0f);
    EXPECT_EQ(fake_.applied("a"), (std::vector<uint64_t>{1}));
    worker_.reset();
    fake_.Clear();
  }
}

// 0.5 + 2^-9 takes two pushes in bf16; a push that is sent again must add its rest once.
TEST_F(ClientRecovery, FaultsDoNotChangeWhatErrorFeedbackSends) {
  for (const Durability durability : {Durability::kRound, Durability::kVolatile}) {
    Start(durability, {.push_codec = "bf16", .error_feedback = true});
    for (int i = 0; i < 10; ++i) {
      if (i % 3 == 0) Inject(&Faults::break_uploads, 2, 1 + i % 2);
      if (i % 3 == 1) Inject(&Faults::lose_answers, 1);
      ASSERT_OK(StepBy(0.5f + 0x1p-9f));
    }
    EXPECT_EQ(fake_.floats(0)[0], 5 + 10 * 0x1p-9f);
    EXPECT_EQ(fake_.floats(0)[4999], 4999 + 5 + 10 * 0x1p-9f);
    worker_.reset();
    fake_.Clear();
  }
}

TEST_F(ClientRecovery, ALostAnswerHasOneEffect) {
  Start();
  Inject(&Faults::lose_answers, 2);
  const StepResult step = StepBy(1).value();
  EXPECT_TRUE(step.push.duplicate || step.pull.version == (Version{1, 1}));
  EXPECT_EQ(fake_.applied("a"), (std::vector<uint64_t>{1}));
  EXPECT_EQ(fake_.floats(0)[0], 1.0f);
  EXPECT_EQ(trainer_->first(0), 1.0f);
  ASSERT_OK(StepBy(1));
  EXPECT_EQ(fake_.applied("a"), (std::vector<uint64_t>{1, 2}));
}

TEST_F(ClientRecovery, ALostAnswerToAPushIsADuplicateWithTheFirstOutcome) {
  Start();
  const auto awaited = model_->Join("b").value();  // so that the round stays open
  Inject(&Faults::lose_answers);
  trainer_->Add(0, 1);
  const PushResult push = worker_->PushWeights(trainer_->weights.data()).value();
  EXPECT_TRUE(push.duplicate);
  EXPECT_EQ(push.outcome, Outcome::kBuffered);
  EXPECT_EQ(worker_->statistics().duplicates, 1u);
}

TEST_F(ClientRecovery, ADownloadThatBreaksIsFetchedAgainWithoutPushingTwice) {
  for (const auto fault : {&Faults::break_downloads, &Faults::corrupt_downloads, &Faults::skip_commits}) {
    Start();
    Inject(fault, 1, 2);
    const StepResult step = StepBy(1).value();
    EXPECT_EQ(step.outcome, Outcome::kApplied);
    EXPECT_EQ(trainer_->weights.floats(0)[4999], 5000.0f);
    EXPECT_EQ(fake_.applied("a"), (std::vector<uint64_t>{1}));
    EXPECT_EQ(worker_->base_version(), (Version{1, 1}));
    ASSERT_OK(StepBy(1));
    EXPECT_EQ(fake_.floats(0)[4999], 5001.0f);
    worker_.reset();
    fake_.Clear();
  }
}

TEST_F(ClientRecovery, ACorruptVersionIsNeverABase) {
  ConnectOptions options = Options();
  const Model model = MakeModel(Definition({{"w", {5000}}}), options);
  auto worker = model.Join("a").value();
  Trainer trainer(model);
  Inject(&Faults::corrupt_downloads, 100);
  EXPECT_EQ(worker->Pull(trainer.weights.sinks()).status().code(), absl::StatusCode::kDataLoss);
  EXPECT_FALSE(worker->base_version());
  EXPECT_EQ(ErrorReason(worker->PushWeights(trainer.weights.data()).status()), "NO_BASE");
}

TEST_F(ClientRecovery, AFullServerIsGivenTime) {
  Start();
  Inject(&Faults::staging_full, 4);
  ASSERT_OK(StepBy(1));
  EXPECT_EQ(fake_.Count("push"), 5u);
  EXPECT_EQ(worker_->statistics().reconnects, 0u);
}

TEST_F(ClientRecovery, AnEndedLeaseIsOpenedAgain) {
  Start();
  Inject(&Faults::forget_sessions);
  ASSERT_OK(StepBy(1));
  EXPECT_EQ(worker_->epoch(), 2u);
  EXPECT_EQ(fake_.applied("a"), (std::vector<uint64_t>{1}));
}

TEST_F(ClientRecovery, AStaleBaseEndsAsResyncWithTheNewestWeights) {
  ModelDefinition definition = Definition({{"w", {10}}}, Mode::kDelta, RoundPolicy::kAsync);
  definition.rounds.max_staleness = 1;
  const Model model = MakeModel(definition);
  auto slow = model.Join("slow").value();
  auto fast = model.Join("fast").value();
  Trainer a(model), b(model);
  ASSERT_OK(slow->Pull(a.weights.sinks()));
  ASSERT_OK(fast->Pull(b.weights.sinks()));
  for (int i = 0; i < 3; ++i) {
    b.Add(0, 1);
    ASSERT_OK(fast->Step(b.weights.data(), b.weights.sinks()));
  }
  a.Add(0, 100);
  const StepResult step = slow->Step(a.weights.data(), a.weights.sinks()).value();
  EXPECT_EQ(step.outcome, Outcome::kResynced);
  EXPECT_EQ(step.push.reason.substr(0, 10), "STALE_BASE");
  EXPECT_EQ(step.pull.version, (Version{1, 3}));
  EXPECT_EQ(a.first(0), 3.0f);
  a.Add(0, 1);
  EXPECT_EQ(slow->Step(a.weights.data(), a.weights.sinks())->outcome, Outcome::kApplied);
  EXPECT_EQ(fake_.floats(0)[0], 4.0f);
  EXPECT_EQ(slow->statistics().resyncs, 1u);
  EXPECT_EQ(slow->last_sequence(), 2u);
}

TEST_F(ClientRecovery, AStalePushIsResyncedToo) {
  ModelDefinition definition = Definition({{"w", {10}}}, Mode::kDelta, RoundPolicy::kAsync);
  definition.rounds.max_staleness = 0;
  const Model model = MakeModel(definition);
  auto worker = model.Join("a").value();
  Trainer a(model);
  ASSERT_OK(worker->Pull(a.weights.sinks()));
  a.Add(0, 1);
  EXPECT_EQ(worker->PushWeights(a.weights.data())->outcome, Outcome::kApplied);
  EXPECT_EQ(worker->PushWeights(a.weights.data())->outcome, Outcome::kResynced);
  ASSERT_OK(worker->Pull(a.weights.sinks()));
  EXPECT_EQ(worker->PushWeights(a.weights.data())->outcome, Outcome::kApplied);
}

TEST_F(ClientRecovery, ADroppedRoundEndsAsResync) {
  ModelDefinition definition = Definition({{"w", {10}}});
  definition.rounds.quorum = 2;
  const Model model = MakeModel(definition);
  auto a = model.Join("a").value();
  auto b = model.Join("b").value();
  Inject(&Faults::drop_rounds);
  const auto run = [&](Worker* worker) {
    Trainer trainer(model);
    ASSERT_OK(worker->Pull(trainer.weights.sinks()));
    trainer.Add(0, 1);
    ASSERT_OK(worker->Step(trainer.weights.data(), trainer.weights.sinks()));
  };
  // Which of the two hears of the drop depends on who is waiting when the round closes; nothing is merged
  // either way.
  std::thread other([&] {
    Trainer trainer(model);
    ASSERT_OK(b->Pull(trainer.weights.sinks()));
    trainer.Add(0, 1);
    const auto pushed = b->PushWeights(trainer.weights.data());
    ASSERT_OK(pushed);
  });
  Trainer trainer(model);
  ASSERT_OK(a->Pull(trainer.weights.sinks()));
  trainer.Add(0, 1);
  const auto push = a->PushWeights(trainer.weights.data());
  ASSERT_OK(push);
  other.join();
  EXPECT_EQ(fake_.floats(0)[0], 0.0f);
  std::thread next([&] { run(b.get()); });
  run(a.get());
  next.join();
  EXPECT_EQ(fake_.floats(0)[0], 1.0f);
}

TEST_F(ClientRecovery, ATakenOverWorkerIsFencedAndDoesNotStealBack) {
  Start();
  auto successor = model_->Join("a").value();
  const absl::Status status = StepBy(1).status();
  EXPECT_EQ(ErrorReason(status), "FENCED") << status;
  EXPECT_EQ(ErrorReason(StepBy(1).status()), "FENCED");
  EXPECT_EQ(successor->epoch(), 2u);
  EXPECT_EQ(fake_.Count("open"), 2u);
  Trainer trainer(*model_);
  ASSERT_OK(successor->Pull(trainer.weights.sinks()));
  trainer.Add(0, 1);
  ASSERT_OK(successor->Step(trainer.weights.data(), trainer.weights.sinks()));
}

TEST_F(ClientRecovery, AnEvictedWorkerStaysOut) {
  Start();
  fake_.Evict("a");
  EXPECT_EQ(ErrorReason(StepBy(1).status()), "FENCED");
  EXPECT_EQ(fake_.Count("open"), 1u);
}

TEST_F(ClientRecovery, ARolledBackModelResyncsItsWorkers) {
  Start();
  ASSERT_OK(StepBy(1));
  fake_.RollBack();
  const StepResult step = StepBy(1).value();
  EXPECT_EQ(step.outcome, Outcome::kResynced);
  EXPECT_EQ(step.pull.version, (Version{2, 2}));
  EXPECT_EQ(StepBy(1)->outcome, Outcome::kApplied);
  EXPECT_EQ(fake_.applied("a"), (std::vector<uint64_t>{1, 2}));
}

TEST_F(ClientRecovery, AServerThatStaysAwayIsGivenUp) {
  ConnectOptions options = Options();
  options.retry.give_up_after = std::chrono::milliseconds(30);
  const Model model = MakeModel(Definition(), options);
  auto worker = model.Join("a").value();
  Trainer trainer(model);
  fake_.Inject([](Faults* faults) { faults->down = true; });
  const absl::Status status = worker->Pull(trainer.weights.sinks()).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_NE(status.message().find("gave up after"), absl::string_view::npos);
}

TEST_F(ClientRecovery, ACallsOwnTimeoutEndsIt) {
  ModelDefinition definition = Definition();
  definition.rounds.quorum = 2;  // nobody else will come
  const Model model = MakeModel(definition);
  auto worker = model.Join("a").value();
  Trainer trainer(model);
  ASSERT_OK(worker->Pull(trainer.weights.sinks()));
  const auto step = worker->Step(trainer.weights.data(), trainer.weights.sinks(),
                                 {.timeout = std::chrono::milliseconds(50)});
  EXPECT_EQ(step.status().code(), absl::StatusCode::kDeadlineExceeded) << step.status();
}

TEST_F(ClientRecovery, CancelEndsAWaitingStepFromAnotherThread) {
  ModelDefinition definition = Definition();
  definition.rounds.quorum = 2;
  const Model model = MakeModel(definition);
  auto worker = model.Join("a").value();
  Trainer trainer(model);
  ASSERT_OK(worker->Pull(trainer.weights.sinks()));
  std::thread other([&] {
    while (fake_.Count("push") == 0) std::this_thread::yield();
    worker->Cancel();
  });
  const absl::Status status = worker->Step(trainer.weights.data(), trainer.weights.sinks()).status();
  other.join();
  EXPECT_EQ(status.code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(worker->Pull(trainer.weights.sinks()).status().code(), absl::StatusCode::kCancelled);
  ASSERT_OK(worker->Close());
}

TEST_F(ClientRecovery, TheInterruptHookEndsOneCallOnly) {
  bool interrupt = false;
  ConnectOptions options = Options();
  options.interrupted = [&] { return interrupt; };
  ModelDefinition definition = Definition();
  definition.rounds.quorum = 2;
  const Model model = MakeModel(definition, options);
  auto worker = model.Join("a").value();
  Trainer trainer(model);
  ASSERT_OK(worker->Pull(trainer.weights.sinks()));
  interrupt = true;
  EXPECT_EQ(worker->Step(trainer.weights.data(), trainer.weights.sinks()).status().code(),
            absl::StatusCode::kCancelled);
  interrupt = false;
  ASSERT_OK(worker->Pull(trainer.weights.sinks()));
}

}  // namespace
}  // namespace stepback::client
