#include "server/core/admit.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "server/base/errors.h"
#include "server/core/loss_scaler.h"

namespace stepback {
namespace {

using testing::AllOf;
using testing::HasSubstr;

// The model is at 2.10 (term 2), the client has had 3 pushes decided; staleness up to 2 is taken.
const AdmitState kState{.model_name = "lm", .current = {2, 10}, .max_staleness = 2, .last_sequence = 3};

PushHeader Header(uint64_t sequence, Version base = {2, 10}) {
  return {.client_id = "w", .sequence = sequence, .base = base};
}

std::string Words(const Admission& admission) { return std::string(admission.status.message()); }

TEST(Admit, TakesTheNextPushOnTheNewestBase) {
  const Admission admission = Admit(Header(4), true, kState);
  EXPECT_EQ(admission.verdict, Verdict::kAccept);
  EXPECT_EQ(admission.staleness, 0u);
}

TEST(Admit, ADecidedNumberIsADuplicateWhateverElseThePushSays) {
  for (const uint64_t n : {1, 2, 3}) {
    EXPECT_EQ(Admit(Header(n, {9, 999}), false, kState).verdict, Verdict::kDuplicate) << n;
  }
}

TEST(Admit, NumbersStartAtOne) {
  const Admission admission = Admit(Header(0), true, kState);
  EXPECT_EQ(admission.verdict, Verdict::kRefuse);
  EXPECT_EQ(ReasonOf(admission.status), "SEQUENCE_INVALID");
}

TEST(Admit, UpToFivePushesMayRunAheadOfTheNext) {
  for (uint64_t n = 5; n <= 9; ++n) EXPECT_EQ(Admit(Header(n), true, kState).verdict, Verdict::kWait) << n;
  for (const uint64_t n : {uint64_t{10}, uint64_t{1000}, std::numeric_limits<uint64_t>::max()}) {
    const Admission admission = Admit(Header(n), true, kState);
    EXPECT_EQ(admission.verdict, Verdict::kRefuse) << n;
    EXPECT_EQ(admission.status.code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_EQ(ReasonOf(admission.status), "SEQUENCE_GAP");
    EXPECT_THAT(Words(admission), HasSubstr("expected 4"));
    EXPECT_EQ(MetadataOf(admission.status)["expected"], "4");
  }
}

TEST(Admit, ASecondPushOfTheOpenRoundWaits) {
  AdmitState state = kState;
  state.contributed = true;
  EXPECT_EQ(Admit(Header(4), true, state).verdict, Verdict::kWait);
}

TEST(Admit, StalenessComparesCountersWhateverTheTerm) {
  for (const uint64_t term : {1, 2}) {
    for (const auto& [counter, staleness] : {std::pair{10, 0}, {9, 1}, {8, 2}}) {
      const Admission admission = Admit(Header(4, {term, uint64_t(counter)}), true, kState);
      EXPECT_EQ(admission.verdict, Verdict::kAccept) << counter;
      EXPECT_EQ(admission.staleness, uint64_t(staleness));
    }
  }
}

TEST(Admit, AboveTheBoundAPushIsRejectedForGoodNamingBaseCurrentAndBound) {
  const Admission admission = Admit(Header(4, {2, 7}), true, kState);
  EXPECT_EQ(admission.verdict, Verdict::kReject);
  EXPECT_EQ(admission.status.code(), absl::StatusCode::kAborted);
  EXPECT_EQ(ReasonOf(admission.status), "STALE_BASE");
  EXPECT_THAT(Words(admission), AllOf(HasSubstr("model 'lm'"), HasSubstr("base version 2.7"),
                                      HasSubstr("current 2.10"), HasSubstr("max_staleness 2")));
}

TEST(Admit, BasesFromBeforeAnImportAreOtherWeights) {
  AdmitState state = kState;
  state.oldest_base = 10;
  EXPECT_EQ(Admit(Header(4, {2, 10}), true, state).verdict, Verdict::kAccept);
  const Admission admission = Admit(Header(4, {2, 9}), true, state);
  EXPECT_EQ(admission.verdict, Verdict::kReject);
  EXPECT_THAT(Words(admission), HasSubstr("the weights were replaced at counter 10"));
}

TEST(Admit, ABaseThatThisTermNeverServedMustBePulledAgain) {
  for (const Version base : {Version{2, 11}, Version{3, 11}, Version{2, ~uint64_t{0}}}) {
    const Admission admission = Admit(Header(4, base), true, kState);
    EXPECT_EQ(admission.verdict, Verdict::kRefuse) << base.ToString();
    EXPECT_EQ(admission.status.code(), absl::StatusCode::kAborted);
    EXPECT_EQ(ReasonOf(admission.status), "RESYNC");
  }
}

TEST(Admit, ABaseThatARecoveryLostWaitsForReplaysAndThenMustBePulledAgain) {
  const Admission wait = Admit(Header(4, {1, 12}), true, kState);
  EXPECT_EQ(wait.verdict, Verdict::kWait);
  EXPECT_TRUE(wait.base_ahead);
  AdmitState state = kState;
  state.waited_for_base = true;
  EXPECT_EQ(ReasonOf(Admit(Header(4, {1, 12}), true, state).status), "RESYNC");
  state.current.counter = 12;
  EXPECT_EQ(Admit(Header(4, {1, 12}), true, state).verdict, Verdict::kAccept);
}

TEST(Admit, NotFiniteIsAnErrorWithoutLossScalingAndAnOverflowWithIt) {
  const Admission plain = Admit(Header(4), false, kState);
  EXPECT_EQ(plain.verdict, Verdict::kReject);
  EXPECT_EQ(plain.status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ReasonOf(plain.status), "NONFINITE");
  PushHeader scaled = Header(4);
  scaled.loss_scale = 1024;
  EXPECT_EQ(Admit(scaled, false, kState).verdict, Verdict::kSkip);
}

TEST(MaxStaleness, DefaultsToOneInSyncAndFourTimesTheLiveWorkersOtherwise) {
  RoundSpec rounds;
  EXPECT_EQ(MaxStaleness(rounds, 50), 1u);
  for (const RoundPolicy policy : {RoundPolicy::kAsync, RoundPolicy::kBuffered}) {
    rounds.policy = policy;
    EXPECT_EQ(MaxStaleness(rounds, 0), 4u);
    EXPECT_EQ(MaxStaleness(rounds, 1), 4u);
    EXPECT_EQ(MaxStaleness(rounds, 50), 200u);
  }
  rounds.max_staleness = 0;
  EXPECT_EQ(MaxStaleness(rounds, 50), 0u);
}

TEST(LossScaler, HalvesOncePerStepAndDoublesAfterTwoThousandCleanCommits) {
  LossScaler scaler;
  EXPECT_EQ(scaler.scale(), 65536);
  for (int worker = 0; worker < 4; ++worker) scaler.Overflowed(65536);  // all workers of one step
  EXPECT_EQ(scaler.scale(), 32768);
  for (int i = 0; i < 1999; ++i) scaler.Committed();
  EXPECT_EQ(scaler.scale(), 32768);
  scaler.Committed();
  EXPECT_EQ(scaler.scale(), 65536);
  for (int i = 0; i < 1999; ++i) scaler.Committed();
  scaler.Overflowed(65536);
  EXPECT_EQ(scaler.scale(), 32768);
  scaler.Committed();
  EXPECT_EQ(scaler.scale(), 32768) << "the count began anew";
}

TEST(LossScaler, StaysWithinOneAndTheLargestFloat) {
  LossScaler scaler;
  for (int i = 0; i < 100; ++i) scaler.Overflowed(1);
  EXPECT_EQ(scaler.scale(), 1);
  for (int i = 0; i < 2000 * 200; ++i) scaler.Committed();
  EXPECT_LE(scaler.scale(), std::numeric_limits<float>::max());
  EXPECT_GT(scaler.scale(), 1e38);
}

}  // namespace
}  // namespace stepback
