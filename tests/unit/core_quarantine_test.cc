// Clients whose pushes are not finite are thrown out after a few in a row, so that nobody waits for them; who
// cannot be blamed is let in again (decision record 123; P20 of the reliability reference).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "server/base/errors.h"
#include "server/core/nonfinite_run.h"
#include "tests/unit/core_support.h"

namespace stepback::core_test {
namespace {

using std::chrono::seconds;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

ModelSpec Spec(uint32_t after = 3) {
  ModelSpec spec = DeltaSpec(2);
  spec.lease_seconds = 3600;
  spec.quarantine = {.after = after, .seconds = 60};
  return spec;
}

class Quarantine : public testing::Test {
 protected:
  explicit Quarantine(ModelSpec spec = Spec()) : model_(std::move(spec), OneTensor({10, 20})) {
    model_.Join("a");
    model_.Join("b");
  }

  Effects Bad(double loss_scale = 1, const std::string& client = "a") {
    Push push = model_.Next(client, OneTensor({std::nanf(""), 1}));
    push.finite = false;
    push.header.loss_scale = loss_scale;
    return model_.Apply(std::move(push));
  }
  Effects Good(const std::string& client = "a") { return model_.Apply(client, OneTensor({1, 1})); }
  void ThrowOut(const std::string& client = "a") {
    for (int i = 0; i < 3; ++i) Bad(1, client);
    ASSERT_EQ(Refusal(client), "QUARANTINED");
  }
  // Of a session; "" when one was opened.
  std::string Refusal(const std::string& client = "a") {
    const auto opened = model_->Open({.client_id = client, .role = SessionRole::kTrainer}, model_.now);
    if (opened.ok()) model_.epochs[client] = opened->epoch;
    return ReasonOf(opened.status());
  }

