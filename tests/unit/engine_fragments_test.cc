// Fragments through the engine: parts and ranges of one fragment, who is woken by whose round, and what the
// disk knows.
#include <gtest/gtest.h>

#include "tests/unit/engine_fixture.h"

namespace stepback {
namespace {

using absl::StatusCode;
using std::chrono::seconds;

constexpr uint64_t kSizes[] = {100, 60,
                               40};  // of the tensors; fragment 0 has the first and last, 1 the other

class EngineFragments : public testing::Test {
 protected:
  EngineFragments() {
    ModelSpec spec = DeltaSpec("lm", {kSizes[0], kSizes[1], kSizes[2]});
    spec.fragments.parts = {{{"t0", "t2"}, {}}, {{"t1"}, {}}};
    spec.rounds.quorum = 2;
    spec.max_live_versions = 8;
    model_ = server_.Create(spec, Constant(200, 5));
    Join();
  }
  void Join() {
    for (const char* id : {"a", "b"}) workers_[id] = std::make_unique<Worker>(model_, id);
  }

  static uint64_t Elements(uint32_t fragment) { return fragment == 0 ? kSizes[0] + kSizes[2] : kSizes[1]; }
  UploadRequest Request(const std::string& id, uint32_t fragment) {
    UploadRequest request = workers_[id]->Next(Elements(fragment) * sizeof(float));
    request.header.fragment = fragment;
    request.header.fragment_step = model_->Info().version->fragments[fragment].outer_steps;
    return request;
  }
  absl::StatusOr<PushAnswer> Push(const std::string& id, uint32_t fragment, float value) {
    const UploadRequest request = Request(id, fragment);
    return workers_[id]->Send(request, BytesOfFloats(Constant(Elements(fragment), value)));
  }
  absl::Status Refusal(const std::function<void(UploadRequest*)>& change) {
    UploadRequest request = Request("a", 1);
    workers_["a"]->set_sequence(request.header.sequence - 1);
    change(&request);
    return StartUpload(model_.get(), request).status();
  }

