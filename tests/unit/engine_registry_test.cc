// Models by name: created whole or not at all, found, listed, deleted, and bounded.
#include <gtest/gtest.h>

#include <fstream>

#include "server/engine/creation_check.h"
#include "tests/fakes/device_backend.h"
#include "tests/unit/engine_fixture.h"

namespace stepback {
namespace {

using absl::StatusCode;
using std::chrono::seconds;

const std::vector<std::byte> kTen = BytesOfFloats(Constant(10, 5));

absl::Status AddWeights(CreateUpload* upload, const std::vector<std::byte>& bytes) {
  return upload->AddChunk(0, Crc32c(bytes.data(), bytes.size()), PayloadOf(bytes));
}
absl::StatusOr<Created> Finish(CreateUpload* upload) {
  return Await<Created>([&](Done<Created> done) { upload->Finish(done); });
}

TEST(EngineRegistry, AModelIsSeenWhenItsWeightsAreWhole) {
  EngineFixture server;
  auto upload = *server.engine->StartCreate(DeltaSpec("lm", {10}), false, 0, 40);
  EXPECT_THAT(server.engine->Find("lm").status(), Refused(StatusCode::kNotFound, "MODEL_NOT_FOUND"));
  ASSERT_TRUE(AddWeights(upload.get(), kTen).ok());
  EXPECT_FALSE(server.engine->Find("lm").ok());
  const absl::StatusOr<Created> created = Finish(upload.get());
  ASSERT_TRUE(created.ok()) << created.status();
  EXPECT_TRUE(created->created);
  EXPECT_EQ(Weights((*server.engine->Find("lm")).get()), Constant(10, 5));
  EXPECT_EQ(server.engine->List().size(), 1u);
}

TEST(EngineRegistry, ZerosNeedNoChunks) {
  EngineFixture server;
  ModelSpec spec = DeltaSpec("lm", {10, 3});
  spec.tensors.push_back({.name = "n", .shape = {}, .dtype = DataType::kI64, .role = Role::kCarried});
  EXPECT_THAT(server.engine->StartCreate(spec, true, 0, 60).status(),
              Refused(StatusCode::kInvalidArgument, "SIZE_MISMATCH"));
  auto upload = *server.engine->StartCreate(spec, true, 0, 0);
  const absl::StatusOr<Created> created = Finish(upload.get());
  ASSERT_TRUE(created.ok()) << created.status();
  EXPECT_EQ(*ReadAll(created->handle.get(), {}), std::vector<std::byte>(60));
}

TEST(EngineRegistry, InitialWeightsMayComeInAnotherCodec) {
  EngineFixture server;
  const kernels::CodecInfo& bf16 = *kernels::FindCodec("bf16");
  std::vector<std::byte> bytes(200'000);
  bf16.encode(Constant(100'000, 1.5f).data(), 100'000, bytes.data());
  auto upload = *server.engine->StartCreate(DeltaSpec("lm", {100'000}), false, bf16.id, bytes.size());
  for (size_t at = 0; at < bytes.size(); at += 40'000) {
    const std::vector<std::byte> chunk(bytes.begin() + at, bytes.begin() + at + 40'000);
    ASSERT_TRUE(upload->AddChunk(at, Crc32c(chunk.data(), chunk.size()), SlicedPayload(chunk, 777)).ok());
  }
  const absl::StatusOr<Created> created = Finish(upload.get());
  ASSERT_TRUE(created.ok()) << created.status();
  EXPECT_EQ(Weights(created->handle.get()), Constant(100'000, 1.5f));
}

TEST(EngineRegistry, TheSameModelAgainIsTheModelThatIsThere) {
  EngineFixture server;
  server.Create(DeltaSpec("lm", {10}), Constant(10, 5));
  const absl::StatusOr<Created> again =
      server.TryCreate(DeltaSpec("lm", {10}), BytesOfFloats(Constant(10, 99)));
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_FALSE(again->created);
  EXPECT_EQ(Weights(again->handle.get()), Constant(10, 5)) << "phi_0 is the first one's";
}

TEST(EngineRegistry, AnotherModelUnderTheNameIsRefused) {
  EngineFixture server;
  server.Create(DeltaSpec("lm", {10}), Constant(10, 5));
  EXPECT_THAT(server.TryCreate(DeltaSpec("lm", {5, 5}), kTen).status(),
              Refused(StatusCode::kAlreadyExists, "MODEL_EXISTS"));
  EXPECT_THAT(server.TryCreate(GradientSpec("lm", {10}), kTen).status(),
              Refused(StatusCode::kAlreadyExists, "MODEL_EXISTS"));
}

TEST(EngineRegistry, AModelIsTheSameAfterAnOperatorChangedItsSettings) {
  EngineFixture server;
  const auto model = server.Create(DeltaSpec("lm", {10}), Constant(10, 5));
  ASSERT_TRUE(Await<ModelInfo>([&](auto done) {
                model->Update({{"outer.alpha", 0.5}, {"rounds.quorum", 2}}, 0, done);
              }).ok());
  const absl::StatusOr<Created> again = server.TryCreate(DeltaSpec("lm", {10}), kTen);
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_FALSE(again->created);
  EXPECT_EQ(again->handle->Info().version->spec->outer.values.at("alpha"), 0.5);
  EXPECT_THAT(server.TryCreate(DeltaSpec("lm", {5, 5}), kTen).status(),
              Refused(StatusCode::kAlreadyExists, "MODEL_EXISTS"));
}

TEST(EngineRegistry, WorkersThatCreateTogetherGetOneModel) {
  EngineFixture server;
  auto first = *server.engine->StartCreate(DeltaSpec("lm", {10}), false, 0, 40);
  auto second = *server.engine->StartCreate(DeltaSpec("lm", {10}), false, 0, 40);
  ASSERT_TRUE(AddWeights(second.get(), BytesOfFloats(Constant(10, 99))).ok());
  Later<Created> follower;
  second->Finish(follower.done());
  EXPECT_FALSE(follower.ready());
  ASSERT_TRUE(AddWeights(first.get(), kTen).ok());
  const absl::StatusOr<Created> created = Finish(first.get());
  ASSERT_TRUE(created.ok());
  EXPECT_TRUE(created->created);
  const absl::StatusOr<Created> followed = follower.Get();
  ASSERT_TRUE(followed.ok()) << followed.status();
  EXPECT_FALSE(followed->created);
  EXPECT_EQ(Weights(followed->handle.get()), Constant(10, 5));
}

TEST(EngineRegistry, ACreatorThatDiesGivesTheNameBackAndTellsTheOthers) {
  EngineFixture server;
  auto first = *server.engine->StartCreate(DeltaSpec("lm", {10}), false, 0, 40);
  auto second = *server.engine->StartCreate(DeltaSpec("lm", {10}), false, 0, 40);
  ASSERT_TRUE(AddWeights(second.get(), kTen).ok());
  Later<Created> follower;
  second->Finish(follower.done());
  first.reset();
  EXPECT_THAT(follower.Get().status(), Refused(StatusCode::kAborted, "CREATE_ABANDONED"));
  EXPECT_TRUE(server.TryCreate(DeltaSpec("lm", {5, 5}), kTen).ok());
  EXPECT_EQ(server.pool.stats().failure_count, 0u);
}

TEST(EngineRegistry, ACreatorThatFallsSilentGivesTheNameBack) {
  EngineFixture server;
  auto first = *server.engine->StartCreate(DeltaSpec("lm", {10}), false, 0, 40);
  server.clock.Advance(seconds(59));
  server.engine->Tick();
  EXPECT_THAT(server.engine->StartCreate(GradientSpec("lm", {10}), false, 0, 40).status(),
              Refused(StatusCode::kAlreadyExists, "MODEL_EXISTS"));
  server.clock.Advance(seconds(1));
  server.engine->Tick();
  EXPECT_THAT(AddWeights(first.get(), kTen), Refused(StatusCode::kAborted, "CREATE_ABANDONED"));
  EXPECT_TRUE(server.TryCreate(GradientSpec("lm", {10}), kTen).ok());
  first.reset();
  EXPECT_TRUE(server.engine->Find("lm").ok()) << "the late end of the first creation touches nothing";
}

TEST(CheckDevice, RulesOnWholeTensorsNeedTheCpu) {
  const auto cpu = kernels::MakeCpuBackend("generic");
  const DeviceBackend device(cpu.get());
  ModelSpec spec = GradientSpec("lm", {10});
  EXPECT_TRUE(CheckDevice(spec, device).ok());
  spec.groups = {{.name = "large", .tensors = {"t0"}, .inner = RuleSpec{.name = "adafactor"}}};
  EXPECT_TRUE(CheckDevice(spec, *cpu).ok());
  const absl::Status refused = CheckDevice(spec, device);
  EXPECT_THAT(refused, Refused(StatusCode::kInvalidArgument, "RULE_NEEDS_CPU"));
  EXPECT_EQ(refused.message(),
            "model 'lm': inner rule 'adafactor' works on whole tensors and runs on the CPU only, this server "
            "computes on fake:0");
}

TEST(EngineRegistry, BadCreationsAreRefusedBeforeAnythingIsAllocated) {
  EngineFixture server;
  const uint64_t used = server.pool.stats().peak_bytes;
  const auto start = [&](const ModelSpec& spec, int codec, uint64_t total) {
    return server.engine->StartCreate(spec, false, codec, total).status();
  };
  EXPECT_THAT(start(DeltaSpec("lm", {10}), 0, 41), Refused(StatusCode::kInvalidArgument, "SIZE_MISMATCH"));
  EXPECT_THAT(start(DeltaSpec("lm", {10}), 0, UINT64_MAX),
              Refused(StatusCode::kInvalidArgument, "SIZE_MISMATCH"));
  const int codecs = static_cast<int>(kernels::Codecs().size());
  EXPECT_THAT(start(DeltaSpec("lm", {10}), codecs, 40),
              Refused(StatusCode::kInvalidArgument, "CODEC_UNKNOWN"));
  EXPECT_EQ(start(DeltaSpec("", {10}), 0, 40).code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(start(DeltaSpec("lm", {uint64_t{1} << 63, 2}), 0, 40).code(), StatusCode::kInvalidArgument);
  ModelSpec spec = DeltaSpec("lm", {10});
  spec.outer.name = "moon";
  EXPECT_EQ(start(spec, 0, 40).code(), StatusCode::kInvalidArgument);
  spec = DeltaSpec("lm", {10});
  spec.durability = Durability::kReplicated;
  EXPECT_EQ(start(spec, 0, 40).code(), StatusCode::kUnimplemented);
  EXPECT_EQ(server.pool.stats().peak_bytes, used);
  EXPECT_TRUE(server.engine->List().empty());
}

TEST(EngineRegistry, BadWeightsAreRefusedAndTheNameIsFreeAgain) {
  EngineFixture server;
  const auto expect_free = [&] {
    EXPECT_TRUE(server.engine->StartCreate(DeltaSpec("lm", {10}), false, 0, 40).ok());
  };
  const auto with = [&](const std::function<absl::Status(CreateUpload*)>& feed) {
    auto upload = *server.engine->StartCreate(DeltaSpec("lm", {10}), false, 0, 40);
    const absl::Status fed = feed(upload.get());
    const absl::Status finished = Finish(upload.get()).status();
    upload.reset();
    server.disk.ResetCalls();
    return fed.ok() ? finished : fed;
  };
  EXPECT_THAT(with([](CreateUpload* u) { return u->AddChunk(0, 1, PayloadOf(kTen)); }),
              Refused(StatusCode::kInvalidArgument, "BAD_CRC"));
  expect_free();
  EXPECT_THAT(with([](CreateUpload* u) { return u->AddChunk(8, Crc32c(kTen.data(), 40), PayloadOf(kTen)); }),
              Refused(StatusCode::kInvalidArgument, "BAD_OFFSET"));
  expect_free();
  EXPECT_THAT(with([](CreateUpload* u) { return AddWeights(u, BytesOfFloats(Constant(11, 1))); }),
              Refused(StatusCode::kInvalidArgument, "TOO_MANY_BYTES"));
  expect_free();
  EXPECT_THAT(with([](CreateUpload* u) { return AddWeights(u, BytesOfFloats(Constant(8, 1))); }),
              Refused(StatusCode::kInvalidArgument, "SIZE_MISMATCH"));
  expect_free();
  EXPECT_EQ(
      with([](CreateUpload* u) { return AddWeights(u, BytesOfFloats(Constant(10, 1.0f / 0.0f))); }).code(),
      StatusCode::kInvalidArgument);
  expect_free();
  EXPECT_TRUE(server.engine->List().empty());
}

TEST(EngineRegistry, ADeletedModelIsGoneFromMemoryAndDisk) {
  EngineFixture server;
  const uint64_t used = server.pool.stats().in_use_bytes;
  {
    const auto model = server.Create(DeltaSpec("lm", {100'000}), Constant(100'000, 5));
    ASSERT_TRUE(AwaitStatus([&](auto done) { server.engine->Delete("lm", done); }).ok());
    EXPECT_THAT(AwaitStatus([&](auto done) { server.engine->Delete("lm", done); }),
                Refused(StatusCode::kNotFound, "MODEL_NOT_FOUND"));
  }
  EXPECT_TRUE(Eventually([&] { return server.pool.stats().in_use_bytes == used; }));
  for (const std::string& file : server.disk.AllFiles())
    EXPECT_EQ(file.find("/lm/"), std::string::npos) << file;
  EXPECT_TRUE(server.TryCreate(GradientSpec("lm", {10}), kTen).ok());
  server.Start();
  EXPECT_EQ(server.engine->List().size(), 1u);
}

TEST(EngineRegistry, TheNumberOfModelsAndTheirMemoryAreBounded) {
  EngineFixture server;
  Engine::Options options = server.Options();
  options.models_max = 2;
  server.Start(options);
  server.Create(DeltaSpec("a", {10}), Constant(10, 1));
  server.Create(DeltaSpec("b", {10}), Constant(10, 1));
  EXPECT_THAT(server.TryCreate(DeltaSpec("c", {10}), kTen).status(),
              Refused(StatusCode::kResourceExhausted, "MODELS_FULL"));
  EXPECT_TRUE(server.TryCreate(DeltaSpec("a", {10}), kTen).ok()) << "that one is there";

  options = server.Options();
  options.memory_bytes_max = 300 << 20;
  server.Start(options);
  ModelSpec big = DeltaSpec("big", {40'000'000});
  EXPECT_THAT(server.engine->StartCreate(big, true, 0, 0).status(),
              Refused(StatusCode::kResourceExhausted, "MEMORY_FULL"));
}

TEST(EngineRegistry, NoMemoryFailsOneCreationAndLeavesNothing) {
  EngineFixture server;
  const uint64_t used = server.pool.stats().in_use_bytes;
  int failures = 0;
  for (int n = 1; n < 50; ++n) {
    server.pool.FailAllocation(n);
    ModelSpec spec = GradientSpec("lm", {1000});
    spec.inner = {.name = "adam"};
    const absl::StatusOr<Created> created = server.TryCreate(spec, BytesOfFloats(Constant(1000, 1)));
    server.pool.FailAllocation(0);
    if (created.ok()) break;
    ++failures;
    EXPECT_EQ(created.status().code(), StatusCode::kResourceExhausted) << created.status();
    // A failed creation may still be cleaning up.
    while (absl::IsUnavailable(server.engine->StartCreate(spec, false, 0, 4000).status()))
      std::this_thread::yield();
    EXPECT_TRUE(Eventually([&] { return server.pool.stats().in_use_bytes == used; })) << "allocation " << n;
  }
  EXPECT_GT(failures, 2);
  EXPECT_TRUE(server.engine->Find("lm").ok());
}

int ThreadsOfThisProcess() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.rfind("Threads:", 0) == 0) return std::stoi(line.substr(8));
  }
  return -1;
}

TEST(EngineRegistry, AThousandModelsAreNotAThousandThreads) {
  EngineFixture server("");
  const int before = ThreadsOfThisProcess();
  ASSERT_GT(before, 0);
  std::vector<std::shared_ptr<Handle>> models;
  for (int i = 0; i < 1000; ++i) {
    models.push_back(server.Create(DeltaSpec("m" + std::to_string(i), {10}), Constant(10, 5)));
    ASSERT_NE(models.back(), nullptr);
  }
  std::vector<std::unique_ptr<Worker>> workers;
  for (const auto& model : models) workers.push_back(std::make_unique<Worker>(model, "w"));
  for (auto& worker : workers) ASSERT_TRUE(worker->Push(Constant(10, 1)).ok());
  for (const auto& model : models) EXPECT_EQ(Weights(model.get()), Constant(10, 4));
  EXPECT_EQ(ThreadsOfThisProcess(), before);
}

}  // namespace
}  // namespace stepback
