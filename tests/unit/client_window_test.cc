// Several pushes of one worker in flight: their order, their bound, their answers, their end.
#include <atomic>

#include "tests/unit/client_window_fixture.h"

namespace stepback::client {
namespace {

using ClientWindow = WindowFixture;

TEST_F(ClientWindow, PushesAreAppliedInTheOrderOfTheCalls) {
  Start({.max_in_flight = 5});
  Hold(1);
  const std::vector<PushFuture> futures = PushAll(1, 5);
  Await("whole", 4);  // all the others are there, and wait for the first
  EXPECT_TRUE(fake_.applied("a").empty());
  for (const PushFuture& future : futures) EXPECT_FALSE(future.done());
  Hold(0);
  for (size_t i = 0; i < 5; ++i) {
    const PushResult result = futures[i].Wait().value();
    EXPECT_EQ(result.outcome, Outcome::kApplied);
    EXPECT_EQ(result.sequence, i + 1);
    EXPECT_EQ(result.version, (Version{1, i + 1}));
  }
  EXPECT_EQ(fake_.applied("a"), Numbers(5));
  EXPECT_EQ(Moved(4999), Sum(1, 5));
  EXPECT_EQ(worker_->last_sequence(), 5u);
  EXPECT_EQ(worker_->statistics().pushes, 5u);
}

TEST_F(ClientWindow, TheWeightsAreThoseOfOnePushAtATime) {
  const auto train = [this](bool waits) {
    Start({.max_in_flight = 5});
    std::vector<PushFuture> futures;
    for (int i = 0; i < 40; ++i) {
      trainer_->Add(0, 0.1f / static_cast<float>(i + 3));  // rounds: the order of the sums shows
      if (waits) {
        EXPECT_EQ(worker_->PushWeights(trainer_->weights.data())->sequence, i + 1u);
      } else {
        futures.push_back(worker_->PushAsync(trainer_->weights.data()).value());
      }
    }
    for (const PushFuture& future : futures) EXPECT_TRUE(future.Wait().ok());
    const std::vector<float> weights = fake_.floats(0);
    worker_.reset();
    fake_.Clear();
    return weights;
  };
  EXPECT_EQ(train(true), train(false));
}

TEST_F(ClientWindow, AFullWindowMakesTheNextPushWait) {
  Start({.max_in_flight = 2});
  Hold(1);
  std::vector<PushFuture> futures = PushAll(1, 2);
  EXPECT_EQ(Push(3, {.timeout = std::chrono::milliseconds(20)}).status().code(),
            absl::StatusCode::kDeadlineExceeded);
  std::atomic<bool> accepted = false;
  std::thread third([&] {
    futures.push_back(Push(4).value());
    accepted = true;
  });
  Await("whole", 1);
  EXPECT_FALSE(accepted);
  EXPECT_EQ(fake_.Count("push"), 2u);
  Hold(0);
  third.join();
  for (const PushFuture& future : futures) ASSERT_OK(future.Wait());
  EXPECT_EQ(Moved(), Size(1) + Size(2) + Size(4));
  EXPECT_EQ(fake_.applied("a"), Numbers(3));
}

// 2 pushes fit; what is in flight counts.
TEST_F(ClientWindow, ThePushesHeldStayWithinTheirBound) {
  Start({.replay_bytes_max = 2 * kPushBytes, .max_in_flight = 5});
  std::vector<PushFuture> futures;
  for (int i = 1; i <= 9; ++i) {
    futures.push_back(Push(i).value());
    EXPECT_LE(worker_->statistics().replay_bytes, 2 * kPushBytes);
  }
  for (const PushFuture& future : futures) ASSERT_OK(future.Wait());
  EXPECT_EQ(Moved(), Sum(1, 9));
  EXPECT_GE(worker_->statistics().flushes, 4u);
}

TEST_F(ClientWindow, TheLastPushThatFitsAsksTheServerToSave) {
  fake_.HeedSaveSoon();
  Start({.replay_bytes_max = 3 * kPushBytes, .max_in_flight = 2});
  for (const PushFuture& future : PushAll(1, 9)) ASSERT_OK(future.Wait());
  EXPECT_EQ(Moved(), Sum(1, 9));
  EXPECT_GE(fake_.Count("save_soon"), 3u);
  EXPECT_EQ(worker_->statistics().flushes, 0u);
}

TEST_F(ClientWindow, APullRunsBesidePushesInFlight) {
  Start({.max_in_flight = 2});
  Hold(2);
  const std::vector<PushFuture> futures = PushAll(1, 2);
  ASSERT_OK(futures[0].Wait());
  Trainer other(*model_);
  ASSERT_OK(worker_->Pull(other.weights.sinks()));
  EXPECT_EQ(other.first(0), Size(1));
  EXPECT_FALSE(futures[1].done());
  Hold(0);
  EXPECT_EQ(futures[1].Wait()->version, (Version{1, 2}));
}

TEST_F(ClientWindow, CallsThatPushAndWaitComeAfterWhatIsInFlight) {
  Start({.max_in_flight = 3});
  const std::vector<PushFuture> futures = PushAll(1, 3);
  trainer_->Add(0, Size(4));
  const StepResult step = worker_->Step(trainer_->weights.data(), trainer_->weights.sinks()).value();
  EXPECT_EQ(step.push.sequence, 4u);
  for (const PushFuture& future : futures) EXPECT_TRUE(future.done());
  EXPECT_EQ(trainer_->first(0), Sum(1, 4));
}

// In a sync round each worker has one push; its later ones wait in the server for theirs.
TEST_F(ClientWindow, EarlyPushesWaitForTheirRounds) {
  ModelDefinition definition = Definition({{"w", {kElements}}});
  definition.rounds.quorum = 2;
  definition.rounds.max_staleness = 100;
  const Model model = MakeModel(definition);
  auto a = model.Join("a", {.max_in_flight = 5}).value();
  auto b = model.Join("b", {.max_in_flight = 2}).value();
  const auto train = [&](Worker* worker, float by) {
    Trainer trainer(model);
    ASSERT_OK(worker->Pull(trainer.weights.sinks()));
    std::vector<PushFuture> futures;
    for (int i = 0; i < 12; ++i) {
      trainer.Add(0, by);
      futures.push_back(worker->PushAsync(trainer.weights.data()).value());
      trainer.Add(0, -by);
    }
    for (const PushFuture& future : futures) ASSERT_OK(future.Wait());
  };
  std::thread other([&] { train(b.get(), 3); });
  train(a.get(), 1);
  other.join();
  EXPECT_EQ(fake_.version().counter(), 12u);
  EXPECT_EQ(fake_.applied("a"), Numbers(12));
  EXPECT_EQ(fake_.applied("b"), Numbers(12));
  EXPECT_EQ(fake_.floats(0)[0], 12 * 2.0f);
}

TEST_F(ClientWindow, CloseLetsPushesInFlightEnd) {
  Start({.max_in_flight = 5});
  const std::vector<PushFuture> futures = PushAll(1, 5);
  ASSERT_OK(worker_->Close());
  for (const PushFuture& future : futures) EXPECT_EQ(future.Wait()->outcome, Outcome::kApplied);
  EXPECT_EQ(ErrorReason(Push(6).status()), "");
  EXPECT_EQ(Push(6).status().code(), absl::StatusCode::kFailedPrecondition);
  fake_.Restart();
  EXPECT_EQ(Moved(), Sum(1, 5));  // leaving has put them on disk
}

TEST_F(ClientWindow, AWorkerThatGoesAwayCancelsWhatDoesNotMove) {
  ConnectOptions options = Options();
  options.control_timeout = std::chrono::milliseconds(50);
  Start({.max_in_flight = 3}, Durability::kRound, RoundPolicy::kAsync, options);
  Hold(1);
  const std::vector<PushFuture> futures = PushAll(1, 3);
  Await("whole", 2);
  worker_.reset();
  for (const PushFuture& future : futures) {
    EXPECT_TRUE(future.done());
    EXPECT_EQ(future.Wait().status().code(), absl::StatusCode::kCancelled);
  }
  Hold(0);
  EXPECT_TRUE(fake_.applied("a").empty());
}

TEST_F(ClientWindow, CancelEndsPushesInFlightAndPushesThatWait) {
  Start({.max_in_flight = 2});
  Hold(1);
  const std::vector<PushFuture> futures = PushAll(1, 2);
  std::thread waiting([&] { EXPECT_EQ(Push(3).status().code(), absl::StatusCode::kCancelled); });
  Await("whole", 1);
  worker_->Cancel();
  waiting.join();
  for (const PushFuture& future : futures) {
    EXPECT_EQ(future.Wait().status().code(), absl::StatusCode::kCancelled);
  }
  Hold(0);
  ASSERT_OK(worker_->Close());
}

TEST_F(ClientWindow, AFutureCallsBackOnceAndWaitsNoLongerThanAsked) {
  Start({.max_in_flight = 1});
  Hold(1);
  const PushFuture future = Push(1).value();
  std::atomic<int> calls = 0;
  future.OnDone([&] { ++calls; });
  EXPECT_EQ(future.Wait(std::chrono::milliseconds(5)).status().code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(calls, 0);
  Hold(0);
  ASSERT_OK(future.Wait());
  ASSERT_OK(future.Wait());
  ASSERT_OK(worker_->Close());  // its thread has called
  EXPECT_EQ(calls, 1);
  future.OnDone([&] { ++calls; });
  EXPECT_EQ(calls, 2);
}

TEST_F(ClientWindow, PushesFromManyThreadsAllCount) {
  Start({.max_in_flight = 5});
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      Trainer mine(*model_);
      mine.Add(0, 1);
      for (float& w : mine.weights.floats(0)) w = 1;
      for (int i = 0; i < 6; ++i) {
        const absl::StatusOr<PushFuture> future = worker_->PushAsync(mine.weights.data());
        ASSERT_OK(future);
        if (i % 2 == 0) ASSERT_OK(future->Wait());
        worker_->statistics();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  ASSERT_OK(worker_->Close());
  EXPECT_EQ(fake_.applied("a"), Numbers(24));
  EXPECT_EQ(fake_.floats(0)[0], 24.0f);
}

TEST_F(ClientWindow, RefusesWhatItCannotDo) {
  const Model model = MakeModel(Definition({{"w", {100}}}, Mode::kDelta, RoundPolicy::kAsync));
  for (const JoinOptions& join :
       {JoinOptions{.max_in_flight = 0}, JoinOptions{.max_in_flight = 6},
        JoinOptions{.ranks = 2, .max_in_flight = 2},
        JoinOptions{.push_codec = "bf16", .error_feedback = true, .max_in_flight = 2}}) {
    const absl::Status status = model.Join("a", join).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_NE(status.message().find("max_in_flight"), absl::string_view::npos) << status;
  }
  auto feedback = model.Join("a", {.push_codec = "bf16", .error_feedback = true}).value();
  Trainer trainer(model);
  EXPECT_EQ(ErrorReason(feedback->PushAsync(trainer.weights.data()).status()), "NO_BASE");
  ASSERT_OK(feedback->Pull(trainer.weights.sinks()));
  EXPECT_EQ(feedback->PushAsync(trainer.weights.data()).status().code(),
            absl::StatusCode::kFailedPrecondition);
}

}  // namespace
}  // namespace stepback::client
