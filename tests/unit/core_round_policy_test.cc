#include "server/core/round_policy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace stepback {
namespace {

using std::chrono::seconds;

const TimePoint kStart{std::chrono::hours(5)};

RoundSpec Sync(uint32_t quorum, double deadline_seconds = 0) {
  return {.quorum = quorum, .deadline_seconds = deadline_seconds};
}
RoundProgress Reported(uint64_t contributions, uint64_t awaited) {
  return {.contributions = contributions, .awaited = awaited, .first_at = kStart};
}
RoundDecision After(int elapsed, const RoundProgress& progress, const RoundSpec& rounds) {
  return DecideRound(progress, rounds, kStart + seconds(elapsed));
}

MATCHER_P(WaitsBecause, words, "") {
  *result_listener << (arg.close ? "closes: " : "waits: ") << arg.reason;
  return !arg.close && arg.reason == words;
}
MATCHER_P(ClosesBecause, words, "") {
  *result_listener << (arg.close ? "closes: " : "waits: ") << arg.reason;
  return arg.close && arg.reason == words;
}

TEST(RoundPolicy, WaitsUntilEveryLiveWorkerHasContributed) {
  EXPECT_THAT(After(0, Reported(1, 1), Sync(1)), WaitsBecause("1 of 2 workers"));
  EXPECT_THAT(After(1000000, Reported(1, 1), Sync(1)), WaitsBecause("1 of 2 workers"));
  EXPECT_THAT(After(0, Reported(2, 0), Sync(1)), ClosesBecause("2 of 2 workers contributed"));
}

TEST(RoundPolicy, WaitsForTheQuorumEvenWhenNobodyElseIsThere) {
  EXPECT_THAT(After(0, Reported(1, 0), Sync(2)), WaitsBecause("1 of 1 worker, quorum 2"));
  EXPECT_THAT(After(0, Reported(2, 0), Sync(2)), ClosesBecause("2 of 2 workers contributed"));
}

TEST(RoundPolicy, ClosesWithAQuorumWhenTheDeadlineHasPassed) {
  EXPECT_THAT(After(4, Reported(2, 1), Sync(2, 5)), WaitsBecause("2 of 3 workers"));
  EXPECT_THAT(After(5, Reported(2, 1), Sync(2, 5)),
              ClosesBecause("deadline of 5 s passed with 2 of 3 workers"));
  EXPECT_THAT(After(50, Reported(1, 2), Sync(2, 5)), WaitsBecause("1 of 3 workers, quorum 2"));
}

TEST(RoundPolicy, NeverClosesWithoutAContribution) {
  for (const RoundPolicy policy : {RoundPolicy::kSync, RoundPolicy::kAsync, RoundPolicy::kBuffered}) {
    RoundSpec rounds = Sync(1, 1);
    rounds.policy = policy;
    EXPECT_THAT(DecideRound({}, rounds, kStart), WaitsBecause("no contribution yet"));
  }
}

TEST(RoundPolicy, AsyncAppliesEveryPushAtOnce) {
  RoundSpec rounds = Sync(7);
  rounds.policy = RoundPolicy::kAsync;
  EXPECT_THAT(After(0, Reported(1, 50), rounds), ClosesBecause("applied at once"));
}

TEST(RoundPolicy, BufferedClosesAtItsCountWhoeverIsThere) {
  RoundSpec rounds{.policy = RoundPolicy::kBuffered, .buffer_pushes = 3};
  EXPECT_THAT(After(0, Reported(2, 0), rounds), WaitsBecause("2 of 3 pushes"));
  EXPECT_THAT(After(0, Reported(3, 9), rounds), ClosesBecause("3 of 3 pushes"));
}

TEST(RoundPolicy, AnOrderedRoundClosesWhenItsStagingIsFull) {
  RoundSpec rounds = Sync(2);
  rounds.reduction = Reduction::kOrdered;
  rounds.max_workers = 4;
  EXPECT_FALSE(After(0, Reported(3, 9), rounds).close);
  EXPECT_THAT(After(0, Reported(4, 8), rounds), ClosesBecause("full: 4 contributions staged, max_workers 4"));
}

TEST(RoundPolicy, TheDeadlineIsKnownOnceTimeAloneCanCloseTheRound) {
  EXPECT_EQ(RoundDeadline(Reported(2, 1), Sync(2, 5)), kStart + seconds(5));
  EXPECT_EQ(RoundDeadline(Reported(2, 1), Sync(2, 0.25)), kStart + std::chrono::milliseconds(250));
  EXPECT_EQ(RoundDeadline(Reported(1, 1), Sync(2, 5)), std::nullopt) << "below the quorum";
  EXPECT_EQ(RoundDeadline(Reported(2, 1), Sync(2)), std::nullopt) << "no deadline";
  EXPECT_EQ(RoundDeadline({}, Sync(1, 5)), std::nullopt) << "no round";
}

RoundProgress Graceful(uint64_t contributions, uint64_t awaited, int quorum_after) {
  RoundProgress progress = Reported(contributions, awaited);
  progress.quorum_at = kStart + seconds(quorum_after);
  progress.grace = seconds(4);
  return progress;
}

TEST(RoundPolicy, WaitsForTheOthersAsLongAsTheGraceLasts) {
  EXPECT_THAT(After(6, Graceful(2, 1, 3), Sync(2)),
              WaitsBecause("2 of 3 workers, grace of 4 s after the quorum runs"));
  EXPECT_THAT(After(7, Graceful(2, 1, 3), Sync(2)),
              ClosesBecause("grace of 4 s after the quorum of 2 passed with 2 of 3 workers"));
  EXPECT_THAT(After(3, Graceful(3, 0, 3), Sync(2)), ClosesBecause("3 of 3 workers contributed"));
  EXPECT_EQ(RoundDeadline(Graceful(2, 1, 3), Sync(2)), kStart + seconds(7));
}

TEST(RoundPolicy, ClosesAtTheEarlierOfGraceAndDeadline) {
  EXPECT_THAT(After(5, Graceful(2, 1, 3), Sync(2, 5)),
              ClosesBecause("deadline of 5 s passed with 2 of 3 workers"));
  EXPECT_THAT(After(7, Graceful(2, 1, 3), Sync(2, 50)),
              ClosesBecause("grace of 4 s after the quorum of 2 passed with 2 of 3 workers"));
  EXPECT_EQ(RoundDeadline(Graceful(2, 1, 3), Sync(2, 5)), kStart + seconds(5));
}

}  // namespace
}  // namespace stepback
