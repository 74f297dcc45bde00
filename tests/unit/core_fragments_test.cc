// Models of fragments: the cut, and rounds, versions, staleness and recovery of one fragment beside the
// others.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "server/base/errors.h"
#include "server/core/fragment_table.h"
#include "server/core/spec_check.h"
#include "tests/unit/core_support.h"

namespace stepback {
namespace {

using core_test::PushData;
using core_test::Rule;
using core_test::StateBits;
using core_test::TestModel;
using core_test::Trained;
using testing::ElementsAre;
using testing::FloatEq;
using testing::HasSubstr;
using testing::IsEmpty;

// Tensors "t0", "t1" ... of two elements, one fragment each.
ModelSpec Cut(uint32_t fragments, RuleSpec outer = Rule("average")) {
  ModelSpec spec;
  spec.name = "m";
  for (uint32_t t = 0; t < fragments; ++t) spec.tensors.push_back(Trained("t" + std::to_string(t), {2}));
  spec.outer = std::move(outer);
  spec.fragments.count = fragments;
  return WithDefaults(spec);
}

PushData Filled(size_t tensors, float value) {
  PushData data(tensors);
  for (auto& tensor : data) tensor.floats = {value, value};
  return data;
}

TestModel Begin(const ModelSpec& spec, const std::vector<std::string>& clients) {
  TestModel model(spec, Filled(spec.tensors.size(), 10));
  for (const std::string& client : clients) model.Join(client);
  return model;
}

// The client's next push: `value` in both elements of the fragment's tensor.
Push PushOf(TestModel* model, const std::string& client, uint32_t fragment, float value) {
  PushData data = Filled(model->spec().tensors.size(), value);
  for (size_t t = 0; t < data.size(); ++t) data[t].present = t == fragment;
  Push push = model->Next(client, data);
  push.header.present.clear();
  push.header.fragment = fragment;
  push.header.fragment_step = model->version().fragments[fragment].outer_steps;
  return push;
}

Effects ApplyOf(TestModel* model, const std::string& client, uint32_t fragment, float value) {
  return model->Apply(PushOf(model, client, fragment, value));
}

std::vector<size_t> SizesOf(const std::vector<uint64_t>& elements, uint32_t count) {
  ModelSpec spec = Cut(1);
  spec.tensors.clear();
  for (const uint64_t n : elements)
    spec.tensors.push_back(Trained("t" + std::to_string(spec.tensors.size()), {n}));
  const auto layout = *Layout::Make(spec.tensors, {.count = count});
  std::vector<size_t> sizes;
  uint32_t next = 0;
  for (uint32_t f = 0; f < layout->fragments().size(); ++f) {
    const Fragment& fragment = layout->fragments()[f];
    EXPECT_EQ(fragment.ranges.size(), 1u) << "contiguous";
    for (const uint32_t t : fragment.tensors) EXPECT_EQ(t, next++) << "in table order";
    sizes.push_back(fragment.tensors.size());
  }
  EXPECT_EQ(next, elements.size());
  return sizes;
}

TEST(Fragments, AnEvenCutIsByBytesInTableOrder) {
  EXPECT_THAT(SizesOf({4, 4, 4, 4}, 2), ElementsAre(2, 2));
  EXPECT_THAT(SizesOf({4, 4, 4, 4}, 4), ElementsAre(1, 1, 1, 1));
  EXPECT_THAT(SizesOf({1, 1, 1, 1, 8, 3}, 2), ElementsAre(4, 2))
      << "4 | 11 rather than 12 | 3";
  EXPECT_THAT(SizesOf({100, 1, 1}, 3), ElementsAre(1, 1, 1)) << "never an empty one";
  EXPECT_THAT(SizesOf({1, 1, 100}, 3), ElementsAre(1, 1, 1));
  EXPECT_THAT(SizesOf({5}, 1), ElementsAre(1));
}

TEST(Fragments, PartsByNameMayBeStrided) {
  std::vector<TensorSpec> tensors = Cut(4).tensors;
  tensors.push_back(Trained("frozen", {3}));
  tensors.back().role = Role::kFrozen;
  const auto layout = *Layout::Make(tensors, {.parts = {{{"t2", "t0"}, {}}, {{"t3", "t1"}, {}}}});
  const FragmentTable& table = layout->fragments();
  EXPECT_THAT(table[0].tensors, ElementsAre(0, 2));
  ASSERT_EQ(table[0].ranges.size(), 2u);
  EXPECT_EQ(table[0].ranges[1].begin, 4u);
  EXPECT_THAT(table[1].present, ElementsAre(0b1010));
  EXPECT_EQ(table.Of(3).fragment, 1);
  EXPECT_EQ(table.Of(3).index, 1u);
  EXPECT_EQ(table.Of(4).fragment, -1);
  EXPECT_EQ((*Layout::Make(tensors))->fingerprint(), layout->fingerprint()) << "the table is the same";
}

TEST(Fragments, ACommitChangesItsFragmentAndNothingElse) {
  TestModel model = Begin(Cut(3, Rule("nesterov")), {"a"});
  const auto before = model->current();
  const Effects effects = ApplyOf(&model, "a", 1, 1);
  ASSERT_NE(effects.committed, nullptr) << effects.answers[0].answer.refusal;
  EXPECT_THAT(model.Phi(1), ElementsAre(FloatEq(8.67f), FloatEq(8.67f)));
  EXPECT_THAT(model.Phi(0), ElementsAre(10, 10));
  EXPECT_THAT(model.Phi(2), ElementsAre(10, 10));
  const ModelVersion& version = model.version();
  EXPECT_EQ(version.version, (Version{1, 1}));
  EXPECT_EQ(version.fragments[1].version, (Version{1, 1}));
  EXPECT_EQ(version.fragments[0].version, (Version{1, 0}));
  EXPECT_EQ((*version.counters)[1].outer_steps, 1);
  EXPECT_EQ((*version.counters)[0].outer_steps, 0);
  EXPECT_EQ(version.fragments[1].outer_steps, 1u);
  EXPECT_THAT(core_test::Read(version, version.outer_slots[0], 0), ElementsAre(0, 0));
  EXPECT_EQ(before->fragments[1].outer_steps, 0u) << "versions are immutable";
}

TEST(Fragments, OpenRoundsGoOnBesideEachOther) {
  ModelSpec spec = Cut(3);
  spec.rounds.quorum = 3;
  TestModel model = Begin(spec, {"a", "b", "c"});
  ApplyOf(&model, "a", 0, 3);
  ApplyOf(&model, "a", 1, 30);
  ApplyOf(&model, "b", 1, 60);
  EXPECT_EQ(model->OpenRounds(), (std::set<uint32_t>{0, 1}));
  EXPECT_EQ(model->WaitingFor(),
            "fragment 0: waits for b, c; 1 of 3 workers, quorum 3; fragment 1: waits for c; 2 of 3 workers, "
            "quorum 3");
  EXPECT_THAT(model->WaitingForWorkers(), ElementsAre("b", "c"));
  const Effects one = ApplyOf(&model, "c", 1, 90);
  EXPECT_EQ(one.ended_rounds, (std::set<uint32_t>{1}));
  EXPECT_THAT(model.Phi(1), ElementsAre(-50, -50));
  EXPECT_THAT(model.Phi(0), ElementsAre(10, 10));
  ApplyOf(&model, "c", 0, 6);
  const Effects other = ApplyOf(&model, "b", 0, 9);
  ASSERT_NE(other.committed, nullptr);
  EXPECT_THAT(model.Phi(0), ElementsAre(4, 4)) << "its sum was left alone by the other fragment's commit";
  EXPECT_THAT(model.Phi(1), ElementsAre(-50, -50));
  EXPECT_EQ(model->WaitingFor(), "");
}

TEST(Fragments, TheRoundsOfAllFragmentsShareOneSum) {
  ModelSpec spec = Cut(4);
  spec.rounds.quorum = 2;
  TestModel model = Begin(spec, {"a", "b"});
  const uint64_t state = model->state_bytes();
  for (uint32_t f = 0; f < 4; ++f) ApplyOf(&model, "a", f, 1);
  EXPECT_EQ(model->OpenRounds().size(), 4u);
  EXPECT_EQ(model->state_bytes(), state + model.version().phi->bytes());
}

TEST(Fragments, AWorkersSecondPushOfAFragmentWaitsForThatFragmentsRound) {
  ModelSpec spec = Cut(2);
  spec.rounds.quorum = 2;
  TestModel model = Begin(spec, {"a", "b"});
  ApplyOf(&model, "a", 0, 1);
  EXPECT_THAT(ApplyOf(&model, "a", 0, 2).answers, IsEmpty());
  EXPECT_THAT(ApplyOf(&model, "b", 1, 1).answers, testing::SizeIs(1)) << "the other fragment does not wait";
  const Effects effects = ApplyOf(&model, "b", 0, 3);
  ASSERT_EQ(effects.answers.size(), 2u);
  EXPECT_EQ(effects.answers[1].client_id, "a");
  EXPECT_EQ(effects.answers[1].answer.outcome, PushOutcome::kBuffered);
  EXPECT_THAT(model.Phi(0), ElementsAre(8, 8));
}

TEST(Fragments, StalenessIsInTheFragmentsOwnSteps) {
  ModelSpec spec = Cut(2);
  spec.rounds.policy = RoundPolicy::kAsync;
  spec.rounds.max_staleness = 1;
  TestModel model = Begin(spec, {"a", "b"});
  const Push other = PushOf(&model, "b", 1, 1);
  for (int i = 0; i < 3; ++i) ApplyOf(&model, "a", 0, 1);
  EXPECT_EQ(model.Answer(other).staleness, 0u);
  Push stale = PushOf(&model, "b", 0, 1);
  stale.header.base = {1, 0};
  stale.header.fragment_step = 0;
  const PushAnswer refused = model.Answer(stale);
  EXPECT_EQ(ReasonOf(refused.refusal), "STALE_BASE");
  EXPECT_THAT(
      std::string(refused.refusal.message()),
      HasSubstr(
          "base version 1.0 (step 0 of fragment 0), current 1.4 (step 3), staleness 3, max_staleness 1"));
  EXPECT_EQ(refused.staleness, 3u);
  Push ahead = PushOf(&model, "b", 1, 1);
  ahead.header.fragment_step = 9;
  EXPECT_EQ(ReasonOf(model.Answer(ahead).refusal), "RESYNC");
}

TEST(Fragments, SchedulesFollowTheFragmentsOwnSteps) {
  ModelSpec spec = Cut(2);
  spec.outer.schedules["alpha"] = {.name = "exponential", .values = {{"gamma", 0.5}}};
  TestModel model = Begin(spec, {"a"});
  for (int i = 0; i < 3; ++i) ApplyOf(&model, "a", 0, 4);
  ApplyOf(&model, "a", 1, 4);
  EXPECT_THAT(model.Phi(0), ElementsAre(10 - 4 - 2 - 1, 10 - 4 - 2 - 1));
  EXPECT_THAT(model.Phi(1), ElementsAre(6, 6)) << "its first step, at the whole rate";
}

TEST(Fragments, ProgressIsCountedOncePerFragment) {
  ModelSpec spec = Cut(2);
  spec.finish_after_steps = 2;
  TestModel model = Begin(spec, {"a"});
  const auto push = [&](uint32_t fragment) {
    Push next = PushOf(&model, "a", fragment, 1);
    next.header.local_steps = 100;
    next.header.samples = 7;
    return model.Answer(next);
  };
  push(0), push(0), push(0);
  EXPECT_EQ(model.version().inner_steps, 300u);
  EXPECT_EQ(model.version().samples, 21u);
  const PushAnswer first = push(1);
  EXPECT_EQ(first.inner_steps, 300u) << "the same steps, behind another fragment";
  EXPECT_EQ(first.outer_steps, 4u);
  EXPECT_FALSE(first.finished) << "fragment 1 has made one outer step";
  EXPECT_TRUE(push(1).finished);
}

TEST(Fragments, PushesThatDoNotFitConsumeNothing) {
  TestModel model = Begin(Cut(3), {"a"});
  const std::string before = StateBits(model.version());
  const auto refused = [&](const std::function<void(Push*)>& change) {
    Push push = PushOf(&model, "a", 1, 1);
    change(&push);
    const PushAnswer answer = model.Answer(push);
    EXPECT_FALSE(answer.decided);
    --model.sequences["a"];
    return ReasonOf(answer.refusal) + ": " + std::string(answer.refusal.message());
  };
  EXPECT_EQ(refused([](Push* push) { push->header.fragment = 3; }),
            "FRAGMENT_INVALID: model 'm': fragment is 3, expected 0..2");
  EXPECT_EQ(refused([](Push* push) { push->header.fragment.reset(); }),
            "FRAGMENT_INVALID: model 'm': fragment is not set, expected 0..2");
  EXPECT_EQ(
      refused([](Push* push) { push->header.present = {0b110}; }),
      "FRAGMENT_INVALID: model 'm': present names tensor 2, which is in fragment 2, in a push of fragment 1");
  EXPECT_THAT(refused([](Push* push) {
                push->header.present = {0b10, 0};
              }),
              HasSubstr("present has 2 bytes"));
  EXPECT_EQ(StateBits(model.version()), before);

  TestModel whole(core_test::DeltaSpec(2), Filled(1, 10));
  whole.Join("a");
  Push push = whole.Next("a", Filled(1, 1));
  push.header.fragment = 0;
  EXPECT_THAT(std::string(whole.Answer(push).refusal.message()),
              HasSubstr("fragment is 0, the model has no fragments"));
}

TEST(Fragments, ARoundThatComesToNothingTakesNoOtherWithIt) {
  ModelSpec spec = Cut(2);
  spec.rounds.quorum = 2;
  TestModel model = Begin(spec, {"a", "b"});
  ApplyOf(&model, "a", 0, 1);
  ApplyOf(&model, "a", 1, 3e38f);
  const Effects effects = ApplyOf(&model, "b", 1, 3e38f);
  ASSERT_EQ(effects.dropped_rounds.size(), 1u);
  EXPECT_EQ(effects.dropped_rounds[0].first, 1u);
  EXPECT_EQ(ReasonOf(effects.dropped_rounds[0].second), "NONFINITE_RESULT");
  EXPECT_EQ(effects.committed, nullptr);
  EXPECT_EQ(model->OpenRounds(), (std::set<uint32_t>{0}));
  ASSERT_NE(ApplyOf(&model, "b", 0, 3).committed, nullptr);
  EXPECT_THAT(model.Phi(0), ElementsAre(8, 8));
  ApplyOf(&model, "a", 1, 1);
  ApplyOf(&model, "b", 1, 3);
  EXPECT_THAT(model.Phi(1), ElementsAre(8, 8)) << "nothing of the dropped round is left in the sum";
}

// The heart of recovery: push 1 is in an open round, push 2 in the version.
class FragmentRecovery : public testing::Test {
 protected:
  FragmentRecovery() {
    ModelSpec spec = Cut(2);
    spec.rounds.quorum = 2;
    before_ = std::make_unique<TestModel>(spec, Filled(2, 10));
    for (const char* client : {"a", "b"}) before_->Join(client);
    first_ = PushOf(before_.get(), "a", 0, 1);
    before_->Apply(first_);
    second_ = PushOf(before_.get(), "a", 1, 2);
    before_->Apply(second_);
    ApplyOf(before_.get(), "b", 1, 4);
  }
  std::unique_ptr<TestModel> Recover() {
    auto recovered = std::make_unique<TestModel>((*before_)->current(), 2);
    for (const char* client : {"a", "b"}) recovered->Join(client);
    for (Push* push : {&first_, &second_}) push->header.epoch = recovered->epochs["a"];
    return recovered;
  }
  std::unique_ptr<TestModel> before_;
  Push first_, second_;
};

TEST_F(FragmentRecovery, TheVersionNamesThePushesThatItLacks) {
  const ClientRecord& record = *before_->version().clients->Find("a");
  EXPECT_EQ(record.last_sequence, 2u);
  EXPECT_THAT(record.missing, ElementsAre(1));
  EXPECT_EQ(record.pushes, 1u);
  ASSERT_EQ(record.answers.size(), 1u);
  EXPECT_EQ(record.answers[0].sequence, 2u);
  EXPECT_THAT(before_->version().clients->Find("b")->missing, IsEmpty());
  EXPECT_EQ(before_->Answer(first_).outcome, PushOutcome::kDuplicate)
      << "nothing is lost while the server lives";
}

TEST_F(FragmentRecovery, ALostPushIsTakenUnderItsNumberAndTheOthersAreNot) {
  const auto model = Recover();
  EXPECT_EQ(model->Answer(second_).outcome, PushOutcome::kDuplicate);
  const PushAnswer again = model->Answer(first_);
  EXPECT_EQ(again.outcome, PushOutcome::kBuffered);
  EXPECT_EQ(model->Answer(first_).outcome, PushOutcome::kDuplicate) << "once";
  const Effects effects = ApplyOf(model.get(), "b", 0, 3);
  ASSERT_NE(effects.committed, nullptr);
  EXPECT_THAT(model->Phi(0), ElementsAre(8, 8));
  EXPECT_THAT(model->Phi(1), ElementsAre(7, 7));
  const ClientRecord& record = *model->version().clients->Find("a");
  EXPECT_THAT(record.missing, IsEmpty());
  EXPECT_EQ(record.last_sequence, 2u);
  ASSERT_EQ(record.answers.size(), 2u);
  EXPECT_EQ(record.answers[0].sequence, 1u) << "ascending";
}

TEST_F(FragmentRecovery, AClientThatHasNothingLeftGoesOnAfterItsLastNumber) {
  const auto model = Recover();
  const auto opened = (*model)->Open({.client_id = "a"}, model->now);
  EXPECT_EQ(opened->last_sequence, 2u);
  EXPECT_THAT(opened->missing, ElementsAre(1));
  model->epochs["a"] = opened->epoch;
  EXPECT_EQ(model->Answer(PushOf(model.get(), "a", 0, 1)).sequence, 3u);
  EXPECT_EQ(ApplyOf(model.get(), "b", 0, 3).committed->clients->Find("a")->last_sequence, 3u);
  EXPECT_THAT(model->version().clients->Find("a")->missing, ElementsAre(1)) << "still nobody's";
}

TEST_F(FragmentRecovery, ImportAndRestoreChangeEveryFragment) {
  const auto image = (*before_)->current();
  const auto restored = (*before_)->Restore(image, 4);
  ASSERT_TRUE(restored.ok());
  for (const FragmentState& fragment : restored->committed->fragments) {
    EXPECT_EQ(fragment.version, restored->committed->version);
  }
  EXPECT_EQ(restored->committed->fragments[1].outer_steps, 1u);
  EXPECT_EQ(restored->ended_rounds, (std::set<uint32_t>{0}));
  EXPECT_THAT((*before_)->OpenRounds(), IsEmpty());
}

}  // namespace
}  // namespace stepback
