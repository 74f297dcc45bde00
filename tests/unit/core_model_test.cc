// The life of one model as its strand sees it: creation, rounds, sessions, settings, import, restore,
// failures.
#include "server/core/model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "server/base/errors.h"
#include "server/base/pool.h"
#include "tests/unit/core_support.h"

namespace stepback {
namespace {

using namespace core_test;  // NOLINT(build/namespaces)
using std::chrono::seconds;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

// Two workers, each push moves the weights by what it says (average, alpha 1).
TestModel TwoWorkers(ModelSpec spec = DeltaSpec(2)) {
  TestModel model(std::move(spec), OneTensor({10, 20}));
  model.Join("a");
  model.Join("b");
  return model;
}

bool HasEvent(const Effects& effects, const std::string& name) {
  return std::any_of(effects.events.begin(), effects.events.end(),
                     [&](const auto& e) { return e.name == name; });
}

// --- rounds ---

TEST(Model, StartsAtVersionOneZeroWithEqualWeights) {
  TestModel model(GradientSpec(2, Rule("adam"), Rule("nesterov"), 3), OneTensor({1, 2}));
  EXPECT_EQ(model.version().version, (Version{1, 0}));
  EXPECT_EQ(model.Phi(), model.Theta());
  EXPECT_EQ(model.version().phi, model.version().theta) << "one array";
  EXPECT_EQ(model->NextTick(), std::nullopt);
}

TEST(Model, ARoundClosesWhenAllWorkersContributed) {
  TestModel model = TwoWorkers();
  const Effects first = model.Apply("a", OneTensor({1, 2}));
  ASSERT_EQ(first.answers.size(), 1u);
  EXPECT_EQ(first.answers[0].answer.outcome, PushOutcome::kBuffered);
  EXPECT_EQ(first.answers[0].answer.reason, "1 of 2 workers");
  EXPECT_EQ(first.answers[0].answer.version, (Version{1, 0}));
  EXPECT_EQ(first.committed, nullptr);
  EXPECT_EQ(model->WaitingFor(), "waits for b; 1 of 2 workers");

  const Effects second = model.Apply("b", OneTensor({3, 6}));
  ASSERT_EQ(second.answers.size(), 1u);
  EXPECT_EQ(second.answers[0].answer.outcome, PushOutcome::kApplied);
  EXPECT_EQ(second.answers[0].answer.reason, "2 of 2 workers contributed");
  EXPECT_EQ(second.answers[0].answer.version, (Version{1, 1}));
  ASSERT_NE(second.committed, nullptr);
  EXPECT_TRUE(second.synced);
  EXPECT_EQ(second.committed, model->current());
  EXPECT_THAT(model.Phi(), ElementsAre(8, 16));
  EXPECT_EQ(model->WaitingFor(), "");
  EXPECT_EQ(second.committed->samples, 2u);
  EXPECT_EQ(second.committed->outer_steps, 1u);
  EXPECT_DOUBLE_EQ(second.committed->update_norm, std::sqrt(20.0));
  EXPECT_DOUBLE_EQ(second.committed->weight_norm, std::sqrt(64.0 + 256));
}

TEST(Model, TheVersionHoldsTheAnswersOfExactlyItsPushes) {
  TestModel model = TwoWorkers();
  model.Apply("a", OneTensor({1, 1}));
  EXPECT_EQ(model.version().clients->Find("a"), nullptr) << "version 1.0 decided nothing";
  const Effects effects = model.Apply("b", OneTensor({1, 1}));
  EXPECT_EQ(effects.committed->clients->Find("a")->last_sequence, 1u);
  EXPECT_EQ(effects.committed->clients->Find("a")->answers.back().outcome, PushOutcome::kBuffered);
  EXPECT_EQ(effects.committed->clients->Find("b")->answers.back().outcome, PushOutcome::kApplied);
  EXPECT_EQ(effects.committed->clients->Find("b")->answers.back().version, (Version{1, 1}));
  model.Apply("a", OneTensor({1, 1}));
  EXPECT_EQ(model.version().clients->Find("a")->last_sequence, 1u) << "the open round is not in the version";
}

TEST(Model, ARepeatedPushGetsItsFirstAnswerAndHasNoEffect) {
  TestModel model = TwoWorkers();
  const Push push = model.Next("a", OneTensor({1, 2}));
  model.Apply(push);
  const PushAnswer again = model.Answer(push);
  EXPECT_EQ(again.outcome, PushOutcome::kDuplicate);
  EXPECT_EQ(again.first_outcome, PushOutcome::kBuffered);
  model.Apply("b", OneTensor({3, 6}));
  const std::string before = StateBits(model.version());
  EXPECT_EQ(model.Answer(push).first_outcome, PushOutcome::kBuffered) << "keeps its first answer";
  EXPECT_EQ(StateBits(model.version()), before);
}

TEST(Model, ASecondPushOfAClientWaitsForTheNextRound) {
  TestModel model = TwoWorkers();
  model.Apply("a", OneTensor({1, 1}));
  EXPECT_THAT(model.Apply("a", OneTensor({2, 2})).answers, testing::IsEmpty());
  const Effects effects =
      model.Apply("b", OneTensor({3, 3}));  // closes the round; a's second push opens the next
  ASSERT_EQ(effects.answers.size(), 2u);
  EXPECT_EQ(effects.answers[0].client_id, "b");
  EXPECT_EQ(effects.answers[1].client_id, "a");
  EXPECT_EQ(effects.answers[1].answer.outcome, PushOutcome::kBuffered);
  EXPECT_EQ(effects.answers[1].answer.version, (Version{1, 1}));
  EXPECT_EQ(effects.answers[1].answer.staleness, 1u);
  EXPECT_THAT(model.Phi(), ElementsAre(8, 18));
  EXPECT_EQ(model->WaitingForWorkers(), std::vector<std::string>{"b"});
}

TEST(Model, PipelinedPushesOfAllWorkersCloseSeveralRoundsInOneCall) {
  ModelSpec spec = DeltaSpec(2);
  spec.rounds.max_staleness = 3;
  TestModel model = TwoWorkers(spec);
  for (int i = 0; i < 3; ++i) model.Apply("a", OneTensor({1, 1}));
  model.Apply("b", OneTensor({1, 1}));
  Push ahead = model.Next("b", OneTensor({1, 1}));    // sequence 2, held back
  Push further = model.Next("b", OneTensor({1, 1}));  // sequence 3 arrives first
  EXPECT_THAT(model.Apply(further).answers, testing::IsEmpty());
  const Effects effects = model.Apply(ahead);
  EXPECT_EQ(effects.committed->version, (Version{1, 3}));
  EXPECT_THAT(model.Phi(), ElementsAre(7, 17));
  EXPECT_EQ(std::count_if(effects.events.begin(), effects.events.end(),
                          [](const auto& e) { return e.name == "round_closed"; }),
            2);
}

TEST(Model, TheQuorumClosesAtTheDeadlineAndStragglersAreNotWaitedFor) {
  ModelSpec spec = DeltaSpec(2);
  spec.rounds.deadline_seconds = 5;
  TestModel model = TwoWorkers(spec);
  model.Apply("a", OneTensor({1, 1}));
  EXPECT_EQ(model->NextTick(), model.now + seconds(5));
  model.now += seconds(4);
  EXPECT_EQ(model->Tick(model.now).committed, nullptr);
  const Push late = model.Next("b", OneTensor({4, 4}));
  model.now += seconds(1);
  const Effects effects = model->Tick(model.now);
  ASSERT_NE(effects.committed, nullptr);
  EXPECT_THAT(model.Phi(), ElementsAre(9, 19));
  const PushAnswer answer = model.Answer(late);  // joins the next round, one version stale
  EXPECT_EQ(answer.outcome, PushOutcome::kBuffered);
  EXPECT_EQ(answer.staleness, 1u);
}

TEST(Model, SessionsThatJoinBeforeTheCloseAreAwaited) {
  TestModel model = TwoWorkers();
  model.Apply("a", OneTensor({1, 1}));
  model.Join("c");
  EXPECT_EQ(model.Apply("b", OneTensor({1, 1})).committed, nullptr);
  EXPECT_NE(model.Apply("c", OneTensor({1, 1})).committed, nullptr);
}

TEST(Model, ReadersNeverCountAndNeverPush) {
  TestModel model = TwoWorkers();
  model.Join("r", SessionRole::kReader);
  EXPECT_EQ(model->live_trainers(), 2u);
  const PushAnswer refused = model.Answer("r", OneTensor({1, 1}));
  EXPECT_EQ(ReasonOf(refused.refusal), "READER_SESSION");
  EXPECT_FALSE(refused.decided);
  model.Apply("a", OneTensor({1, 1}));
  EXPECT_NE(model.Apply("b", OneTensor({1, 1})).committed, nullptr);
}

TEST(Model, AWorkerThatLeavesIsNoLongerWaitedFor) {
  TestModel closing = TwoWorkers(), evicting = TwoWorkers(), expiring = TwoWorkers();
  for (TestModel* model : {&closing, &evicting, &expiring}) model->Apply("a", OneTensor({1, 1}));

  const auto closed = closing->Close("b", closing.epochs["b"], closing.now);
  ASSERT_TRUE(closed.ok());
  EXPECT_NE(closed->committed, nullptr);
  EXPECT_THAT(closed->ended_sessions, testing::IsEmpty());

  const auto evicted = evicting->Evict("b", evicting.now);
  ASSERT_TRUE(evicted.ok());
  EXPECT_NE(evicted->committed, nullptr);
  EXPECT_THAT(evicted->ended_sessions, ElementsAre("b"));

  expiring.now += seconds(59);
  ASSERT_TRUE(expiring->Heartbeat("a", 1, {}, expiring.now).ok());
  EXPECT_EQ(expiring->NextTick(), expiring.now + seconds(1));
  EXPECT_EQ(expiring->Tick(expiring.now).committed, nullptr);
  const Effects expired = expiring->Tick(expiring.now + seconds(1));
  EXPECT_NE(expired.committed, nullptr);
  EXPECT_THAT(expired.ended_sessions, ElementsAre("b"));
}

TEST(Model, AContributionStaysInTheRoundWhenItsWorkerLeaves) {
  TestModel model = TwoWorkers();
  model.Apply("a", OneTensor({1, 1}));
  ASSERT_TRUE(model->Close("a", 1, model.now).ok());
  const Effects effects = model.Apply("b", OneTensor({3, 3}));
  ASSERT_NE(effects.committed, nullptr);
  EXPECT_THAT(model.Phi(), ElementsAre(8, 18));
}

TEST(Model, AWorkerThatRestartsInMidRoundDoesNotContributeTwice) {
  TestModel model = TwoWorkers();
  model.Apply("a", OneTensor({1, 1}));
  model.Join("a");  // a new epoch; the number goes on
  EXPECT_EQ(model.epochs["a"], 2u);
  EXPECT_EQ(model.sequences["a"], 1u);
  EXPECT_THAT(model.Apply("a", OneTensor({100, 100})).answers, testing::IsEmpty())
      << "waits for the next round";
  EXPECT_EQ(model.Apply("b", OneTensor({3, 3})).committed->version, (Version{1, 1}));
  EXPECT_THAT(model.Phi(), ElementsAre(8, 18));
}

TEST(Model, AsyncAppliesEveryPushAtOnceWeightedByItsStaleness) {
  ModelSpec spec = DeltaSpec(2);
  spec.rounds.policy = RoundPolicy::kAsync;
  spec.rounds.staleness_exponent = 1;
  TestModel model = TwoWorkers(spec);
  const Push stale = model.Next("b", OneTensor({1, 4}));
  const PushAnswer first = model.Answer("a", OneTensor({1, 4}));
  EXPECT_EQ(first.outcome, PushOutcome::kApplied);
  EXPECT_EQ(first.reason, "applied at once");
  EXPECT_THAT(model.Phi(), ElementsAre(9, 16));
  const PushAnswer second = model.Answer(stale);
  EXPECT_EQ(second.staleness, 1u);
  EXPECT_THAT(model.Phi(), ElementsAre(8.5, 14)) << "weight 1/2";
}

TEST(Model, BufferedClosesEveryKPushesOfWhomever) {
  ModelSpec spec = DeltaSpec(2);
  spec.rounds.policy = RoundPolicy::kBuffered;
  spec.rounds.buffer_pushes = 3;
  TestModel model = TwoWorkers(spec);
  model.Apply("a", OneTensor({3, 0}));
  EXPECT_EQ(model.Answer("a", OneTensor({3, 0})).reason, "2 of 3 pushes");
  const Effects effects = model.Apply("b", OneTensor({0, 9}));
  ASSERT_NE(effects.committed, nullptr);
  EXPECT_THAT(model.Phi(), ElementsAre(8, 17)) << "divided by the number of pushes";
}

TEST(Model, SamplesWeighAndLossScaleDividesOnlyItsOwnPush) {
  ModelSpec spec = DeltaSpec(2);
  spec.rounds.weighting = Weighting::kSamples;
  for (const Reduction reduction : {Reduction::kRunning, Reduction::kOrdered}) {
    spec.rounds.reduction = reduction;
    TestModel model = TwoWorkers(spec);
    Push a = model.Next("a", OneTensor({4, 8})), b = model.Next("b", OneTensor({8 * 2, 4 * 2}));
    a.header.samples = 3;
    b.header.samples = 1;
    b.header.loss_scale = 2;
    model.Apply(a);
    model.Apply(b);
    EXPECT_THAT(model.Phi(), ElementsAre(10 - 5, 20 - 7)) << "(3 x 4 + 1 x 8) / 4, (3 x 8 + 1 x 4) / 4";
    EXPECT_EQ(model.version().samples, 4u);
  }
}

TEST(Model, AbsentTensorsAreTheMeanOfThoseWhoSentThem) {
  ModelSpec spec = DeltaSpec(1);
  spec.tensors = {Trained("u", {1}), Trained("v", {1}), Trained("w", {1})};
  for (const Reduction reduction : {Reduction::kRunning, Reduction::kOrdered}) {
    spec.rounds.reduction = reduction;
    TestModel model(spec, {{{10}}, {{20}}, {{30}}});
    model.Join("a");
    model.Join("b");
    model.Apply("a", {{{2}}, {{2}}, {.present = false}});
    model.Apply("b", {{{4}}, {.present = false}, {.present = false}});
    EXPECT_EQ(model.Phi(0), Floats{7});
    EXPECT_EQ(model.Phi(1), Floats{18});
    EXPECT_EQ(model.Phi(2), Floats{30});
    const auto& counters = *model.version().counters;
    EXPECT_EQ(counters[0].outer_steps, 1);
    EXPECT_EQ(counters[1].outer_steps, 1);
    EXPECT_EQ(counters[2].outer_steps, 0) << "skipped: no step, no decay";
  }
}

// --- refusals ---

TEST(Model, AStalePushIsRefusedForGoodAndChangesNothing) {
  ModelSpec spec = DeltaSpec(2);
  spec.rounds.max_staleness = 1;
  TestModel model(spec, OneTensor({0, 0}));
  model.Join("a");
  Push stale = model.Next("a", OneTensor({1, 1}));
  stale.header.sequence = 3;
  model.sequences["a"] = 0;
  model.Apply("a", OneTensor({1, 1}));
  model.Apply("a", OneTensor({1, 1}));
  const std::string before = StateBits(model.version());
  const PushAnswer refused = model.Answer(stale);
  EXPECT_EQ(refused.refusal.code(), absl::StatusCode::kAborted);
  EXPECT_EQ(ReasonOf(refused.refusal), "STALE_BASE");
  EXPECT_THAT(std::string(refused.refusal.message()),
              AllOf(HasSubstr("base version 1.0"), HasSubstr("current 1.2"), HasSubstr("max_staleness 1")));
  EXPECT_TRUE(refused.decided);
  EXPECT_EQ(refused.staleness, 2u);
  EXPECT_EQ(StateBits(model.version()), before);
  EXPECT_EQ(ReasonOf(model.Answer(stale).refusal), "STALE_BASE") << "remembered";
  model.sequences["a"] = 3;
  EXPECT_EQ(model.Answer("a", OneTensor({1, 1})).outcome, PushOutcome::kApplied) << "the number was consumed";
}

TEST(Model, MalformedPushesAreRefusedWithoutConsumingTheirNumber) {
  TestModel model(DeltaSpec(2), OneTensor({0, 0}));
  model.Join("a");
  const std::string before = StateBits(model.version());
  const auto refusal = [&](const std::function<void(Push*)>& change) {
    model.sequences["a"] = 0;
    Push push = model.Next("a", OneTensor({1, 1}));
    change(&push);
    const PushAnswer answer = model.Answer(std::move(push));
    EXPECT_FALSE(answer.decided);
    EXPECT_EQ(answer.refusal.code(), absl::StatusCode::kInvalidArgument);
    return ReasonOf(answer.refusal);
  };
  EXPECT_EQ(refusal([](Push* p) { p->header.kind = PushKind::kGradient; }), "KIND_NOT_ACCEPTED");
  EXPECT_EQ(refusal([](Push* p) { p->header.kind = PushKind::kWeights; }), "KIND_NOT_ACCEPTED");
  EXPECT_EQ(refusal([](Push* p) { p->header.kind = static_cast<PushKind>(9); }), "KIND_NOT_ACCEPTED");
  EXPECT_EQ(refusal([](Push* p) { p->header.codec = -1; }), "CODEC_UNKNOWN");
  EXPECT_EQ(refusal([](Push* p) { p->header.codec = 1 << 20; }), "CODEC_UNKNOWN");
  EXPECT_EQ(refusal([](Push* p) { p->header.samples = (uint64_t{1} << 40) + 1; }), "SAMPLES_INVALID");
  EXPECT_EQ(refusal([](Push* p) { p->header.local_steps = ~uint64_t{0}; }), "LOCAL_STEPS_INVALID");
  for (const double scale : {0.0, 0.5, -2.0, std::nan(""), HUGE_VAL, -HUGE_VAL}) {
    EXPECT_EQ(refusal([=](Push* p) { p->header.loss_scale = scale; }), "LOSS_SCALE_INVALID") << scale;
  }
  EXPECT_EQ(refusal([](Push* p) { p->header.present = {1, 0}; }), "LAYOUT_MISMATCH");
  EXPECT_EQ(refusal([](Push* p) { p->header.present = {0}; }), "SIZE_MISMATCH");
  EXPECT_EQ(refusal([](Push* p) { p->payload = Payload(); }), "SIZE_MISMATCH");
  EXPECT_EQ(refusal([](Push* p) { p->header.sequence = 0; }), "SEQUENCE_INVALID");
  const std::string words = std::string([&] {
    model.sequences["a"] = 0;
    Push push = model.Next("a", OneTensor({1, 1}));
    push.payload = Encode(DeltaSpec(3), OneTensor({1, 1, 1}));
    return model.Answer(std::move(push)).refusal;
  }()
                                            .message());
  EXPECT_EQ(words, "model 'm': delta has 12 bytes, expected 8 in codec f32");
  EXPECT_EQ(StateBits(model.version()), before);
  model.sequences["a"] = 0;
  EXPECT_EQ(model.Answer("a", OneTensor({1, 1})).outcome, PushOutcome::kApplied) << "number 1 is still free";
}

TEST(Model, GradientModeTakesGradientsOnly) {
  TestModel model(GradientSpec(2, Rule("sgd"), Rule("lookahead"), 5), OneTensor({0, 0}));
  model.Join("a");
  Push push = model.Next("a", OneTensor({1, 1}));
  push.header.kind = PushKind::kDelta;
  const PushAnswer answer = model.Answer(push);
  EXPECT_EQ(ReasonOf(answer.refusal), "KIND_NOT_ACCEPTED");
  EXPECT_THAT(std::string(answer.refusal.message()), HasSubstr("push of kind delta, expected gradient"));
}

TEST(Model, APushThatIsNotFiniteIsRefusedForGood) {
  TestModel model = TwoWorkers();
  Push push = model.Next("a", OneTensor({kNan, 1}));
  push.finite = false;
  const std::string before = StateBits(model.version());
  const PushAnswer answer = model.Answer(push);
  EXPECT_EQ(answer.refusal.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ReasonOf(answer.refusal), "NONFINITE");
  EXPECT_TRUE(answer.decided);
  EXPECT_EQ(StateBits(model.version()), before);
  EXPECT_EQ(model.Apply("b", OneTensor({1, 1})).committed, nullptr) << "a has not contributed";
  EXPECT_NE(model.Apply("a", OneTensor({1, 1})).committed, nullptr);
}

TEST(Model, AnOverflowUnderLossScalingSatisfiesMembershipWithWeightZero) {
  for (const Reduction reduction : {Reduction::kRunning, Reduction::kOrdered}) {
    ModelSpec spec = DeltaSpec(2);
    spec.rounds.reduction = reduction;
    TestModel model = TwoWorkers(spec);
    Push overflow = model.Next("a", OneTensor({kInf, 1}));
    overflow.finite = false;
    overflow.header.loss_scale = 65536;
    const PushAnswer skipped = model.Answer(overflow);
    EXPECT_TRUE(skipped.refusal.ok());
    EXPECT_EQ(skipped.outcome, PushOutcome::kSkipped);
    EXPECT_EQ(skipped.loss_scale, 32768) << "backs off";
    const Effects effects = model.Apply("b", OneTensor({1, 1}));
    ASSERT_NE(effects.committed, nullptr);
    EXPECT_EQ(effects.committed->samples, 1u);
    EXPECT_THAT(model.Phi(), ElementsAre(9, 19));
    EXPECT_EQ(model.Answer(overflow).first_outcome, PushOutcome::kSkipped);
  }
}

TEST(Model, SuggestsATwiceLargerLossScaleAfterTwoThousandCleanCommits) {
  TestModel model(DeltaSpec(1), OneTensor({0}));
  model.Join("a");
  const auto push = [&](double loss_scale, bool finite) {
    Push p = model.Next("a", OneTensor({0}));
    p.header.loss_scale = loss_scale;
    p.finite = finite;
    return model.Answer(std::move(p)).loss_scale;
  };
  EXPECT_EQ(push(1, true), 0) << "unchanged: no loss scaling";
  EXPECT_EQ(push(65536, true), 65536);
  EXPECT_EQ(push(65536, false), 32768);
  for (int i = 0; i < 2000; ++i) ASSERT_EQ(push(32768, true), 32768) << i;
  EXPECT_EQ(push(32768, true), 65536);
}

TEST(Model, ARoundOfOverflowsCommitsNothing) {
  TestModel model = TwoWorkers();
  const std::string before = StateBits(model.version());
  Effects effects;
  for (const char* client : {"a", "b"}) {
    Push overflow = model.Next(client, OneTensor({kInf, 1}));
    overflow.finite = false;
    overflow.header.loss_scale = 65536;
    effects = model.Apply(std::move(overflow));
  }
  EXPECT_EQ(effects.committed, nullptr);
  EXPECT_EQ(ReasonOf(effects.round_dropped), "ROUND_SKIPPED");
  EXPECT_EQ(StateBits(model.version()), before);
  EXPECT_EQ(effects.answers[0].answer.loss_scale, 32768) << "once for the step";
  model.Apply("a", OneTensor({1, 1}));
  EXPECT_NE(model.Apply("b", OneTensor({1, 1})).committed, nullptr);
}

TEST(Model, AResultThatIsNotFiniteChangesNothingButTheDecisions) {
  for (const bool alone : {true, false}) {
    ModelSpec spec = GradientSpec(2, Rule("adam", {{"lr", 1}}), Rule("lookahead"), 2);
    TestModel model(spec, OneTensor({1, 2}));
    model.Join("a");
    if (!alone) model.Join("b");
    const float huge = 3e38f;  // its square is not finite
    const std::string before = StateBits(model.version());
    if (!alone) model.Apply("b", OneTensor({1, 1}));
    const Push bad = model.Next("a", OneTensor({1, huge}));
    const Effects effects = model.Apply(bad);
    EXPECT_EQ(effects.committed, nullptr);
    EXPECT_EQ(effects.round_dropped.code(), absl::StatusCode::kAborted);
    EXPECT_EQ(ReasonOf(effects.round_dropped), "NONFINITE_RESULT");
    EXPECT_THAT(std::string(effects.round_dropped.message()), HasSubstr("tensor 'w'"));
    EXPECT_TRUE(HasEvent(effects, "round_dropped"));
    ASSERT_EQ(effects.answers.size(), 1u);
    EXPECT_EQ(ReasonOf(effects.answers[0].answer.refusal), "NONFINITE_RESULT");
    EXPECT_TRUE(effects.answers[0].answer.decided);
    EXPECT_EQ(StateBits(model.version()), before) << "weights, slots, counters and running products";
    EXPECT_EQ(ReasonOf(model.Answer(bad).refusal), "NONFINITE_RESULT") << "consumed and remembered";

    // Goes on as if the round had never been.
    TestModel clean(spec, OneTensor({1, 2}));
    clean.Join("a");
    if (!alone) clean.Join("b");
    for (TestModel* m : {&model, &clean}) {
      m->Apply("a", OneTensor({0.5f, 0.25f}));
      if (!alone) m->Apply("b", OneTensor({0.5f, 0.25f}));
    }
    EXPECT_EQ(StateBits(model.version()), StateBits(clean.version()));
  }
}

// --- settings, finish ---

TEST(Model, SettingsChangeTheNextCommitAndAreVersioned) {
  TestModel model(DeltaSpec(2), OneTensor({10, 20}));
  model.Join("a");
  EXPECT_EQ(model.Answer("a", OneTensor({1, 1})).settings_version, 1u);
  const auto spec = model->Update({{"outer.alpha", 0.5}}, 1);
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_EQ((*spec)->outer.values.at("alpha"), 0.5);
  EXPECT_EQ(model.version().settings_version, 2u);
  EXPECT_EQ(model.version().version, (Version{1, 1})) << "no new version";
  const PushAnswer answer = model.Answer("a", OneTensor({1, 1}));
  EXPECT_EQ(answer.settings_version, 2u);
  EXPECT_THAT(model.Phi(), ElementsAre(8.5, 18.5));
  const auto conflict = model->Update({{"outer.alpha", 0.25}}, 1);
  EXPECT_EQ(conflict.status().code(), absl::StatusCode::kAborted);
  EXPECT_EQ(ReasonOf(conflict.status()), "SETTINGS_CONFLICT");
  EXPECT_FALSE(model->Update({{"outer.alpha", 0.25}, {"outer.alpha2", 1}}, 0).ok());
  EXPECT_EQ(model.spec().outer.values.at("alpha"), 0.5) << "all or nothing";
}

TEST(Model, ASmallerQuorumClosesTheOpenRoundAtTheNextTick) {
  ModelSpec spec = DeltaSpec(2);
  spec.rounds.quorum = 2;
  TestModel model(spec, OneTensor({10, 20}));
  model.Join("a");
  model.Apply("a", OneTensor({1, 1}));
  ASSERT_TRUE(model->Update({{"rounds.quorum", 1}}, 0).ok());
  ASSERT_TRUE(model->NextTick().has_value());
  EXPECT_LE(*model->NextTick(), model.now);
  EXPECT_NE(model->Tick(model.now).committed, nullptr);
}

TEST(Model, MomentumCanBeSwitchedOnWhileItRuns) {
  ModelSpec plain = GradientSpec(2, Rule("sgd", {{"lr", 1}}), Rule("none"), 5);
  ModelSpec moving = plain;
  moving.inner.values["momentum"] = 0.5;
  TestModel model(plain, OneTensor({0, 0}));
  model.Join("a");
  EXPECT_EQ(model.version().inner_slots[0], nullptr);
  model.Apply("a", OneTensor({1, 2}));
  ASSERT_TRUE(model->Update({{"inner.momentum", 0.5}}, 0).ok());
  ASSERT_NE(model.version().inner_slots[0], nullptr);
  EXPECT_EQ(Read(model.version(), model.version().inner_slots[0], 0), (Floats{0, 0}));
  model.Apply("a", OneTensor({1, 2}));
  model.Apply("a", OneTensor({1, 2}));
  EXPECT_THAT(model.Theta(), ElementsAre(-3.5, -7)) << "1 + 1 + (1 + 0.5)";
}

TEST(Model, AGroupWithoutMomentumLeavesTheSlotOfTheOthersAlone) {
  ModelSpec spec = GradientSpec(1, Rule("sgd", {{"lr", 1}, {"momentum", 0.5}}), Rule("none"), 5);
  spec.tensors.push_back(Trained("plain", {1}));
  spec.groups = {{.name = "plain", .tensors = {"plain"}, .inner = Rule("sgd", {{"lr", 1}})}};
  TestModel model(spec, {{{0}}, {{0}}});
  model.Join("a");
  model.Apply("a", {{{1}}, {{1}}});
  EXPECT_EQ(Read(model.version(), model.version().inner_slots[0], 0), Floats{1});
  EXPECT_EQ(Read(model.version(), model.version().inner_slots[0], 1), Floats{0});
  ASSERT_TRUE(model->Update({{"groups.plain.momentum", 0.5}}, 0).ok());
  model.Apply("a", {{{1}}, {{1}}});
  EXPECT_EQ(model.Theta(0), Floats{-2.5f});
  EXPECT_EQ(model.Theta(1), Floats{-2}) << "its momentum starts now";
}

TEST(Model, AResetReachesSlotsThatAreOutOfUse) {
  ModelSpec spec =
      GradientSpec(1, Rule("sgd", {{"lr", 1}, {"momentum", 0.5}}), Rule("lookahead", {{"alpha", 1}}), 3);
  spec.inner_state = InnerState::kReset;
  TestModel model(spec, OneTensor({0}));
  model.Join("a");
  model.Apply("a", OneTensor({1}));
  ASSERT_TRUE(model->Update({{"inner.momentum", 0}}, 0).ok());
  model.Apply("a", OneTensor({1}));
  EXPECT_EQ(Read(model.version(), model.version().inner_slots[0], 0), Floats{1}) << "kept while out of use";
  EXPECT_TRUE(model.Apply("a", OneTensor({1})).synced);
  EXPECT_EQ(Read(model.version(), model.version().inner_slots[0], 0), Floats{0});
}

TEST(Model, ThePeriodMayShrinkBelowThePhase) {
  TestModel model(GradientSpec(1, Rule("sgd", {{"lr", 1}}), Rule("lookahead", {{"alpha", 1}}), 10),
                  OneTensor({0}));
  model.Join("a");
  for (int i = 0; i < 4; ++i) EXPECT_FALSE(model.Apply("a", OneTensor({1})).synced);
  ASSERT_TRUE(model->Update({{"sync_period", 2}}, 0).ok());
  EXPECT_TRUE(model.Apply("a", OneTensor({1})).synced) << "fires once the phase has reached it";
  EXPECT_EQ(model.version().sync_phase, 0u);
  EXPECT_FALSE(model.Apply("a", OneTensor({1})).synced);
  EXPECT_TRUE(model.Apply("a", OneTensor({1})).synced);
}

TEST(Model, SchedulesFollowTheModelsCounters) {
  ModelSpec spec = GradientSpec(1, Rule("sgd", {{"lr", 1}}), Rule("lookahead", {{"alpha", 1}}), 2);
  spec.inner.schedules["lr"] = {"exponential", {{"gamma", 0.5}}};
  spec.outer.schedules["alpha"] = {"step", {{"step_size", 1}, {"gamma", 0.5}}};
  TestModel model(spec, OneTensor({0}));
  model.Join("a");
  std::vector<float> theta;
  for (int i = 0; i < 4; ++i) {
    model.Apply("a", OneTensor({-1}));
    theta.push_back(model.Theta()[0]);
  }
  // Inner rates 1, 1/2, 1/4, 1/8; the first sync takes all, the second half of the way back from 1.875.
  EXPECT_THAT(theta, ElementsAre(1, 1.5, 1.75, 1.5 + 0.375 / 2));
}

TEST(Model, FinishesAfterTheStepsOrSamplesAsked) {
  ModelSpec spec = DeltaSpec(1);
  spec.finish_after_steps = 2;
  TestModel steps(spec, OneTensor({0}));
  steps.Join("a");
  EXPECT_FALSE(steps.Answer("a", OneTensor({1})).finished);
  EXPECT_TRUE(steps.Answer("a", OneTensor({1})).finished);
  EXPECT_TRUE(steps.version().finished);

  spec.finish_after_steps = 0;
  spec.finish_after_samples = 10;
  TestModel samples(spec, OneTensor({0}));
  samples.Join("a");
  Push push = samples.Next("a", OneTensor({1}));
  push.header.samples = 9;
  EXPECT_FALSE(samples.Answer(push).finished);
  EXPECT_TRUE(samples.Answer("a", OneTensor({1})).finished);
}

// --- sessions ---

TEST(Model, AnOlderEpochIsFenced) {
  TestModel model = TwoWorkers();
  const Push old = model.Next("a", OneTensor({1, 1}));
  model.Join("a");
  const PushAnswer answer = model.Answer(old);
  EXPECT_EQ(answer.refusal.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(ReasonOf(answer.refusal), "FENCED");
  EXPECT_FALSE(answer.decided);
  EXPECT_EQ(ReasonOf(model->Heartbeat("a", 1, {}, model.now)), "FENCED");
  EXPECT_EQ(ReasonOf(model->Close("a", 1, model.now).status()), "FENCED");
  EXPECT_TRUE(model->Heartbeat("a", 2, {}, model.now).ok());
}

TEST(Model, PushesThatWaitedInAFencedSessionAreAnsweredByTheNextCall) {
  TestModel model = TwoWorkers();
  Push skipped = model.Next("a", OneTensor({1, 1}));
  EXPECT_THAT(model.Apply("a", OneTensor({2, 2})).answers, testing::IsEmpty()) << "number 1 has not come";
  model.Join("a");
  ASSERT_TRUE(model->NextTick().has_value());
  EXPECT_LE(*model->NextTick(), model.now);
  const Effects effects = model->Tick(model.now);
  ASSERT_EQ(effects.answers.size(), 1u);
  EXPECT_EQ(effects.answers[0].sequence, 2u);
  EXPECT_EQ(effects.answers[0].epoch, 1u);
  EXPECT_EQ(ReasonOf(effects.answers[0].answer.refusal), "FENCED");
  EXPECT_FALSE(effects.answers[0].answer.decided);
}

TEST(Model, EveryEndOfASessionIsToldByItsName) {
  TestModel model = TwoWorkers();
  EXPECT_EQ(ReasonOf(model->Heartbeat("nobody", 1, {}, model.now)), "NO_SESSION");
  EXPECT_EQ(ReasonOf(model->Heartbeat("a", 2, {}, model.now)), "NO_SESSION") << "an epoch never given";
  EXPECT_EQ(ReasonOf(model->Evict("nobody", model.now).status()), "NO_SESSION");
  ASSERT_TRUE(model->Close("a", 1, model.now).ok());
  EXPECT_EQ(ReasonOf(model->Heartbeat("a", 1, {}, model.now)), "NO_SESSION");
  EXPECT_EQ(ReasonOf(model->Close("a", 1, model.now).status()), "NO_SESSION");
  model.now += seconds(60);
  EXPECT_EQ(ReasonOf(model->Heartbeat("b", 1, {}, model.now)), "SESSION_EXPIRED") << "before the tick too";
  model->Tick(model.now);
  EXPECT_EQ(ReasonOf(model->Heartbeat("b", 1, {}, model.now)), "SESSION_EXPIRED");
  EXPECT_EQ(ReasonOf(model.Answer("b", OneTensor({1, 1})).refusal), "SESSION_EXPIRED");
  model.Join("b");
  ASSERT_TRUE(model->Evict("b", model.now).ok());
  EXPECT_EQ(ReasonOf(model.Answer("b", OneTensor({1, 1})).refusal), "FENCED");
}

TEST(Model, FurtherRanksAttachToTheEpochOfTheirWorker) {
  TestModel model(DeltaSpec(2), OneTensor({0, 0}));
  EXPECT_EQ(ReasonOf(model->Open({.client_id = "a", .attach = true}, model.now).status()), "NO_SESSION");
  model.Join("a");
  model.now += seconds(50);
  const auto attached = model->Open({.client_id = "a", .attach = true}, model.now);
  ASSERT_TRUE(attached.ok());
  EXPECT_EQ(attached->epoch, 1u);
  model.now += seconds(50);
  EXPECT_TRUE(model->Heartbeat("a", 1, {}, model.now).ok()) << "attaching renewed the lease";
}

TEST(Model, DataCallsRenewTheLease) {
  TestModel model(DeltaSpec(2), OneTensor({0, 0}));
  model.Join("a");
  for (int i = 0; i < 5; ++i) {
    model.now += seconds(59);
    EXPECT_THAT(model->Tick(model.now).ended_sessions, testing::IsEmpty());
    EXPECT_EQ(model.Answer("a", OneTensor({1, 1})).outcome, PushOutcome::kApplied);
  }
  EXPECT_THAT(model->Tick(model.now + seconds(60)).ended_sessions, ElementsAre("a"));
}

TEST(Model, SessionsAreListedWithTheirState) {
  TestModel model = TwoWorkers();
  ASSERT_TRUE(model->Heartbeat("b", 1, {.train_loss = 0.25}, model.now).ok());
  model.Apply("a", OneTensor({1, 1}));
  model.now += seconds(10);
  const std::vector<SessionInfo> infos = model->Sessions(model.now);
  ASSERT_EQ(infos.size(), 2u);
  EXPECT_EQ(infos[0].client_id, "a");
  EXPECT_TRUE(infos[0].contributed);
  EXPECT_EQ(infos[0].last_sequence, 1u);
  EXPECT_EQ(infos[0].pushes, 1u);
  EXPECT_DOUBLE_EQ(infos[0].lease_remaining_seconds, 50);
  EXPECT_FALSE(infos[1].contributed);
  EXPECT_EQ(infos[1].health.train_loss, 0.25);
}

// --- recovery, restore, import ---

TEST(Model, ARecoveredModelContinuesItsCounterUnderANewTerm) {
  TestModel model = TwoWorkers();
  model.Apply("a", OneTensor({1, 1}));
  model.Apply("b", OneTensor({1, 1}));
  TestModel recovered(model->current(), 2);
  EXPECT_EQ(recovered.version().version, (Version{2, 1}));
  EXPECT_EQ(recovered->live_trainers(), 0u);
  recovered.Join("a");
  EXPECT_EQ(recovered.sequences["a"], 1u) << "numbers go on";
  EXPECT_GT(recovered.epochs["a"], 100u) << "epochs of a lost history can never come again";
  EXPECT_EQ(ReasonOf(recovered
                         .Answer([&] {
                           Push push = recovered.Next("a", OneTensor({1, 1}));
                           push.header.epoch = 1;
                           return push;
                         }())
                         .refusal),
            "FENCED");
  const auto same_term = Model::FromImage(model->current(), 1, {});
  EXPECT_EQ(same_term.status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(Model, ReplaysAfterARecoveryWaitForTheVersionsTheyWereBasedOn) {
  ModelSpec spec = DeltaSpec(1);
  spec.rounds.policy = RoundPolicy::kAsync;
  spec.rounds.max_staleness = 0;
  TestModel model(spec, OneTensor({0}));
  for (const char* client : {"a", "b"}) model.Join(client);
  const auto snapshot = model->current();
  std::vector<Push> history;
  for (const char* client : {"a", "b", "a", "b"}) {
    history.push_back(model.Next(client, OneTensor({-1})));
    model.Apply(history.back());
  }
  TestModel recovered(snapshot, 2);
  for (const char* client : {"b", "a"}) recovered.Join(client);
  for (Push& push : history) push.header.epoch = recovered.epochs[push.header.client_id];
  // b reconnects first: what it pushed was based on a's lost pushes.
  EXPECT_THAT(recovered.Apply(history[1]).answers, testing::IsEmpty());
  EXPECT_THAT(recovered.Apply(history[3]).answers, testing::IsEmpty());
  EXPECT_EQ(recovered.Apply(history[0]).answers.size(), 2u);
  EXPECT_EQ(recovered.Apply(history[2]).answers.size(), 2u);
  EXPECT_EQ(recovered.version().version, (Version{2, 4}));
  EXPECT_EQ(Bits(recovered.version().phi), Bits(model.version().phi));
}

TEST(Model, ABaseThatNoReplayBringsBackMustBePulledAgain) {
  TestModel model = TwoWorkers();
  TestModel recovered(model->current(), 2);
  recovered.Join("a");
  Push lost = recovered.Next("a", OneTensor({1, 1}));
  lost.header.base = {1, 7};
  EXPECT_THAT(recovered.Apply(lost).answers, testing::IsEmpty());
  EXPECT_EQ(recovered->NextTick(), recovered.now + seconds(60));
  ASSERT_TRUE(recovered->Heartbeat("a", recovered.epochs["a"], {}, recovered.now + seconds(59)).ok());
  const Effects effects = recovered->Tick(recovered.now + seconds(60));
  ASSERT_EQ(effects.answers.size(), 1u);
  EXPECT_EQ(ReasonOf(effects.answers[0].answer.refusal), "RESYNC");
  EXPECT_FALSE(effects.answers[0].answer.decided);
  recovered.sequences["a"] = 0;
  EXPECT_EQ(recovered
                .Answer([&] {
                  Push push = recovered.Next("a", OneTensor({1, 1}));
                  push.header.base = {2, 7};
                  return push;
                }())
                .refusal.code(),
            absl::StatusCode::kAborted)
      << "a base of this very term is refused at once";
}

// Else a worker that gives up its calls sooner than a lease ends would bring its push again and again, for
// ever; and one with many such pushes would wait a lease for each.
TEST(Model, AWaitForLostVersionsGoesOnOverSessionsAndPushesUntilOneIsBack) {
  TestModel model = TwoWorkers();
  TestModel recovered(model->current(), 2);
  const TimePoint began = recovered.now;
  const auto lost = [&](uint64_t sequence) {
    recovered.sequences["a"] = sequence - 1;
    Push push = recovered.Next("a", OneTensor({1, 1}));
    push.header.base = {1, 7};
    return push;
  };
  recovered.Join("a");
  EXPECT_THAT(recovered.Apply(lost(1)).answers, testing::IsEmpty());
  recovered.now += seconds(40);
  recovered.Join("a");
  const Effects again = recovered.Apply(lost(1));
  ASSERT_EQ(again.answers.size(), 1u);
  EXPECT_EQ(ReasonOf(again.answers[0].answer.refusal), "FENCED") << "the first delivery";
  EXPECT_THAT(recovered->Tick(began + seconds(59)).answers, testing::IsEmpty());
  recovered.now = began + seconds(60);
  const Effects effects = recovered->Tick(recovered.now);
  ASSERT_EQ(effects.answers.size(), 1u);
  EXPECT_EQ(ReasonOf(effects.answers[0].answer.refusal), "RESYNC");
  EXPECT_EQ(ReasonOf(recovered.Answer(lost(1)).refusal), "RESYNC") << "at once: the lease is over";

  Push replay = recovered.Next("a", OneTensor({1, 1}));
  replay.header.sequence = 1;
  replay.header.base = {1, 0};
  EXPECT_EQ(recovered.Answer(replay).outcome, PushOutcome::kApplied);
  EXPECT_THAT(recovered.Apply(lost(2)).answers, testing::IsEmpty()) << "more may come back";
  ASSERT_TRUE(recovered->Heartbeat("a", recovered.epochs["a"], {}, recovered.now + seconds(59)).ok());
  EXPECT_THAT(recovered->Tick(recovered.now + seconds(59)).answers, testing::IsEmpty());
  EXPECT_EQ(recovered->Tick(recovered.now + seconds(60)).answers.size(), 1u);
}

// A worker whose replay waits for others must not be waited for by them.
TEST(Model, AReplayThatWaitsIsExcusedFromTheRound) {
  TestModel model = TwoWorkers();
  TestModel recovered(model->current(), 2);
  for (const char* client : {"a", "b"}) recovered.Join(client);
  Push ahead = recovered.Next("b", OneTensor({4, 4}));
  ahead.header.base = {1, 1};
  recovered.Apply(ahead);
  Push replay = recovered.Next("a", OneTensor({1, 1}));
  replay.header.base = {1, 0};
  const Effects effects = recovered.Apply(replay);
  EXPECT_EQ(effects.committed->version, (Version{2, 1}));
  ASSERT_EQ(effects.answers.size(), 2u);
  EXPECT_EQ(effects.answers[1].client_id, "b");
  EXPECT_EQ(effects.answers[1].answer.outcome, PushOutcome::kBuffered);
  EXPECT_EQ(recovered->WaitingForWorkers(), std::vector<std::string>{"a"});
}

TEST(Model, RestoreGoesBackUnderANewTermAndFencesEverySession) {
  TestModel model = TwoWorkers();
  const auto snapshot = model->current();
  const Push pushed = model.Next("a", OneTensor({1, 1}));
  model.Apply(pushed);
  model.Apply("b", OneTensor({1, 1}));
  model.Apply("a", OneTensor({5, 5}));                                           // in the open round
  EXPECT_THAT(model.Apply("a", OneTensor({6, 6})).answers, testing::IsEmpty());  // waits
  const auto effects = model->Restore(snapshot, 5);
  ASSERT_TRUE(effects.ok()) << effects.status();
  EXPECT_EQ(effects->committed->version, (Version{5, 2}));
  EXPECT_EQ(model.Phi(), (Floats{10, 20}));
  ASSERT_EQ(effects->answers.size(), 1u);
  EXPECT_EQ(ReasonOf(effects->answers[0].answer.refusal), "ROLLED_BACK");
  EXPECT_EQ(model->live_trainers(), 0u);
  EXPECT_EQ(ReasonOf(model->Heartbeat("b", 1, {}, model.now)), "ROLLED_BACK");
  EXPECT_EQ(model->WaitingFor(), "") << "the open round is gone";

  model.Join("a");
  EXPECT_EQ(model.sequences["a"], 2u) << "the table of decided pushes stays";
  Push again = pushed;
  again.header.epoch = model.epochs["a"];
  EXPECT_EQ(model.Answer(again).outcome, PushOutcome::kDuplicate);
  Push old_base = model.Next("a", OneTensor({1, 1}));
  old_base.header.base = {1, 1};
  EXPECT_EQ(ReasonOf(model.Answer(old_base).refusal), "STALE_BASE") << "of other weights";
  EXPECT_EQ(model.Answer("a", OneTensor({1, 1})).version, (Version{5, 3}));
  EXPECT_FALSE(model->Restore(snapshot, 5).ok()) << "the term must rise";
}

TEST(Model, RestoreRefusesASnapshotOfAnotherLayout) {
  TestModel model(DeltaSpec(2), OneTensor({0, 0})), other(DeltaSpec(3), OneTensor({0, 0, 0}));
  const auto effects = model->Restore(other->current(), 2);
  EXPECT_EQ(ReasonOf(effects.status()), "LAYOUT_MISMATCH");
  EXPECT_EQ(model.version().version, (Version{1, 0}));
}

TEST(Model, RestoreBringsBackTheSettingsUnderANewNumber) {
  TestModel model = TwoWorkers();
  const auto snapshot = model->current();
  ASSERT_TRUE(model->Update({{"outer.alpha", 0.5}}, 0).ok());
  ASSERT_TRUE(model->Restore(snapshot, 2).ok());
  EXPECT_EQ(model.version().settings_version, 3u);
  EXPECT_FALSE(model.spec().outer.values.contains("alpha"));
}

TEST(Model, ImportReplacesTheWeightsAndStartsTheStateAnew) {
  TestModel model(GradientSpec(2, Rule("adam"), Rule("nesterov"), 3), OneTensor({1, 2}));
  model.Join("a");
  for (int i = 0; i < 4; ++i) model.Apply("a", OneTensor({1, 1}));
  const Push before = model.Next("a", OneTensor({1, 1}));
  const auto backend = kernels::MakeCpuBackend();
  const auto effects = model->Import(Arena(backend.get(), model.spec(), OneTensor({7, 8})));
  ASSERT_TRUE(effects.ok()) << effects.status();
  EXPECT_EQ(effects->committed->version, (Version{1, 5}));
  EXPECT_EQ(model.Phi(), (Floats{7, 8}));
  EXPECT_EQ(model.Theta(), (Floats{7, 8}));
  EXPECT_EQ(model.version().inner_steps, 0u);
  EXPECT_EQ(model.version().sync_phase, 0u);
  EXPECT_EQ((*model.version().counters)[0].inner_carry[0], 1.0);
  EXPECT_EQ(ReasonOf(model.Answer(before).refusal), "STALE_BASE") << "its base was other weights";
  EXPECT_EQ(model.Answer("a", OneTensor({1, 1})).outcome, PushOutcome::kApplied) << "sessions go on";
  EXPECT_FALSE(model->Import(backend->Allocate(64 * 4)).ok()) << "wrong size";
  EXPECT_EQ(ReasonOf(model->Import(Arena(backend.get(), model.spec(), OneTensor({kNan, 8}))).status()),
            "NONFINITE");
}

TEST(Model, ImagesWhosePartsDoNotFitAreRefused) {
  TestModel model(GradientSpec(2, Rule("adam"), Rule("nesterov"), 3), OneTensor({1, 2}));
  const auto backend = kernels::MakeCpuBackend();
  kernels::InlineExecutor executor;
  const auto refused = [&](const std::function<void(ModelVersion*)>& damage) {
    auto image = std::make_shared<ModelVersion>(model.version());
    damage(image.get());
    const auto made = Model::FromImage(image, 2, {backend.get(), &executor});
    return ReasonOf(made.status());
  };
  EXPECT_EQ(refused([](ModelVersion* v) { v->phi = nullptr; }), "LAYOUT_MISMATCH");
  EXPECT_EQ(refused([&](ModelVersion* v) { v->theta = backend->Allocate(4); }), "LAYOUT_MISMATCH");
  EXPECT_EQ(refused([&](ModelVersion* v) { v->inner_slots[1] = backend->Allocate(128); }), "LAYOUT_MISMATCH");
  EXPECT_EQ(refused([&](ModelVersion* v) { v->outer_slots.resize(9); }), "LAYOUT_MISMATCH");
  EXPECT_EQ(refused([](ModelVersion* v) { v->counters = nullptr; }), "LAYOUT_MISMATCH");
  EXPECT_EQ(refused([](ModelVersion* v) { v->counters = std::make_shared<std::vector<TensorCounters>>(2); }),
            "LAYOUT_MISMATCH");
  EXPECT_EQ(refused([](ModelVersion* v) {
              v->layout = *Layout::Make({Trained("w", {2}), Trained("v", {2})});
            }),
            "LAYOUT_MISMATCH");
  EXPECT_EQ(refused([](ModelVersion* v) { v->clients = nullptr; }), "LAYOUT_MISMATCH");
  EXPECT_EQ(refused([](ModelVersion*) {}), "");
}

// --- weights that are not numbers ---

TEST(Model, InitialWeightsMustBeFiniteWhereTrainingHappens) {
  ModelSpec spec = DeltaSpec(2);
  spec.tensors.push_back({"bn", {2}, DataType::kF32, Role::kAveraged});
  spec.tensors.push_back({"mask", {2}, DataType::kF32, Role::kFrozen});
  spec.tensors.push_back({"raw", {2}, DataType::kF32, Role::kCarried});
  const auto backend = kernels::MakeCpuBackend();
  kernels::InlineExecutor executor;
  const auto create = [&](float w, float bn, float mask) {
    const PushData weights = {{{1, w}}, {{bn, 1}}, {{mask, 0}}, {.bytes = std::string(8, '\xff')}};
    return Model::Create(std::make_shared<ModelSpec>(spec), *Layout::Make(spec.tensors),
                         Arena(backend.get(), spec, weights), {backend.get(), &executor})
        .status();
  };
  EXPECT_THAT(std::string(create(kNan, 1, 1).message()), HasSubstr("tensor 'w' has a NaN"));
  EXPECT_THAT(std::string(create(1, -kInf, 1).message()), HasSubstr("tensor 'bn'"));
  EXPECT_TRUE(create(1, 1, -kInf).ok()) << "attention masks are frozen infinities";
}

TEST(Model, FrozenInfinitiesAndCarriedBytesDoNotStopAStep) {
  ModelSpec spec = DeltaSpec(2);
  spec.tensors.push_back({"mask", {2}, DataType::kF32, Role::kFrozen});
  spec.tensors.push_back({"raw", {2}, DataType::kF32, Role::kCarried});
  for (const Mode mode : {Mode::kDelta, Mode::kGradient}) {
    spec.mode = mode;
    spec.inner = mode == Mode::kGradient ? Rule("sgd", {{"lr", 1}}) : RuleSpec();
    spec.sync_period = 2;
    const std::string bytes(8, '\xff');  // two NaNs, if they were numbers
    TestModel model(spec, {{{10, 20}}, {{-kInf, 0}}, {.bytes = std::string(8, '\0')}});
    model.Join("a");
    for (int i = 0; i < 2; ++i) {
      EXPECT_NE(model.Apply("a", {{{1, 2}}, {}, {.bytes = bytes}}).committed, nullptr);
    }
    EXPECT_EQ(model.Phi(1), (Floats{-kInf, 0}));
    EXPECT_EQ(ReadRaw(model.version(), model.version().phi, 2), bytes);
    EXPECT_TRUE(std::isfinite(model.version().weight_norm));
  }
}

TEST(Model, AModelOfEmptyTensorsWorks) {
  ModelSpec spec = DeltaSpec(0);
  spec.tensors.push_back(Trained("also", {3, 0}));
  TestModel model(spec, {{}, {}});
  model.Join("a");
  EXPECT_EQ(model.Answer("a", {{}, {}}).outcome, PushOutcome::kApplied);
  EXPECT_EQ(model.version().version, (Version{1, 1}));
}

// --- memory ---

// Whatever allocation fails, nothing changes, the push may be sent again, and then all is as if nothing had
// happened.
TEST(Model, AnyFailedAllocationLeavesNoTrace) {
  struct Setup {
    RoundPolicy policy;
    Reduction reduction;
    int workers;
  };
  const ModelSpec base = [] {
    ModelSpec spec = GradientSpec(100, Rule("adamw"), Rule("nesterov"), 2);
    spec.tensors.push_back({"steps", {3}, DataType::kI64, Role::kCarried});
    spec.averages = {{"ema", Rule("ema")}, {"swa", Rule("swa", {{"period", 2}})}};
    return spec;
  }();
  const PushData weights = {{Floats(100, 1)}, {.bytes = std::string(24, 'x')}};
  const PushData data = {{Floats(100, 0.5f)}, {.bytes = std::string(24, 'y')}};
  for (const Setup& setup :
       {Setup{RoundPolicy::kAsync, Reduction::kRunning, 1}, Setup{RoundPolicy::kSync, Reduction::kRunning, 3},
        Setup{RoundPolicy::kSync, Reduction::kOrdered, 3}}) {
    ModelSpec spec = base;
    spec.rounds.policy = setup.policy;
    spec.rounds.reduction = setup.reduction;
    const auto run = [&](int64_t fail, int* refusals) {
      BufferPool pool;
      const auto backend = kernels::MakeCpuBackend("", &pool);
      std::string bits;
      {
        TestModel model(spec, weights, {.backend = backend.get()});
        for (int w = 0; w < setup.workers; ++w) model.Join(std::string(1, static_cast<char>('a' + w)));
        pool.FailAllocation(fail);
        for (int step = 0; step < 4; ++step) {
          for (int w = 0; w < setup.workers; ++w) {
            const Push push = model.Next(std::string(1, static_cast<char>('a' + w)), data);
            const std::string before = StateBits(model.version());
            const PushAnswer answer = model.Answer(push);
            if (answer.refusal.ok()) continue;
            ++*refusals;
            EXPECT_EQ(answer.refusal.code(), absl::StatusCode::kResourceExhausted);
            EXPECT_EQ(ReasonOf(answer.refusal), "NO_MEMORY");
            EXPECT_FALSE(answer.decided);
            EXPECT_EQ(StateBits(model.version()), before);
            EXPECT_TRUE(model.Answer(push).refusal.ok()) << "the same push again";
          }
        }
        bits = StateBits(model.version());
      }
      EXPECT_EQ(pool.stats().in_use_count, 0u) << "no leak";
      return bits;
    };
    int refusals = 0;
    const std::string expected = run(0, &refusals);
    EXPECT_EQ(refusals, 0);
    int64_t fail = 1;
    for (;; ++fail) {
      int failed = 0;
      EXPECT_EQ(run(fail, &failed), expected) << "allocation " << fail;
      if (failed == 0) break;
    }
    EXPECT_GT(fail, 10) << "several allocations were failed";
  }
}

TEST(Model, ACompleteRoundWithoutMemoryStaysOpenAndIsTriedAgain) {
  BufferPool pool;
  const auto backend = kernels::MakeCpuBackend("", &pool);
  TestModel model(DeltaSpec(2, Rule("heavy_ball", {{"momentum", 0.5}})), OneTensor({10, 20}),
                  {.backend = backend.get()});
  for (const char* client : {"a", "b"}) model.Join(client);
  model.Apply("a", OneTensor({1, 1}));
  pool.FailAllocation(1);
  const auto left = model->Close("b", 1, model.now);  // would close the round
  ASSERT_TRUE(left.ok());
  EXPECT_EQ(left->committed, nullptr);
  EXPECT_TRUE(HasEvent(*left, "round_delayed"));
  EXPECT_EQ(model->NextTick(), model.now + seconds(1));
  EXPECT_NE(model->Tick(model.now + seconds(1)).committed, nullptr);
  EXPECT_THAT(model.Phi(), ElementsAre(9, 19));
  EXPECT_EQ(model->NextTick(), model.now + seconds(60)) << "the lease: nothing is left to try again";
}

TEST(Model, CreationThatDoesNotFitIsRefused) {
  for (int64_t fail = 1; fail <= 3; ++fail) {
    BufferPool pool;
    const auto backend = kernels::MakeCpuBackend("", &pool);
    kernels::InlineExecutor executor;
    const auto spec =
        std::make_shared<const ModelSpec>(GradientSpec(100, Rule("adamw"), Rule("nesterov"), 2));
    auto weights = Arena(backend.get(), *spec, OneTensor(Floats(100, 1)));
    pool.FailAllocation(fail);  // two moments and a velocity
    const auto model =
        Model::Create(spec, *Layout::Make(spec->tensors), std::move(weights), {backend.get(), &executor});
    EXPECT_EQ(model.status().code(), absl::StatusCode::kResourceExhausted) << fail;
    EXPECT_EQ(pool.stats().in_use_count, 0u);
  }
}

TEST(Model, MemoryIsTwiceTheStateWhateverTheNumberOfWorkers) {
  BufferPool pool;
  const auto backend = kernels::MakeCpuBackend("", &pool);
  constexpr uint64_t kElements = 100'000;
  TestModel model(DeltaSpec(kElements, Rule("nesterov")), OneTensor(Floats(kElements, 1)),
                  {.backend = backend.get()});
  for (int w = 0; w < 20; ++w) model.Join(std::string(1, static_cast<char>('a' + w)));
  for (int round = 0; round < 5; ++round) {
    for (int w = 0; w < 20; ++w) {
      model.Apply(std::string(1, static_cast<char>('a' + w)), OneTensor(Floats(kElements, 1)));
    }
  }
  const uint64_t array = 4 * kElements;
  EXPECT_EQ(model.version().outer_steps, 5u);
  EXPECT_LE(pool.stats().peak_bytes, 1.2 * 4 * array) << "16 bytes per parameter: phi and velocity, twice";
  EXPECT_GE(model->state_bytes(), 2 * array);
}

// --- devices ---

// The CPU back-end, but for calls that fail when told to.
class FailingBackend final : public kernels::Backend {
 public:
  std::string_view name() const override { return "failing"; }
  std::unique_ptr<kernels::Buffer> Allocate(size_t bytes) override { return cpu_->Allocate(bytes); }
  kernels::Status Fill(kernels::Buffer* b, float value) override { return cpu_->Fill(b, value); }
  kernels::Status Zero(kernels::Buffer* b) override { return cpu_->Zero(b); }
  kernels::Status Upload(kernels::Buffer* to, uint64_t at, const std::byte* from, size_t bytes) override {
    return cpu_->Upload(to, at, from, bytes);
  }
  kernels::Status Download(const kernels::Buffer& from, uint64_t at, std::byte* to, size_t bytes) override {
    return cpu_->Download(from, at, to, bytes);
  }
  kernels::Status Copy(kernels::Buffer* to, const kernels::Buffer& from) override {
    return cpu_->Copy(to, from);
  }
  kernels::Status FoldInto(kernels::Buffer* acc, kernels::Accumulate type, const kernels::EncodedView& bytes,
                           std::span<const kernels::Fold> folds, double weight,
                           kernels::Executor* executor) override {
    return fail_fold ? kernels::Status::kDeviceError
                     : cpu_->FoldInto(acc, type, bytes, folds, weight, executor);
  }
  kernels::CommitResult Commit(const kernels::CommitPlan& plan, kernels::Executor* executor) override {
    if (!fail_commit) return cpu_->Commit(plan, executor);
    return {.status = kernels::Status::kDeviceError};
  }
  kernels::AverageResult Average(const kernels::AveragePlan& plan, kernels::Executor* executor) override {
    if (!fail_average) return cpu_->Average(plan, executor);
    return {.status = kernels::Status::kDeviceError};
  }

  bool fail_fold = false;
  bool fail_commit = false;
  bool fail_average = false;

 private:
  std::unique_ptr<kernels::Backend> cpu_ = kernels::MakeCpuBackend();
};

TEST(Model, ADeviceThatFailsDropsTheRoundAndTheModelGoesOn) {
  for (bool FailingBackend::*fails :
       {&FailingBackend::fail_fold, &FailingBackend::fail_commit, &FailingBackend::fail_average}) {
    FailingBackend backend;
    ModelSpec spec = DeltaSpec(2);
    spec.averages = {{"mean", Rule("polyak")}};
    TestModel model(spec, OneTensor({10, 20}), {.backend = &backend});
    for (const char* client : {"a", "b"}) model.Join(client);
    const std::string before = StateBits(model.version());
    model.Apply("a", OneTensor({1, 1}));
    backend.*fails = true;
    const Effects effects = model.Apply("b", OneTensor({1, 1}));
    EXPECT_EQ(effects.round_dropped.code(), absl::StatusCode::kInternal);
    EXPECT_EQ(ReasonOf(effects.round_dropped), "DEVICE_ERROR");
    ASSERT_EQ(effects.answers.size(), 1u);
    EXPECT_EQ(ReasonOf(effects.answers[0].answer.refusal), "DEVICE_ERROR");
    EXPECT_EQ(StateBits(model.version()), before);
    backend.*fails = false;
    model.Apply("a", OneTensor({2, 2}));
    EXPECT_NE(model.Apply("b", OneTensor({2, 2})).committed, nullptr) << "both may contribute again";
    EXPECT_THAT(model.Phi(), ElementsAre(8, 18));
  }
}

// --- state hash ---

TEST(StateHash, TellsStatesApartAndDoesNotSeeSharing) {
  const auto backend = kernels::MakeCpuBackend();
  TestModel model(GradientSpec(5, Rule("adam"), Rule("lookahead"), 2), OneTensor({1, 2, 3, 4, 5}));
  model.Join("a");
  std::set<std::string> hashes = {*StateHash(model.version(), backend.get())};
  for (int i = 0; i < 4; ++i) {
    model.Apply("a", OneTensor({1, 1, 1, 1, 1}));
    hashes.insert(*StateHash(model.version(), backend.get()));
  }
  EXPECT_EQ(hashes.size(), 5u);
  for (const std::string& hash : hashes) EXPECT_EQ(hash.size(), 32u);

  ModelVersion copy = model.version();  // theta and phi are one array after a sync
  ASSERT_EQ(copy.phi, copy.theta);
  std::shared_ptr<kernels::Buffer> own = backend->Allocate(copy.phi->bytes());
  ASSERT_EQ(backend->Copy(own.get(), *copy.phi), kernels::Status::kOk);
  copy.theta = own;
  EXPECT_EQ(*StateHash(copy, backend.get()), *StateHash(model.version(), backend.get()));
  own->host_floats()[4] = 5.5f;
  EXPECT_NE(*StateHash(copy, backend.get()), *StateHash(model.version(), backend.get()));
}

TEST(StateHash, SeesWeightsSlotsCountersAndVersionButNotClients) {
  const auto backend = kernels::MakeCpuBackend();
  TestModel model(GradientSpec(5, Rule("adam"), Rule("nesterov"), 2), OneTensor({1, 2, 3, 4, 5}));
  model.Join("a");
  model.Apply("a", OneTensor({1, 1, 1, 1, 1}));
  const std::string hash = *StateHash(model.version(), backend.get());
  const auto changed = [&](const std::function<void(ModelVersion*)>& change) {
    ModelVersion version = model.version();
    change(&version);
    return *StateHash(version, backend.get()) != hash;
  };
  EXPECT_TRUE(changed([](ModelVersion* v) { ++v->version.term; }));
  EXPECT_TRUE(changed([](ModelVersion* v) { ++v->version.counter; }));
  EXPECT_TRUE(changed([](ModelVersion* v) { ++v->sync_phase; }));
  EXPECT_TRUE(changed([](ModelVersion* v) { ++v->samples; }));
  EXPECT_TRUE(changed([](ModelVersion* v) { std::swap(v->inner_slots[0], v->inner_slots[1]); }));
  EXPECT_TRUE(changed([](ModelVersion* v) { std::swap(v->outer_slots[0], v->outer_slots[1]); }));
  EXPECT_TRUE(changed([](ModelVersion* v) {
    auto counters = std::make_shared<std::vector<TensorCounters>>(*v->counters);
    (*counters)[0].inner_carry[1] = 0.5;
    v->counters = counters;
  }));
  EXPECT_FALSE(changed([](ModelVersion* v) { v->clients = std::make_shared<ClientTable>(); }));
  EXPECT_FALSE(changed([](ModelVersion* v) { ++v->settings_version; }));
}

}  // namespace
}  // namespace stepback
