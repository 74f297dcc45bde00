// Readers: chunks of one version, pins, versions that go, and waits for the next one.
#include <gtest/gtest.h>

#include "tests/unit/engine_fixture.h"

namespace stepback {
namespace {

using absl::StatusCode;

ModelSpec AsyncSpec(std::vector<uint64_t> sizes, uint32_t max_live_versions = 4) {
  ModelSpec spec = DeltaSpec("lm", std::move(sizes));
  spec.rounds.policy = RoundPolicy::kAsync;
  spec.max_live_versions = max_live_versions;
  return spec;
}

class EnginePull : public testing::Test {
 protected:
  static constexpr size_t kElements = 600'000;  // three chunks

  EnginePull()
      : model_(server_.Create(AsyncSpec({kElements - 1000, 1000}, 3), Ramp(kElements))),
        worker_(model_, "w") {}
  std::unique_ptr<PullReader> Read(const PullSpec& spec, std::shared_ptr<PinnedVersion> pin = nullptr) {
    absl::StatusOr<std::unique_ptr<PullReader>> reader =
        model_->Read(pin == nullptr ? model_->Pin() : pin, spec);
    EXPECT_TRUE(reader.ok()) << reader.status();
    return *std::move(reader);
  }
  void Step() { ASSERT_TRUE(worker_.Push(Constant(kElements, 1)).ok()); }