  TestModel model_;
};

TEST_F(Quarantine, TheThirdPushInARowEndsTheSession) {
  EXPECT_THAT(Bad().ended_sessions, IsEmpty());
  EXPECT_THAT(Bad().ended_sessions, IsEmpty());
  const Effects third = Bad();
  EXPECT_THAT(third.ended_sessions, ElementsAre("a"));
  ASSERT_EQ(third.answers.size(), 1u);
  EXPECT_EQ(ReasonOf(third.answers[0].answer.refusal), "NONFINITE") << "the push's own answer";
  EXPECT_EQ(third.events.back().name, "session_quarantined");
  EXPECT_THAT(third.events.back().reason, HasSubstr("client 'a' may open no session for 60 s: 3 pushes in a row"));

  EXPECT_EQ(ReasonOf(model_.Answer("a", OneTensor({1, 1})).refusal), "QUARANTINED");
  const absl::Status beat = model_->Heartbeat("a", model_.epochs["a"], {}, model_.now);
  EXPECT_EQ(beat.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(ReasonOf(beat), "QUARANTINED");
  const absl::Status open = model_->Open({.client_id = "a"}, model_.now).status();
  EXPECT_EQ(open.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(open.message()), HasSubstr("client 'a' may open no session for 60.0 s more"));
  EXPECT_EQ(ReasonOf(model_->Open({.client_id = "a", .attach = true}, model_.now).status()), "QUARANTINED");
}

TEST_F(Quarantine, ARoundDoesNotWaitForWhoIsOut) {
  EXPECT_EQ(Good("b").committed, nullptr) << "waits for a";
  Bad();
  Bad();
  EXPECT_NE(Bad().committed, nullptr) << "with b's push alone";
  EXPECT_THAT(model_.Phi(), ElementsAre(9, 19));
}

TEST_F(Quarantine, AFinitePushBeginsTheRunAnew) {
  for (int i = 0; i < 3; ++i) {
    Bad();
    ASSERT_THAT(Bad().ended_sessions, IsEmpty()) << i;
    Good();
    ASSERT_NE(Good("b").committed, nullptr);
  }
}

TEST_F(Quarantine, ANewSessionDoesNot) {
  Bad();
  Bad();
  ASSERT_EQ(Refusal(), "");
  EXPECT_THAT(Bad().ended_sessions, ElementsAre("a"));
}

TEST_F(Quarantine, PushesOnTheirWayAreRefusedAndTheirNumbersStayFree) {
  Bad();
  Bad();
  Push third = model_.Next("a", OneTensor({std::nanf(""), 1}));
  third.finite = false;
  const Push fourth = model_.Next("a", OneTensor({1, 1}));
  EXPECT_THAT(model_.Apply(fourth).answers, IsEmpty());
  const Effects effects = model_.Apply(third);
  ASSERT_EQ(effects.answers.size(), 2u);
  EXPECT_EQ(ReasonOf(effects.answers[1].answer.refusal), "QUARANTINED");
  EXPECT_FALSE(effects.answers[1].answer.decided);
}

TEST_F(Quarantine, IsOverAfterItsTimeAndTheRunIsForgotten) {
  ThrowOut();
  model_.now += seconds(59);
  EXPECT_EQ(Refusal(), "QUARANTINED");
  model_.now += seconds(1);
  ASSERT_EQ(Refusal(), "");
  Bad();
  Bad();
  EXPECT_EQ(Refusal(), "") << "two of three";
}

TEST_F(Quarantine, OperatorsSeeItAndEndItByTheSettings) {
  EXPECT_THAT(model_->Quarantined(model_.now), IsEmpty());
  ThrowOut();
  model_.now += seconds(20);
  const auto out = model_->Quarantined(model_.now);
  ASSERT_EQ(out.size(), 1u);
  EXPECT_EQ(out[0].client_id, "a");
  EXPECT_EQ(out[0].quarantine_remaining_seconds, 40);
  EXPECT_EQ(out[0].last_sequence, 3u);
  EXPECT_EQ(model_->Sessions(model_.now).size(), 1u) << "b";
  ASSERT_TRUE(model_->Update({{"quarantine.seconds", 20}}, 0).ok());
  EXPECT_THAT(model_->Quarantined(model_.now), IsEmpty());
  EXPECT_EQ(Refusal(), "");
}

TEST_F(Quarantine, OtherWeightsForgiveEverybody) {
  ThrowOut();
  Bad(1, "b");
  Bad(1, "b");
  const auto image = model_->current();
  ASSERT_TRUE(model_->Restore(image, image->version.term + 1).ok());
  ASSERT_EQ(Refusal("a"), "");
  ASSERT_EQ(Refusal("b"), "");
  EXPECT_THAT(Bad(1, "b").ended_sessions, IsEmpty()) << "the first of a new run";
  ThrowOut();
  const auto backend = kernels::MakeCpuBackend();
  ASSERT_TRUE(model_->Import(Arena(backend.get(), model_.spec(), OneTensor({1, 2}))).ok());
  EXPECT_EQ(Refusal(), "");
}

// An overflow is no fault: the scale is too high, and the server lowers it. Twenty in a row are.
TEST_F(Quarantine, OnlyALongRunOfOverflowsEndsASession) {
  for (uint32_t i = 1; i < kOverflowsInARow; ++i) {
    ASSERT_THAT(Bad(65536).ended_sessions, IsEmpty()) << i;
    Good("b");  // so that the round ends
  }
  EXPECT_THAT(Bad(65536).ended_sessions, ElementsAre("a"));
}

TEST_F(Quarantine, StalePushesAreNoPartOfTheRun) {
  Push stale = model_.Next("a", OneTensor({1, 1}));
  model_.sequences["a"] = 0;
  for (int i = 0; i < 2; ++i) {
    Good();
    Good("b");
  }
  for (int i = 0; i < 4; ++i) {
    stale.header.sequence = ++model_.sequences["a"];
    ASSERT_EQ(ReasonOf(model_.Answer(stale).refusal), "STALE_BASE");
  }
  EXPECT_TRUE(Good().answers[0].answer.refusal.ok());
}

class NoQuarantine : public Quarantine {
 protected:
  NoQuarantine() : Quarantine(Spec(/*after=*/0)) {}
};

TEST_F(NoQuarantine, ThrowsNobodyOut) {
  for (int i = 0; i < 50; ++i) ASSERT_THAT(Bad().ended_sessions, IsEmpty()) << i;
  EXPECT_TRUE(Good().answers[0].answer.refusal.ok());
}

}  // namespace
}  // namespace stepback::core_test