  EngineFixture server_;
  std::shared_ptr<Handle> model_;
  std::map<std::string, std::unique_ptr<Worker>> workers_;
};

TEST_F(EngineFragments, PartsTileTheirFragment) {
  UploadRequest request = Request("a", 0);
  request.part_count = 2;
  const auto send = [&](uint32_t part, std::vector<ElementRange> ranges, float value) {
    request.part = part;
    uint64_t elements = 0;
    for (const ElementRange& range : ranges) elements += range.count;
    request.ranges = std::move(ranges);
    request.total_bytes = elements * sizeof(float);
    const absl::StatusOr<UploadStart> start = StartUpload(model_.get(), request);
    EXPECT_TRUE(start.ok()) << start.status();
    EXPECT_TRUE(AddAll(start->upload.get(), BytesOfFloats(Constant(elements, value))).ok());
    return start->upload;
  };
  Later<PushAnswer> first, second;
  const auto low = send(0, {{0, 30}}, 1), high = send(1, {{30, 70}, {160, 40}}, 2);
  high->Finish(second.done());
  low->Finish(first.done());
  EXPECT_EQ(first.Get()->outcome, PushOutcome::kBuffered);
  EXPECT_EQ(Push("b", 0, 1)->outcome, PushOutcome::kApplied);
  const std::vector<float> weights = Weights(model_.get());
  EXPECT_EQ(weights[29], 4);
  EXPECT_EQ(weights[30], 3.5);
  EXPECT_EQ(weights[100], 5) << "the other fragment";
  EXPECT_EQ(weights[160], 3.5);
}

TEST_F(EngineFragments, RangesAndTensorsOutsideTheFragmentAreRefusedByName) {
  const auto invalid = Refused(StatusCode::kInvalidArgument, "FRAGMENT_INVALID");
  const absl::Status outside = Refusal([](UploadRequest* r) { r->ranges = {{150, 20}}; });
  EXPECT_THAT(outside, invalid);
  EXPECT_EQ(outside.message(),
            "model 'lm': ranges[0] has 20 elements at 150, which fragment 1 does not hold; it begins with 60 "
            "at 100");
  EXPECT_THAT(Refusal([](UploadRequest* r) { r->ranges = {{99, 10}}; }), invalid);
  EXPECT_THAT(Refusal([](UploadRequest* r) { r->ranges = {{100, uint64_t{0} - 1}}; }), invalid);
  EXPECT_THAT(Refusal([](UploadRequest* r) { r->header.present = {0b011}; }), invalid);
  EXPECT_THAT(Refusal([](UploadRequest* r) { r->header.fragment = 2; }), invalid);
  EXPECT_THAT(Refusal([](UploadRequest* r) { r->header.fragment = UINT32_MAX; }), invalid);
  EXPECT_THAT(Refusal([](UploadRequest* r) { r->header.fragment.reset(); }), invalid);
  EXPECT_THAT(Refusal([](UploadRequest* r) { r->total_bytes = 200 * sizeof(float); }),
              Refused(StatusCode::kInvalidArgument, "SIZE_MISMATCH"));
  EXPECT_THAT(ReadAll(model_.get(), {.fragment = 2}).status(), invalid);
  EXPECT_THAT(ReadAll(model_.get(), {.ranges = {{0, 10}}, .fragment = 1}).status(), invalid);
  Later<std::shared_ptr<PinnedVersion>> wait;
  const auto cancel = model_->WaitNewer({1, 0}, std::nullopt, wait.done(), 2);
  EXPECT_THAT(wait.Get().status(), invalid);
}

TEST_F(EngineFragments, APullOfAFragmentIsItsElements) {
  Push("a", 1, 1).IgnoreError();
  Push("b", 1, 3).IgnoreError();
  EXPECT_EQ(FloatsOf(*ReadAll(model_.get(), {.fragment = 1})), Constant(60, 3));
  EXPECT_EQ(FloatsOf(*ReadAll(model_.get(), {.fragment = 0})), Constant(140, 5));
  EXPECT_EQ(FloatsOf(*ReadAll(model_.get(), {.ranges = {{110, 4}}, .fragment = 1})), Constant(4, 3));
}

TEST_F(EngineFragments, AWaitIsForTheFragmentsOwnRound) {
  const auto buffered = Push("a", 0, 1);
  Later<std::shared_ptr<PinnedVersion>> own, whole;
  const auto cancel = model_->WaitNewer(buffered->version, buffered->rounds_dropped, own.done(), 0);
  const auto cancel_whole = model_->WaitNewer(buffered->version, std::nullopt, whole.done());
  Push("a", 1, 1).IgnoreError();
  Push("b", 1, 1).IgnoreError();
  EXPECT_EQ((*whole.Get())->version().version, (Version{1, 1}));
  EXPECT_FALSE(own.ready()) << "another fragment's version is not the one";
  // Another fragment's round comes to nothing: that is no reason either.
  Push("a", 1, 3e38f).IgnoreError();
  EXPECT_FALSE(Push("b", 1, 3e38f).ok());
  server_.Quiesce(model_.get());
  EXPECT_FALSE(own.ready());
  EXPECT_EQ(Push("b", 0, 3)->version, (Version{1, 2}));
  EXPECT_EQ((*own.Get())->version().version, (Version{1, 2}));
}

TEST_F(EngineFragments, AWaitEndsWithItsOwnRoundAlsoWhenVersionsOfOthersCameBetween) {
  const auto buffered = Push("a", 0, 3e38f);
  Push("a", 1, 1).IgnoreError();
  Push("b", 1, 1).IgnoreError();
  EXPECT_FALSE(Push("b", 0, 3e38f).ok());
  Later<std::shared_ptr<PinnedVersion>> late;
  const auto cancel = model_->WaitNewer(buffered->version, buffered->rounds_dropped, late.done(), 0);
  EXPECT_THAT(late.Get().status(), Refused(StatusCode::kAborted, "ROUND_DROPPED"));
}

TEST_F(EngineFragments, AFlushWaitsForTheRoundsThatWereOpenAndForNoLaterOne) {
  Push("a", 0, 1).IgnoreError();
  Later<Version> flushed;
  model_->Flush(flushed.done());
  Push("a", 1, 1).IgnoreError();
  Push("b", 1, 1).IgnoreError();
  server_.Quiesce(model_.get());
  EXPECT_FALSE(flushed.ready()) << "the push is in no version yet";
  Push("a", 1, 1).IgnoreError();  // opens another round
  Push("b", 0, 1).IgnoreError();
  EXPECT_EQ(*flushed.Get(), (Version{1, 2}));
  EXPECT_EQ(model_->DurableSequence("a"), 2u) << "push 3 is in the open round";
}

TEST_F(EngineFragments, WhatASnapshotLacksIsTakenAgainAfterARestart) {
  const UploadRequest open = Request("a", 0);
  const std::vector<std::byte> bytes = BytesOfFloats(Constant(140, 1));
  EXPECT_EQ(workers_["a"]->Send(open, bytes)->outcome, PushOutcome::kBuffered);
  Push("a", 1, 1).IgnoreError();
  Push("b", 1, 1).IgnoreError();
  ASSERT_TRUE(Await<SnapshotInfo>([&](auto done) { model_->SaveSnapshot("", done); }).ok());
  EXPECT_EQ(model_->DurableSequence("a"), 0u) << "push 1 is not in the version, though push 2 is";
  const auto before = model_->Info().version;

  model_.reset();
  workers_.clear();
  server_.Start();
  model_ = *server_.engine->Find("lm");
  const auto after = model_->Info().version;
  ASSERT_EQ(after->fragments.size(), 2u);
  EXPECT_EQ(after->fragments[1].version, before->fragments[1].version);
  EXPECT_EQ(after->fragments[1].outer_steps, 1u);
  EXPECT_EQ(*after->spec, *before->spec);
  Join();
  EXPECT_EQ(model_->DurableSequence("a"), 0u);
  const auto opened = workers_["a"]->Open();
  EXPECT_EQ(opened->session.last_sequence, 2u);
  EXPECT_EQ(opened->session.missing, std::vector<uint64_t>{1});

  UploadRequest again = open;
  again.header.epoch = opened->session.epoch;
  EXPECT_EQ(workers_["a"]->Send(again, bytes)->outcome, PushOutcome::kBuffered);
  EXPECT_EQ(workers_["a"]->Send(again, bytes)->outcome, PushOutcome::kDuplicate);
  EXPECT_EQ(Push("b", 0, 3)->outcome, PushOutcome::kApplied);
  EXPECT_EQ(Weights(model_.get())[0], 3);
  EXPECT_EQ(Weights(model_.get())[100], 4);
}

}  // namespace
}  // namespace stepback