  EngineFixture server_;
  std::shared_ptr<Handle> model_;
  Worker worker_;
};

TEST_F(EnginePull, ChunksOfEverySizeAreTheWeights) {
  const std::vector<std::byte> expected = BytesOfFloats(Ramp(kElements));
  for (const uint64_t chunk_bytes :
       {uint64_t{4096}, uint64_t{100'000}, uint64_t{1} << 20, uint64_t{4} << 20}) {
    EXPECT_EQ(*ReadAll(model_.get(), {.chunk_bytes = chunk_bytes}), expected) << chunk_bytes;
  }
}

TEST_F(EnginePull, F32ChunksAreTheVersionsOwnMemory) {
  const uint64_t before = server_.pool.stats().in_use_bytes;
  const auto first = Read({}), second = Read({});
  const auto a = first->Chunk(0), b = second->Chunk(0);
  ASSERT_TRUE(a.ok() && b.ok());
  EXPECT_EQ(a->data.view().spans()[0].data, b->data.view().spans()[0].data);
  EXPECT_EQ(server_.pool.stats().in_use_bytes, before);
}

TEST_F(EnginePull, Bf16ChunksAreEncodedOncePerVersion) {
  const kernels::CodecInfo& bf16 = *kernels::FindCodec("bf16");
  std::vector<std::byte> expected(2 * kElements);
  bf16.encode(Ramp(kElements).data(), kElements, expected.data());
  EXPECT_EQ(*ReadAll(model_.get(), {.codec = bf16.id}), expected);
  const uint64_t used = server_.pool.stats().in_use_bytes;
  EXPECT_EQ(*ReadAll(model_.get(), {.codec = bf16.id}), expected);
  EXPECT_EQ(*ReadAll(model_.get(), {.codec = bf16.id, .chunk_bytes = 4096}), expected);
  EXPECT_EQ(server_.pool.stats().in_use_bytes, used);
}

TEST_F(EnginePull, RangesAreTheirElementsInOrder) {
  const std::vector<float> all = Ramp(kElements);
  const std::vector<ElementRange> ranges = {
      {5, 10}, {100'000, 300'000}, {kElements - 1500, 1000}, {kElements - 1, 1}};
  std::vector<float> expected;
  for (const ElementRange& r : ranges)
    expected.insert(expected.end(), all.begin() + r.begin, all.begin() + r.begin + r.count);
  EXPECT_EQ(FloatsOf(*ReadAll(model_.get(), {.ranges = ranges})), expected);
  EXPECT_EQ(FloatsOf(*ReadAll(model_.get(), {.ranges = ranges, .chunk_bytes = 4096})), expected);
}

TEST_F(EnginePull, WrongWishesAreRefused) {
  const auto refuse = [&](const PullSpec& spec) { return model_->Read(model_->Pin(), spec).status(); };
  EXPECT_THAT(refuse({.codec = 99}), Refused(StatusCode::kInvalidArgument, "CODEC_UNKNOWN"));
  EXPECT_THAT(refuse({.codec = -1}), Refused(StatusCode::kInvalidArgument, "CODEC_UNKNOWN"));
  EXPECT_THAT(refuse({.ranges = {{0, kElements + 1}}}),
              Refused(StatusCode::kInvalidArgument, "LAYOUT_MISMATCH"));
  EXPECT_THAT(refuse({.ranges = {{UINT64_MAX, UINT64_MAX}}}),
              Refused(StatusCode::kInvalidArgument, "LAYOUT_MISMATCH"));
  EXPECT_THAT(refuse({.chunk_bytes = 0}), Refused(StatusCode::kInvalidArgument, "BAD_CHUNK"));
  EXPECT_THAT(refuse({.chunk_bytes = UINT64_MAX}), Refused(StatusCode::kInvalidArgument, "BAD_CHUNK"));
  EXPECT_EQ(Read({})->Chunk(3).status().code(), StatusCode::kOutOfRange);
}

// --- averages ---

TEST(EngineAverages, AreViewsThatShowTheSlowWeightsUntilTheirFirstSample) {
  EngineFixture server;
  ModelSpec spec = AsyncSpec({40});
  spec.outer = {.name = "average"};
  spec.averages = {{"mean", {.name = "polyak"}}, {"late", {.name = "polyak", .values = {{"start", 3}}}}};
  const auto model = server.Create(spec, Constant(40, 8));
  Worker worker(model, "w");
  EXPECT_EQ(Weights(model.get(), {View::kAverage, "mean"}), Constant(40, 8));
  for (int i = 0; i < 2; ++i) ASSERT_TRUE(worker.Push(Constant(40, 1)).ok());
  EXPECT_EQ(Weights(model.get(), {View::kAverage, "mean"}), Constant(40, 6.5f)) << "of 7 and 6";
  EXPECT_EQ(Weights(model.get(), {View::kAverage, "late"}), Constant(40, 6));
  EXPECT_EQ(Weights(model.get()), Constant(40, 6));
  const absl::Status unknown = model->Read(model->Pin(), {.view = {View::kAverage, "men"}}).status();
  EXPECT_THAT(unknown, Refused(StatusCode::kFailedPrecondition, "AVERAGE_NOT_CONFIGURED"));
  EXPECT_EQ(unknown.message(), "model 'lm' has no average 'men'; it has mean, late");
}

// An extrapolation is summed piece by piece where it is read, in every codec, and never lies in memory as a
// whole.
TEST(EngineAverages, CombineTheIteratesOfAnExtrapolationAsTheyAreRead) {
  EngineFixture server;
  const size_t elements = 300'000;
  ModelSpec spec = AsyncSpec({elements - 5, 5});
  spec.outer = {.name = "average"};
  spec.averages = {{"rna", {.name = "rna", .values = {{"regularization", 0.01}}}}};
  const auto model = server.Create(spec, Ramp(elements));
  Worker worker(model, "w");
  std::vector<std::vector<float>> iterates = {Ramp(elements)};
  for (const float rate : {0.5f, 0.25f, 0.75f}) {
    std::vector<float> push(elements);
    for (size_t i = 0; i < elements; ++i) push[i] = rate * static_cast<float>(i % 7) - 1;
    ASSERT_TRUE(worker.Push(push).ok());
    iterates.push_back(Weights(model.get()));
  }
  const auto pin = model->Pin();
  const std::vector<double>& weights = pin->version().averages[0].iterates.weights;
  ASSERT_EQ(weights.size(), 3u);
  std::vector<float> expected(elements);
  for (size_t i = 0; i < elements; ++i) {
    double sum = 0;
    for (size_t j = 0; j < 3; ++j) sum += weights[j] * iterates[j + 1][i];
    expected[i] = static_cast<float>(sum);
  }
  const View view(View::kAverage, "rna");
  EXPECT_EQ(Weights(model.get(), view), expected);
  EXPECT_EQ(FloatsOf(*ReadAll(model.get(), {.view = view, .ranges = {{7, 9}, {200'000, 1}}})).size(), 10u);
  const kernels::CodecInfo& bf16 = *kernels::FindCodec("bf16");
  std::vector<std::byte> encoded(2 * elements);
  bf16.encode(expected.data(), elements, encoded.data());
  EXPECT_EQ(*ReadAll(model.get(), {.view = view, .codec = bf16.id}), encoded);
}

// A counter is served as it is now, also by an average that took its last sample before.
TEST(EngineAverages, ShowTheBytesOfTheSlowWeightsWhateverTheirSamplesHad) {
  EngineFixture server;
  ModelSpec spec = AsyncSpec({40});
  spec.outer = {.name = "average"};
  spec.tensors.push_back({.name = "n", .shape = {2}, .dtype = DataType::kI32, .role = Role::kCarried});
  spec.averages = {{"swa", {.name = "swa", .values = {{"period", 2}}}}};
  const auto model = server.Create(spec, Constant(42, 8));
  Worker worker(model, "w");
  for (const float counter : {1.0f, 2.0f}) {
    std::vector<float> push = Constant(42, 1);
    push[40] = push[41] = counter;
    ASSERT_TRUE(worker.Push(push).ok());
  }
  std::vector<float> expected = Constant(42, 7);
  expected[40] = expected[41] = 2;
  for (const uint64_t chunk_bytes : {uint64_t{4096}, uint64_t{1} << 20}) {
    EXPECT_EQ(FloatsOf(*ReadAll(model.get(), {.view = {View::kAverage, "swa"}, .chunk_bytes = chunk_bytes})),
              expected);
  }
}

TEST_F(EnginePull, AReaderSeesItsVersionWhateverIsPublishedMeanwhile) {
  const auto pin = model_->Pin();
  const auto reader = Read({}, pin);
  std::vector<std::byte> all = Joined(reader->Chunk(0)->data);
  Step();
  Step();
  for (uint64_t i = 1; i < reader->chunk_count(); ++i) {
    const std::vector<std::byte> chunk = Joined(reader->Chunk(i)->data);
    all.insert(all.end(), chunk.begin(), chunk.end());
  }
  EXPECT_EQ(all, BytesOfFloats(Ramp(kElements)));
  EXPECT_EQ(pin->version().version.counter, 0u);
  EXPECT_EQ(model_->Pin()->version().version.counter, 2u);
}

TEST_F(EnginePull, TheOldestReaderIsToldWhenTooManyVersionsAreHeld) {
  std::vector<std::shared_ptr<PinnedVersion>> pins;
  std::vector<std::unique_ptr<PullReader>> readers;
  int told = 0;
  for (int i = 0; i < 3; ++i) {
    pins.push_back(model_->Pin());
    readers.push_back(Read({}, pins.back()));
    if (i == 0) pins[0]->OnRevoked([&] { ++told; });
    Step();
  }
  // Versions 0, 1, 2 are held and 3 is the newest: one more than three.
  EXPECT_TRUE(pins[0]->revoked());
  EXPECT_EQ(told, 1);
  EXPECT_THAT(readers[0]->Chunk(0).status(), Refused(StatusCode::kAborted, "VERSION_GONE"));
  EXPECT_THAT(model_->Read(pins[0], {}).status(), Refused(StatusCode::kAborted, "VERSION_GONE"));
  EXPECT_FALSE(pins[1]->revoked());
  EXPECT_TRUE(readers[1]->Chunk(0).ok());
  pins[0]->OnRevoked([&] { ++told; });
  EXPECT_EQ(told, 2) << "who asks late is told at once";
  pins[2].reset();
  readers[2].reset();
  Step();
  EXPECT_FALSE(pins[1]->revoked()) << "1, 3 and 4 are three";
}

TEST_F(EnginePull, VersionsThatNobodyHoldsGiveTheirMemoryBack) {
  Step();
  Step();
  const uint64_t steady = server_.pool.stats().in_use_bytes;
  for (int i = 0; i < 20; ++i) Step();
  EXPECT_LE(server_.pool.stats().in_use_bytes, steady);
}

TEST_F(EnginePull, BytesOnTheirWayOutliveReaderVersionModelAndEngine) {
  Payload chunk;
  {
    const auto reader = Read({.codec = kernels::FindCodec("bf16")->id});
    chunk = reader->Chunk(0)->data;
  }
  Step();
  ASSERT_TRUE(AwaitStatus([&](auto done) { server_.engine->Delete("lm", done); }).ok());
  model_.reset();
  std::vector<std::byte> expected(1 << 20);
  kernels::FindCodec("bf16")->encode(Ramp(1 << 19).data(), 1 << 19, expected.data());
  EXPECT_EQ(Joined(chunk), expected);
}

// --- waits ---

class EngineWait : public EnginePull {
 protected:
  std::unique_ptr<Cancel> Wait(Later<std::shared_ptr<PinnedVersion>>* later, uint64_t after) {
    return model_->WaitNewer({1, after}, std::nullopt, later->done());
  }
};

TEST_F(EngineWait, ANewerVersionThatIsThereComesAtOnce) {
  Step();
  Later<std::shared_ptr<PinnedVersion>> later;
  const auto cancel = Wait(&later, 0);
  ASSERT_TRUE(later.ready());
  EXPECT_EQ((*later.Get())->version().version.counter, 1u);
}

TEST_F(EngineWait, EveryoneWhoWaitsGetsTheNextVersion) {
  std::vector<Later<std::shared_ptr<PinnedVersion>>> waits(50);
  std::vector<std::unique_ptr<Cancel>> cancels;
  for (auto& wait : waits) cancels.push_back(Wait(&wait, 0));
  Later<std::shared_ptr<PinnedVersion>> patient;
  const auto cancel = Wait(&patient, 1);
  for (const auto& wait : waits) EXPECT_FALSE(wait.ready());
  Step();
  for (auto& wait : waits) EXPECT_EQ((*wait.Get())->version().version.counter, 1u);
  EXPECT_FALSE(patient.ready());
  Step();
  EXPECT_EQ((*patient.Get())->version().version.counter, 2u);
}

TEST_F(EngineWait, ACancelledWaitIsNotAnswered) {
  Later<std::shared_ptr<PinnedVersion>> later;
  auto cancel = Wait(&later, 0);
  cancel.reset();
  Step();
  EXPECT_FALSE(later.ready());
}

TEST_F(EngineWait, DeletingTheModelEndsTheWait) {
  Later<std::shared_ptr<PinnedVersion>> later, late;
  const auto cancel = Wait(&later, 0);
  ASSERT_TRUE(AwaitStatus([&](auto done) { server_.engine->Delete("lm", done); }).ok());
  EXPECT_THAT(later.Get().status(), Refused(StatusCode::kNotFound, "MODEL_DELETED"));
  const auto cancel_late = Wait(&late, 0);
  EXPECT_THAT(late.Get().status(), Refused(StatusCode::kNotFound, "MODEL_DELETED"));
}

TEST_F(EngineWait, DrainingEndsTheWaitAndStoppingEndsTheRest) {
  Later<std::shared_ptr<PinnedVersion>> later;
  const auto cancel = Wait(&later, 0);
  ASSERT_TRUE(AwaitStatus([&](auto done) { server_.engine->Drain(done); }).ok());
  EXPECT_THAT(later.Get().status(), Refused(StatusCode::kUnavailable, "DRAINING"));
  server_.engine.reset();
  Later<std::vector<SessionInfo>> after_stop;
  model_->Sessions(after_stop.done());
  EXPECT_THAT(after_stop.Get().status(), Refused(StatusCode::kUnavailable, "SHUTTING_DOWN"));
}

// Two finite pushes whose sum is not: the round comes to nothing.
class DroppedRound : public testing::Test {
 protected:
  using Wait = Later<std::shared_ptr<PinnedVersion>>;
  static constexpr float kHuge = 3e38f;

  DroppedRound()
      : model_(server_.Create(DeltaSpec("sync", {10}), Constant(10, 0))), a_(model_, "a"), b_(model_, "b") {}

  EngineFixture server_;
  std::shared_ptr<Handle> model_;
  Worker a_, b_;
};

TEST_F(DroppedRound, EndsTheWaitsOfItsPushesAndNoOthers) {
  const absl::StatusOr<PushAnswer> buffered = a_.Push(Constant(10, kHuge));
  ASSERT_TRUE(buffered.ok());
  Wait step, reader;
  const auto cancel_step = model_->WaitNewer(buffered->version, buffered->rounds_dropped, step.done());
  const auto cancel_reader = model_->WaitNewer(buffered->version, std::nullopt, reader.done());
  const absl::StatusOr<PushAnswer> closing = b_.Push(Constant(10, kHuge));
  EXPECT_EQ(closing.status().code(), StatusCode::kAborted) << closing.status();
  EXPECT_THAT(step.Get().status(), Refused(StatusCode::kAborted, "ROUND_DROPPED"));
  EXPECT_FALSE(reader.ready());
  EXPECT_EQ(Weights(model_.get()), Constant(10, 0));
  ASSERT_TRUE(a_.Push(Constant(10, 1)).ok());
  ASSERT_TRUE(b_.Push(Constant(10, 1)).ok());
  EXPECT_TRUE(reader.Get().ok());
}

// The wait may begin after the end: then there is nobody left to tell, unless the engine remembers.
TEST_F(DroppedRound, EndsTheWaitThatComesTooLateToSeeIt) {
  const absl::StatusOr<PushAnswer> lost = a_.Push(Constant(10, kHuge));
  ASSERT_TRUE(lost.ok());
  EXPECT_FALSE(b_.Push(Constant(10, kHuge)).ok());
  const absl::StatusOr<PushAnswer> next = a_.Push(Constant(10, 1));
  ASSERT_TRUE(next.ok());
  EXPECT_EQ(next->version, lost->version) << "nothing was committed in between";
  Wait late, fresh;
  const auto cancel_late = model_->WaitNewer(lost->version, lost->rounds_dropped, late.done());
  const auto cancel_fresh = model_->WaitNewer(next->version, next->rounds_dropped, fresh.done());
  EXPECT_THAT(late.Get().status(), Refused(StatusCode::kAborted, "ROUND_DROPPED"));
  EXPECT_FALSE(fresh.ready()) << "its round is open";
  ASSERT_TRUE(b_.Push(Constant(10, 1)).ok());
  EXPECT_TRUE(fresh.Get().ok());
  Wait later_still;
  const auto cancel = model_->WaitNewer(lost->version, lost->rounds_dropped, later_still.done());
  EXPECT_THAT(later_still.Get().status(), Refused(StatusCode::kAborted, "ROUND_DROPPED"))
      << "the newer version is without it";
}

TEST_F(DroppedRound, ARepeatOfItsPushHearsThatItHasNoEffect) {
  const std::vector<std::byte> bytes = BytesOfFloats(Constant(10, kHuge));
  const UploadRequest request = a_.Next(bytes.size());
  ASSERT_TRUE(a_.Send(request, bytes).ok());
  EXPECT_FALSE(b_.Push(Constant(10, kHuge)).ok());
  EXPECT_THAT(StartUpload(model_.get(), request).status(), Refused(StatusCode::kAborted, "ROUND_DROPPED"));
}

TEST_F(DroppedRound, APushThatWaitedForItIsInTheNextOne) {
  ASSERT_TRUE(a_.Push(Constant(10, kHuge)).ok());
  const std::vector<std::byte> bytes = BytesOfFloats(Constant(10, 1));
  const absl::StatusOr<UploadStart> early = StartUpload(model_.get(), a_.Next(bytes.size()));
  ASSERT_TRUE(early.ok());
  ASSERT_TRUE(AddAll(early->upload.get(), bytes).ok());
  Later<PushAnswer> answer;
  early->upload->Finish(answer.done());
  EXPECT_FALSE(b_.Push(Constant(10, kHuge)).ok());
  const absl::StatusOr<PushAnswer> buffered = answer.Get();
  ASSERT_TRUE(buffered.ok());
  EXPECT_EQ(buffered->outcome, PushOutcome::kBuffered);
  Wait wait;
  const auto cancel = model_->WaitNewer(buffered->version, buffered->rounds_dropped, wait.done());
  EXPECT_FALSE(wait.ready());
  ASSERT_TRUE(b_.Push(Constant(10, 1)).ok());
  EXPECT_TRUE(wait.Get().ok());
  EXPECT_EQ(Weights(model_.get()), Constant(10, -1));
}

}  // namespace
}  // namespace stepback
