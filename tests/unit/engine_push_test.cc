// Pushes and pulls of whole models through Engine and Handle, on the real CPU back-end; expected values in
// closed form.
#include <gtest/gtest.h>

#include <limits>

#include "tests/unit/engine_fixture.h"

namespace stepback {
namespace {

using absl::StatusCode;

TEST(EnginePush, ADeltaModelStepsWhenEveryWorkerHasContributed) {
  EngineFixture server;
  const auto model = server.Create(DeltaSpec("lm", {100, 7}), Constant(107, 5));
  Worker a(model, "a"), b(model, "b");
  const absl::StatusOr<PushAnswer> first = a.Push(Constant(107, 1));
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_EQ(first->outcome, PushOutcome::kBuffered);
  EXPECT_EQ(Weights(model.get()), Constant(107, 5)) << "nothing is published before the round closes";
  EXPECT_NE(model->WaitingFor().find("b"), std::string::npos) << model->WaitingFor();

  const absl::StatusOr<PushAnswer> second = b.Push(Constant(107, 3));
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_EQ(second->outcome, PushOutcome::kApplied);
  EXPECT_EQ(second->version, (Version{1, 1}));
  EXPECT_EQ(Weights(model.get()), Constant(107, 3)) << "5 - (1 + 3) / 2";
  EXPECT_EQ(model->WaitingFor(), "");
  EXPECT_EQ(model->Info().version->outer_steps, 1u);
}

TEST(EnginePush, AGradientModelStepsInsideAndMergesEveryK) {
  EngineFixture server;
  const auto model =
      server.Create(GradientSpec("lm", {40}, /*sync_period=*/2, /*alpha=*/0.5), Constant(40, 8));
  Worker worker(model, "w");
  ASSERT_TRUE(worker.Push(Constant(40, 1)).ok());
  EXPECT_EQ(Weights(model.get(), View::kTrain), Constant(40, 7));
  EXPECT_EQ(Weights(model.get(), View::kEval), Constant(40, 8));
  const absl::StatusOr<PushAnswer> second = worker.Push(Constant(40, 3));
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_EQ(second->inner_steps, 2u);
  EXPECT_EQ(second->outer_steps, 1u);
  EXPECT_EQ(Weights(model.get(), View::kEval), Constant(40, 6)) << "8 + 0.5 (4 - 8)";
  EXPECT_EQ(Weights(model.get(), View::kTrain), Constant(40, 6)) << "theta goes back to phi";
}

TEST(EnginePush, ABf16PushIsDecoded) {
  EngineFixture server;
  const auto model = server.Create(DeltaSpec("lm", {1000}), Constant(1000, 4));
  Worker worker(model, "w");
  UploadRequest request = worker.Next(2000);
  request.header.codec = kernels::FindCodec("bf16")->id;
  std::vector<std::byte> bytes(2000);
  kernels::FindCodec("bf16")->encode(Constant(1000, 1.5f).data(), 1000, bytes.data());
  ASSERT_TRUE(worker.Send(request, bytes).ok());
  EXPECT_EQ(Weights(model.get()), Constant(1000, 2.5f));
}

TEST(EnginePush, RolesTravelAsTheySay) {
  EngineFixture server;
  ModelSpec spec = DeltaSpec("roles", {4});
  spec.tensors.push_back({.name = "mean", .shape = {2}, .role = Role::kAveraged});
  spec.tensors.push_back({.name = "steps", .shape = {}, .dtype = DataType::kI64, .role = Role::kCarried});
  spec.tensors.push_back({.name = "base", .shape = {3}, .role = Role::kFrozen});
  std::vector<std::byte> weights = BytesOfFloats(Constant(6, 2));
  const auto append = [](std::vector<std::byte>* to, const void* from, size_t size) {
    const auto* bytes = static_cast<const std::byte*>(from);
    to->insert(to->end(), bytes, bytes + size);
  };
  int64_t steps = 41;
  append(&weights, &steps, 8);
  const std::vector<float> base = {7, 8, 9};
  append(&weights, base.data(), 12);
  const auto model = server.Create(spec, weights);
  EXPECT_EQ(*ReadAll(model.get(), {}), weights);

  Worker worker(model, "w");
  std::vector<std::byte> push = BytesOfFloats(Constant(6, 1));
  steps = 42;
  append(&push, &steps, 8);
  const absl::StatusOr<PushAnswer> answer = worker.Send(worker.Next(push.size()), push);
  ASSERT_TRUE(answer.ok()) << answer.status();
  std::vector<std::byte> expected = BytesOfFloats(Constant(6, 1));
  append(&expected, &steps, 8);
  append(&expected, base.data(), 12);
  EXPECT_EQ(*ReadAll(model.get(), {}), expected);
}

TEST(EnginePush, ARepeatedPushHasOneEffectAndTheFirstAnswer) {
  EngineFixture server;
  ModelSpec spec = DeltaSpec("lm", {10});
  spec.rounds.policy = RoundPolicy::kAsync;
  const auto model = server.Create(spec, Constant(10, 5));
  Worker worker(model, "w");
  const std::vector<std::byte> bytes = BytesOfFloats(Constant(10, 1));
  const UploadRequest request = worker.Next(bytes.size());
  const absl::StatusOr<PushAnswer> first = worker.Send(request, bytes);
  ASSERT_TRUE(first.ok()) << first.status();
  ASSERT_TRUE(worker.Push(Constant(10, 1)).ok());
  const std::string hash = HashOf(model.get());

  const absl::StatusOr<UploadStart> repeated = StartUpload(model.get(), request);
  ASSERT_TRUE(repeated.ok()) << repeated.status();
  EXPECT_EQ(repeated->upload, nullptr) << "answered from the header, without the payload";
  ASSERT_TRUE(repeated->duplicate);
  EXPECT_EQ(repeated->duplicate->outcome, PushOutcome::kDuplicate);
  EXPECT_EQ(repeated->duplicate->first_outcome, first->outcome);
  EXPECT_EQ(repeated->duplicate->version, first->version);
  EXPECT_EQ(HashOf(model.get()), hash);
}

TEST(EnginePush, ARepeatedRefusalIsTheSameRefusal) {
  EngineFixture server;
  const auto model = server.Create(DeltaSpec("lm", {10}), Constant(10, 5));
  Worker worker(model, "w");
  std::vector<float> values = Constant(10, 1);
  values[9] = std::numeric_limits<float>::quiet_NaN();
  const std::vector<std::byte> bytes = BytesOfFloats(values);
  const UploadRequest request = worker.Next(bytes.size());
  const absl::Status first = worker.Send(request, bytes).status();
  EXPECT_THAT(first, Refused(StatusCode::kInvalidArgument, "NONFINITE"));
  EXPECT_EQ(StartUpload(model.get(), request).status(), first);
  EXPECT_EQ(Weights(model.get()), Constant(10, 5));
  ASSERT_TRUE(worker.Push(Constant(10, 1)).ok()) << "its number is used up, the next one is taken";
}

TEST(EnginePush, ADuplicateThatComesWhileTheFirstIsPendingGetsItsAnswer) {
  EngineFixture server;
  const auto model = server.Create(DeltaSpec("lm", {10}), Constant(10, 5));
  Worker a(model, "a"), b(model, "b");
  const std::vector<std::byte> bytes = BytesOfFloats(Constant(10, 1));
  ASSERT_TRUE(a.Send(a.Next(bytes.size()), bytes).ok());  // in the open round
  // The next push of `a` waits in the core until the round closes.
  const UploadRequest early = a.Next(bytes.size());
  const absl::StatusOr<UploadStart> start = StartUpload(model.get(), early);
  ASSERT_TRUE(start.ok()) << start.status();
  ASSERT_TRUE(AddAll(start->upload.get(), bytes).ok());
  Later<PushAnswer> answer;
  start->upload->Finish(answer.done());
  Later<UploadStart> repeat;
  const auto cancel = model->StartUpload(early, repeat.done());
  server.Quiesce(model.get());
  EXPECT_FALSE(answer.ready());
  EXPECT_FALSE(repeat.ready());
  ASSERT_TRUE(b.Push(Constant(10, 1)).ok());
  EXPECT_EQ(answer.Get()->outcome, PushOutcome::kBuffered);
  const absl::StatusOr<UploadStart> repeated = repeat.Get();
  ASSERT_TRUE(repeated.ok() && repeated->duplicate);
  EXPECT_EQ(repeated->duplicate->first_outcome, PushOutcome::kBuffered);
}

TEST(EnginePush, PushesOfOneClientAreDecidedInSequenceOrder) {
  EngineFixture server;
  ModelSpec spec = DeltaSpec("lm", {10});
  spec.rounds.policy = RoundPolicy::kAsync;
  const auto model = server.Create(spec, Constant(10, 5));
  Worker worker(model, "w");
  const std::vector<std::byte> bytes = BytesOfFloats(Constant(10, 1));
  const UploadRequest one = worker.Next(bytes.size()), two = worker.Next(bytes.size());
  const absl::StatusOr<UploadStart> first = StartUpload(model.get(), one),
                                    second = StartUpload(model.get(), two);
  ASSERT_TRUE(first.ok() && second.ok());
  ASSERT_TRUE(AddAll(second->upload.get(), bytes).ok());
  Later<PushAnswer> second_answer;
  second->upload->Finish(second_answer.done());
  server.Quiesce(model.get());
  EXPECT_FALSE(second_answer.ready());
  ASSERT_TRUE(AddAll(first->upload.get(), bytes).ok());
  const absl::StatusOr<PushAnswer> first_answer =
      Await<PushAnswer>([&](Done<PushAnswer> done) { first->upload->Finish(done); });
  EXPECT_EQ(first_answer->version.counter, 1u);
  EXPECT_EQ(second_answer.Get()->version.counter, 2u);
}

TEST(EnginePush, APushOfAnEndedOrUnknownSessionIsRefusedFromItsHeader) {
  EngineFixture server;
  const auto model = server.Create(DeltaSpec("lm", {10}), Constant(10, 5));
  Worker worker(model, "w");
  UploadRequest request = worker.Next(40);
  request.header.client_id = "stranger";
  EXPECT_THAT(StartUpload(model.get(), request).status(), Refused(StatusCode::kNotFound, "NO_SESSION"));
  request.header.client_id = "w";
  request.header.epoch = worker.epoch() + 1;
  EXPECT_THAT(StartUpload(model.get(), request).status(), Refused(StatusCode::kNotFound, "NO_SESSION"));
  request.header.epoch = worker.epoch();
  ASSERT_TRUE(worker.Open().ok());
  EXPECT_THAT(StartUpload(model.get(), request).status(), Refused(StatusCode::kFailedPrecondition, "FENCED"));

  ASSERT_TRUE(AwaitStatus([&](auto done) { model->Evict("w", done); }).ok());
  request.header.epoch = worker.epoch();
  EXPECT_THAT(StartUpload(model.get(), request).status(), Refused(StatusCode::kFailedPrecondition, "FENCED"));
  ASSERT_TRUE(worker.Open().ok());
  request.header.epoch = worker.epoch();
  ASSERT_TRUE(AwaitStatus([&](auto done) { model->Close("w", worker.epoch(), done); }).ok());
  EXPECT_THAT(StartUpload(model.get(), request).status(), Refused(StatusCode::kNotFound, "NO_SESSION"));

  Worker reader(model, "r", SessionRole::kReader);
  EXPECT_THAT(StartUpload(model.get(), reader.Next(40)).status(),
              Refused(StatusCode::kFailedPrecondition, "READER_SESSION"));
}

TEST(EnginePush, ASessionWithoutLifeEndsAndTheRoundGoesOnWithoutIt) {
  EngineFixture server;
  const auto model = server.Create(DeltaSpec("lm", {10}), Constant(10, 5));
  Worker a(model, "a"), b(model, "b");
  ASSERT_TRUE(a.Push(Constant(10, 1)).ok());
  server.clock.Advance(std::chrono::seconds(50));
  ASSERT_TRUE(Await<HeartbeatAnswer>([&](auto done) { model->Heartbeat("a", a.epoch(), {}, done); }).ok());
  EXPECT_EQ(model->Info().version->version.counter, 0u);
  server.Advance(model.get(), std::chrono::seconds(11));
  EXPECT_EQ(model->Info().version->version.counter, 1u) << "b's lease has ended";
  EXPECT_EQ(Weights(model.get()), Constant(10, 4));
  EXPECT_THAT(StartUpload(model.get(), b.Next(40)).status(),
              Refused(StatusCode::kFailedPrecondition, "SESSION_EXPIRED"));
}

TEST(EnginePush, ALongUploadKeepsItsLease) {
  EngineFixture server;
  const auto model = server.Create(DeltaSpec("lm", {1000}), Constant(1000, 5));
  Worker worker(model, "w");
  const std::vector<std::byte> bytes = BytesOfFloats(Constant(1000, 1));
  const absl::StatusOr<UploadStart> start = StartUpload(model.get(), worker.Next(bytes.size()));
  ASSERT_TRUE(start.ok());
  for (size_t at = 0; at < bytes.size(); at += 400) {
    server.Advance(model.get(), std::chrono::seconds(40));
    const std::vector<std::byte> chunk(bytes.begin() + at, bytes.begin() + at + 400);
    ASSERT_TRUE(start->upload->AddChunk(at, Crc32c(chunk.data(), 400), PayloadOf(chunk)).ok()) << at;
    server.Quiesce(model.get());
  }
  EXPECT_TRUE(Await<PushAnswer>([&](auto done) { start->upload->Finish(done); }).ok());
}

TEST(EnginePush, AnUpdateReachesTheNextStepAndItsVersion) {
  EngineFixture server;
  const auto model = server.Create(DeltaSpec("lm", {10}), Constant(10, 5));
  Worker worker(model, "w");
  const auto update = [&](uint64_t expected, double alpha) {
    return Await<ModelInfo>([&](auto done) { model->Update({{"outer.alpha", alpha}}, expected, done); });
  };
  absl::StatusOr<ModelInfo> info = update(1, 0.5);
  ASSERT_TRUE(info.ok()) << info.status();
  EXPECT_EQ(info->version->settings_version, 2u);
  EXPECT_THAT(update(1, 0.25).status(), Refused(StatusCode::kAborted, "SETTINGS_CONFLICT"));
  EXPECT_EQ(update(0, 7).status().code(), StatusCode::kInvalidArgument);
  ASSERT_TRUE(worker.Push(Constant(10, 2)).ok());
  EXPECT_EQ(Weights(model.get()), Constant(10, 4));
}

}  // namespace
}  // namespace stepback
