// What becomes of several pushes in flight when connection, session or server go away: each one has one
// effect, one answer, and its place in the order.
#include <random>

#include "tests/unit/client_window_fixture.h"

namespace stepback::client {
namespace {

using fakes::Faults;

class ClientWindowFaults : public WindowFixture {
 protected:
  // All of them are applied, once, in order.
  void ExpectApplied(const std::vector<PushFuture>& futures, int first, int last) {
    for (const PushFuture& future : futures) {
      const absl::StatusOr<PushResult> result = future.Wait();
      ASSERT_OK(result);
      EXPECT_EQ(result->outcome, Outcome::kApplied) << result->reason;
    }
    EXPECT_EQ(fake_.applied("a"), Numbers(static_cast<uint64_t>(last - first + 1)));
    EXPECT_EQ(Moved(0), Sum(first, last));
    EXPECT_EQ(Moved(4999), Sum(first, last));
  }
};

TEST_F(ClientWindowFaults, ABreakInTheMiddleOfTheThirdUploadLosesNothingBehindIt) {
  Start({.max_in_flight = 5});
  Hold(3, 2);
  const std::vector<PushFuture> futures = PushAll(1, 5);
  ASSERT_OK(futures[1].Wait());
  Await("whole", 4);
  Await("held", 1);
  fake_.BreakConnections();
  Hold(0);
  ExpectApplied(futures, 1, 5);
  EXPECT_EQ(fake_.Count("chunk"), 5u * 5);  // none came twice
  EXPECT_GE(fake_.Count("resumed_bytes"), 2u * 4096);
  EXPECT_GE(worker_->statistics().reconnects, 1u);
}

TEST_F(ClientWindowFaults, OneBrokenUploadGoesOnWhereItStoppedAndTheOthersStay) {
  Start({.max_in_flight = 5});
  Inject([](Faults* faults) {
    faults->break_uploads = 1, faults->break_sequence = 3, faults->break_after_chunks = 3;
  });
  const std::vector<PushFuture> futures = PushAll(1, 5);
  ExpectApplied(futures, 1, 5);
  EXPECT_GE(fake_.Count("resumed_bytes"), 3u * 4096);
}

TEST_F(ClientWindowFaults, LostAnswersAreGivenAgainEachToItsOwnPush) {
  Start({.max_in_flight = 5});
  Inject([](Faults* faults) { faults->lose_answers = 4; });
  const std::vector<PushFuture> futures = PushAll(1, 5);
  ExpectApplied(futures, 1, 5);
  for (size_t i = 0; i < 5; ++i) {
    EXPECT_EQ(futures[i].Wait()->sequence, i + 1);
    EXPECT_EQ(futures[i].Wait()->version, (Version{1, i + 1}));
  }
  EXPECT_GE(worker_->statistics().duplicates, 1u);
}

TEST_F(ClientWindowFaults, ARestartBringsBackWhatWasAcknowledgedBeforeWhatWasInFlight) {
  Start({.max_in_flight = 5});
  std::vector<PushFuture> futures = PushAll(1, 3);
  for (const PushFuture& future : futures) ASSERT_OK(future.Wait());
  Hold(4, 1);
  for (PushFuture& future : PushAll(4, 8)) futures.push_back(std::move(future));
  Await("whole", 7);  // 5 to 8 are with the server
  fake_.Restart();
  Hold(0);
  ExpectApplied(futures, 1, 8);
  EXPECT_EQ(worker_->statistics().replays, 3u);
  EXPECT_EQ(worker_->statistics().lost, 0u);
  for (size_t i = 0; i < 8; ++i) EXPECT_EQ(futures[i].Wait()->sequence, i + 1);
}

// Nothing is kept, so what the server lost is lost; the numbers begin again behind what it knows.
TEST_F(ClientWindowFaults, AVolatileModelNumbersWhatIsInFlightAnew) {
  Start({.max_in_flight = 5}, Durability::kVolatile);
  for (const PushFuture& future : PushAll(1, 3)) ASSERT_OK(future.Wait());
  Hold(4);
  const std::vector<PushFuture> futures = PushAll(4, 8);
  Await("whole", 7);
  fake_.Restart();
  Hold(0);
  ExpectApplied(futures, 4, 8);
}

TEST_F(ClientWindowFaults, ARefusedPushLeavesNoGapAndNothingBehindItCountsTwice) {
  Start({.max_in_flight = 5});
  Hold(1);
  Inject([](Faults* faults) { faults->refuse_sequence = 2; });
  const std::vector<PushFuture> futures = PushAll(1, 5);
  EXPECT_EQ(ErrorReason(futures[1].Wait().status()), "PUSH_TOO_LARGE");
  Hold(0);
  const std::vector<uint64_t> expected = {1, 0, 2, 3, 4};
  for (size_t i : {0, 2, 3, 4}) {
    const absl::StatusOr<PushResult> result = futures[i].Wait();
    ASSERT_OK(result);
    EXPECT_EQ(result->sequence, expected[i]);
  }
  EXPECT_EQ(fake_.applied("a"), Numbers(4));
  EXPECT_EQ(Moved(), Sum(1, 5) - Size(2));
}

TEST_F(ClientWindowFaults, AStalePushUsesUpItsNumberAndTheOthersGoOn) {
  ModelDefinition definition = Definition({{"w", {kElements}}}, Mode::kDelta, RoundPolicy::kAsync);
  definition.rounds.max_staleness = 2;
  model_ = std::make_unique<Model>(MakeModel(definition));
  worker_ = model_->Join("a", {.max_in_flight = 5}).value();
  trainer_ = std::make_unique<Trainer>(*model_);
  ASSERT_OK(worker_->Pull(trainer_->weights.sinks()));
  const std::vector<PushFuture> futures = PushAll(1, 5);  // all of base 0
  for (size_t i = 0; i < 5; ++i) {
    const PushResult result = futures[i].Wait().value();
    EXPECT_EQ(result.outcome, i < 3 ? Outcome::kApplied : Outcome::kResynced);
    if (i >= 3) EXPECT_EQ(result.reason.substr(0, 10), "STALE_BASE");
  }
  EXPECT_EQ(Moved(), Sum(1, 3));
  EXPECT_EQ(worker_->statistics().resyncs, 2u);
  ASSERT_OK(worker_->Pull(trainer_->weights.sinks()));
  EXPECT_EQ(Push(6)->Wait()->sequence, 6u);
}

TEST_F(ClientWindowFaults, ATakenOverWorkerIsFencedWithEverythingInFlight) {
  Start({.max_in_flight = 3});
  Hold(1);
  const std::vector<PushFuture> futures = PushAll(1, 3);
  Await("whole", 2);
  const auto successor = model_->Join("a").value();
  Hold(0);
  for (const PushFuture& future : futures) EXPECT_EQ(ErrorReason(future.Wait().status()), "FENCED");
  EXPECT_EQ(ErrorReason(Push(4).value().Wait().status()), "FENCED");
  EXPECT_EQ(fake_.Count("open"), 2u);
  EXPECT_EQ(Moved(), 0.0f);
}

TEST_F(ClientWindowFaults, ARolledBackModelResyncsWhatIsInFlight) {
  Start({.max_in_flight = 3});
  ASSERT_OK(Push(1)->Wait());
  Hold(2);
  std::vector<PushFuture> futures = PushAll(2, 4);
  Await("whole", 3);
  fake_.RollBack();
  Hold(0);
  size_t resynced = 0;
  for (const PushFuture& future : futures) {
    const absl::StatusOr<PushResult> result = future.Wait();
    ASSERT_OK(result);
    resynced += result->outcome == Outcome::kResynced;
  }
  EXPECT_GE(resynced, 1u);
  ASSERT_OK(worker_->Pull(trainer_->weights.sinks()));
  EXPECT_EQ(Push(5)->Wait()->outcome, Outcome::kApplied);
  EXPECT_EQ(fake_.applied("a"), Numbers(5 - resynced));
}

TEST_F(ClientWindowFaults, AFullServerIsGivenTime) {
  Start({.max_in_flight = 5});
  Inject([](Faults* faults) { faults->staging_full = 7; });
  ExpectApplied(PushAll(1, 5), 1, 5);
  EXPECT_EQ(worker_->statistics().reconnects, 0u);
}

TEST_F(ClientWindowFaults, AServerThatStaysAwayIsGivenUpForAll) {
  ConnectOptions options = Options();
  options.retry.give_up_after = std::chrono::milliseconds(30);
  Start({.max_in_flight = 3}, Durability::kRound, RoundPolicy::kAsync, options);
  Inject([](Faults* faults) { faults->down = true; });
  for (const PushFuture& future : PushAll(1, 3)) {
    EXPECT_EQ(future.Wait().status().code(), absl::StatusCode::kUnavailable);
  }
  Inject([](Faults* faults) { faults->down = false; });
  ASSERT_OK(Push(4)->Wait());
  EXPECT_EQ(Moved(), Size(4));
}

TEST_F(ClientWindowFaults, APushWhoseTimeIsUpEndsAloneAndLeavesNoGap) {
  Start({.max_in_flight = 3});
  Hold(1, 2);
  std::vector<PushFuture> futures = {Push(1, {.timeout = std::chrono::milliseconds(60)}).value()};
  for (PushFuture& future : PushAll(2, 3)) futures.push_back(std::move(future));
  EXPECT_EQ(futures[0].Wait().status().code(), absl::StatusCode::kDeadlineExceeded);
  Hold(0);
  EXPECT_EQ(futures[1].Wait()->sequence, 1u);
  EXPECT_EQ(futures[2].Wait()->sequence, 2u);
  EXPECT_EQ(Moved(), Size(2) + Size(3));
  EXPECT_EQ(Moved(4999), Size(2) + Size(3));
}

// What the server holds of a push that was given up is no part of the push that gets its number.
TEST_F(ClientWindowFaults, APushIsNotPutBehindAnAbandonedOnesBeginning) {
  Start({});
  Hold(1, 2);
  trainer_->Add(0, Size(7));
  EXPECT_EQ(worker_->PushWeights(trainer_->weights.data(), {.timeout = std::chrono::milliseconds(60)})
                .status()
                .code(),
            absl::StatusCode::kDeadlineExceeded);
  trainer_->Add(0, -Size(7));
  Hold(0);
  trainer_->Add(0, Size(1));
  EXPECT_EQ(worker_->PushWeights(trainer_->weights.data())->sequence, 1u);
  EXPECT_EQ(Moved(0), Size(1));
  EXPECT_EQ(Moved(4999), Size(1));
}

TEST_F(ClientWindowFaults, AnyMixtureOfFaultsLosesAndDoublesNothing) {
  const uint64_t seed = std::random_device{}();
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  std::mt19937_64 random(seed);
  Start({.replay_bytes_max = 12 * kPushBytes, .max_in_flight = 5});
  std::vector<PushFuture> futures;
  for (int i = 1; i <= 120; ++i) {
    switch (random() % 8) {
      case 0:
        Inject([](Faults* faults) { faults->lose_answers = 2; });
        break;
      case 1:
        Inject([&](Faults* faults) { faults->break_uploads = 1, faults->break_after_chunks = random() % 5; });
        break;
      case 2:
        fake_.BreakConnections();
        break;
      case 3:
        if (random() % 3 == 0) fake_.Restart();
        break;
      case 4:
        Inject([](Faults* faults) { faults->staging_full = 1; });
        break;
      case 5:
        if (random() % 3 == 0) ASSERT_OK(worker_->Pull(trainer_->weights.sinks()));
        break;
      default:
        break;
    }
    futures.push_back(Push(0).value());
  }
  for (const PushFuture& future : futures) {
    const absl::StatusOr<PushResult> result = future.Wait();
    ASSERT_OK(result);
    ASSERT_EQ(result->outcome, Outcome::kApplied) << result->reason;
  }
  ASSERT_OK(worker_->Pull(trainer_->weights.sinks()));  // recovers what a late restart lost
  EXPECT_EQ(fake_.applied("a"), Numbers(120));
  EXPECT_EQ(Moved(4999), 120.0f);
  EXPECT_EQ(worker_->statistics().lost, 0u);
}

}  // namespace
}  // namespace stepback::client
