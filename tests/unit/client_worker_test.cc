// What a worker does while nothing goes wrong.
#include <cstring>
#include <thread>

#include "tests/unit/client_fixture.h"

namespace stepback::client {
namespace {

using ClientWorker = ClientFixture;

std::vector<float> Floats(std::span<const float> values) { return {values.begin(), values.end()}; }

TEST_F(ClientWorker, PullsTheWeightsThatTheModelWasCreatedWith) {
  const Model model = MakeModel(Definition());
  EXPECT_TRUE(model.created());
  EXPECT_EQ(model.elements(), 12u);
  auto worker = model.Join("a").value();
  Trainer trainer(model);
  const PullInfo pulled = worker->Pull(trainer.weights.sinks()).value();
  EXPECT_EQ(pulled.version, (Version{1, 0}));
  EXPECT_EQ(Floats(trainer.weights.floats(0)), (std::vector<float>{0, 1, 2, 3, 4, 5}));
  EXPECT_EQ(Floats(trainer.weights.floats(3)), (std::vector<float>{300, 301, 302}));
  EXPECT_EQ(worker->base_version(), (Version{1, 0}));
}

TEST_F(ClientWorker, AStepPushesBaseMinusWeightsAndReturnsTheNewVersion) {
  const Model model = MakeModel(Definition());
  auto worker = model.Join("a").value();
  Trainer trainer(model);
  ASSERT_OK(worker->Pull(trainer.weights.sinks()));
  trainer.Add(0, 0.5f);   // trained: the server applies w -= (base - w)
  trainer.Add(1, -2.0f);  // averaged likewise
  const int64_t steps = 77;
  std::memcpy(trainer.weights.bytes(2).data(), &steps, 8);
  trainer.Add(3, 9.0f);  // frozen: not pushed
  const StepResult step =
      worker->Step(trainer.weights.data(), trainer.weights.sinks(), {.samples = 5}).value();
  EXPECT_EQ(step.outcome, Outcome::kApplied);
  EXPECT_EQ(step.pull.version, (Version{1, 1}));
  EXPECT_EQ(step.pull.samples, 5u);
  EXPECT_EQ(Floats(trainer.weights.floats(0)), (std::vector<float>{0.5, 1.5, 2.5, 3.5, 4.5, 5.5}));
  EXPECT_EQ(Floats(trainer.weights.floats(1)), (std::vector<float>{98, 99}));
  int64_t carried = 0;
  std::memcpy(&carried, trainer.weights.bytes(2).data(), 8);
  EXPECT_EQ(carried, 77);
  EXPECT_EQ(Floats(trainer.weights.floats(3)), (std::vector<float>{300, 301, 302}));
  EXPECT_EQ(fake_.last_push().sequence(), 1u);
  EXPECT_EQ(fake_.last_push().kind(), v1::PUSH_KIND_DELTA);
}

// The caller pushes weights as ever; what travels is up to the model.
TEST_F(ClientWorker, ModelsThatTakeWeightsGetThemAsTheyAre) {
  ModelDefinition definition = Definition(SmallTable(), Mode::kDelta, RoundPolicy::kAsync);
  definition.outer.emplace().name = "fed_async";
  const Model model = MakeModel(definition);
  auto worker = model.Join("a").value();
  EXPECT_TRUE(worker->settings().takes_weights);
  Trainer trainer(model);
  ASSERT_OK(worker->Pull(trainer.weights.sinks()));
  trainer.Add(0, 0.5f);
  trainer.Add(1, -2.0f);
  ASSERT_OK(worker->PushWeights(trainer.weights.data()));
  EXPECT_EQ(fake_.last_push().kind(), v1::PUSH_KIND_WEIGHTS);
  EXPECT_EQ(fake_.floats(0), Floats(trainer.weights.floats(0)));
  EXPECT_EQ(fake_.floats(1), Floats(trainer.weights.floats(1)));
  trainer.Add(0, 1.0f);
  ASSERT_OK(worker->Step(trainer.weights.data(), trainer.weights.sinks()));
  EXPECT_EQ(fake_.last_push().kind(), v1::PUSH_KIND_WEIGHTS);
  EXPECT_EQ(fake_.floats(0), (std::vector<float>{1.5, 2.5, 3.5, 4.5, 5.5, 6.5}));
  EXPECT_EQ(worker->PushWeights(trainer.weights.data(), {.loss_scale = 2}).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(model.Join("b", {.push_codec = "sign"}).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(model.Join("b", {.push_codec = "int8", .error_feedback = true}).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST_F(ClientWorker, ManyStepsInPlaceFollowTheClosedForm) {
  const Model model = MakeModel(Definition({{"w", {5000}}}));
  auto worker = model.Join("a").value();
  Trainer trainer(model);
  ASSERT_OK(worker->Pull(trainer.weights.sinks()));
  for (int i = 0; i < 20; ++i) {
    trainer.Add(0, 0.25f);
    ASSERT_OK(worker->Step(trainer.weights.data(), trainer.weights.sinks()));
  }
  for (size_t i = 0; i < 5000; ++i) ASSERT_EQ(trainer.weights.floats(0)[i], static_cast<float>(i) + 5.0f);
  const Statistics stats = worker->statistics();
  EXPECT_EQ(stats.steps, 20u);
  EXPECT_EQ(stats.pushes, 20u);
  EXPECT_EQ(stats.pulls, 21u);
  EXPECT_EQ(stats.payload_bytes_sent, 20u * 20000);
  EXPECT_EQ(stats.payload_bytes_received, 21u * 20000);
  EXPECT_GT(stats.wire_bytes_sent, stats.payload_bytes_sent);
  EXPECT_EQ(stats.resyncs + stats.duplicates + stats.reconnects + stats.lost, 0u);
}

TEST_F(ClientWorker, GradientsGoAsTheyAreAndAveragedTensorsAsValues) {
  const Model model = MakeModel(Definition(SmallTable(), Mode::kGradient, RoundPolicy::kAsync));
  auto worker = model.Join("a").value();
  Trainer trainer(model), gradient(model);
  ASSERT_OK(worker->Pull(trainer.weights.sinks()));
  for (float& g : gradient.weights.floats(0)) g = 20;  // 10 x loss scale 2
  gradient.weights.floats(1)[0] = 90;
  gradient.weights.floats(1)[1] = 80;
  const PushResult push = worker->PushGradient(gradient.weights.data(), {.loss_scale = 2}).value();
  EXPECT_EQ(push.outcome, Outcome::kApplied);
  EXPECT_EQ(push.version, (Version{1, 1}));
  EXPECT_EQ(fake_.floats(0)[0], -1.0f);  // 0 - 0.1 x 20 / 2
  EXPECT_EQ(fake_.floats(1)[0], 90.0f);  // 100 - (100 - 90)
  EXPECT_EQ(fake_.floats(1)[1], 80.0f);
}

TEST_F(ClientWorker, AStepWithGradientsReturnsTheFastWeights) {
  const Model model = MakeModel(Definition({{"w", {3}}}, Mode::kGradient));
  auto worker = model.Join("a").value();
  Trainer trainer(model), gradient(model);
  ASSERT_OK(worker->Pull(trainer.weights.sinks()));
  for (float& g : gradient.weights.floats(0)) g = 10;
  ASSERT_OK(worker->StepGradient(gradient.weights.data(), trainer.weights.sinks()));
  EXPECT_EQ(Floats(trainer.weights.floats(0)), (std::vector<float>{-1, 0, 1}));
}

TEST_F(ClientWorker, AbsentTensorsAreLeftAlone) {
  const Model model = MakeModel(Definition());
  auto worker = model.Join("a").value();
  Trainer trainer(model);
  ASSERT_OK(worker->Pull(trainer.weights.sinks()));
  trainer.Add(0, 1);
  trainer.Add(1, 1);
  std::vector<TensorData> data(trainer.weights.data().begin(), trainer.weights.data().end());
  data[1] = {};
  data[3] = {};
  ASSERT_OK(worker->Step(data, trainer.weights.sinks()));
  EXPECT_EQ(trainer.first(0), 1.0f);
  EXPECT_EQ(trainer.first(1), 100.0f);
  EXPECT_EQ(fake_.last_push().present(), std::string(1, 0b0101));
}

TEST_F(ClientWorker, TensorsWithoutSinksAreNotSent) {
  const Model model = MakeModel(Definition());
  auto worker = model.Join("a").value();
  Trainer trainer(model);
  std::vector<TensorSink> sinks(trainer.weights.sinks().begin(), trainer.weights.sinks().end());
  sinks[3] = {};  // the frozen tensor is known already
  const PullInfo pulled = worker->Pull(sinks).value();
  EXPECT_EQ(pulled.payload_bytes, 24u + 8 + 8);
  EXPECT_EQ(trainer.first(3), 0.0f);
  EXPECT_EQ(trainer.first(1), 100.0f);
}

TEST_F(ClientWorker, Bf16GoesBothWays) {
  const Model model = MakeModel(Definition({{"w", {1000}}}));
  auto worker = model.Join("a", {.push_codec = "bf16", .pull_codec = "bf16"}).value();
  Trainer trainer(model);
  ASSERT_OK(worker->Pull(trainer.weights.sinks()));
  trainer.Add(0, 0.5f);
  const StepResult step = worker->Step(trainer.weights.data(), trainer.weights.sinks()).value();
  EXPECT_EQ(step.pull.payload_bytes, 2000u);
  EXPECT_EQ(fake_.floats(0)[3], 3.5f);
  EXPECT_EQ(worker->statistics().payload_bytes_sent, 2000u);
}

// 0.5 + 2^-9 is 0.5 in bf16: without feedback the rest is lost in every push.
TEST_F(ClientWorker, ErrorFeedbackLosesNothingOverTwoPushes) {
  const Model model = MakeModel(Definition({{"w", {5000}}}));
  for (const bool feedback : {false, true}) {
    const std::string id = feedback ? "with" : "without";
    auto worker = model.Join(id, {.push_codec = "bf16", .error_feedback = feedback}).value();
    Trainer trainer(model);
    ASSERT_OK(worker->Pull(trainer.weights.sinks()));
    const float before = trainer.first(0);
    for (int i = 0; i < 10; ++i) {
      trainer.Add(0, 0.5f + 0x1p-9f);
      ASSERT_OK(worker->Step(trainer.weights.data(), trainer.weights.sinks()));
    }
    EXPECT_EQ(trainer.first(0) - before, feedback ? 5 + 10 * 0x1p-9f : 5.0f);
    ASSERT_OK(worker->Close());
  }
}

TEST_F(ClientWorker, ErrorFeedbackIsForDeltasWithoutALossScale) {
  const Model model = MakeModel(Definition({{"w", {64}}}));
  EXPECT_EQ(model.Join("a", {.error_feedback_decay = 1.5}).status().code(),
            absl::StatusCode::kInvalidArgument);
  auto worker = model.Join("a", {.push_codec = "int8", .error_feedback = true}).value();
  Trainer trainer(model);
  ASSERT_OK(worker->Pull(trainer.weights.sinks()));
  EXPECT_EQ(worker->PushWeights(trainer.weights.data(), {.loss_scale = 2}).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST_F(ClientWorker, TwoWorkersMeetInEveryRound) {
  const Model model = MakeModel(Definition({{"w", {64}}}));
  auto a = model.Join("a").value();
  auto b = model.Join("b").value();
  const auto run = [&](Worker* worker, float move) {
    Trainer trainer(model);
    ASSERT_OK(worker->Pull(trainer.weights.sinks()));
    for (int round = 1; round <= 5; ++round) {
      trainer.Add(0, move);
      const StepResult step = worker->Step(trainer.weights.data(), trainer.weights.sinks()).value();
      ASSERT_EQ(step.pull.version, (Version{1, static_cast<uint64_t>(round)}));
    }
  };
  std::thread other([&] { run(b.get(), 3); });
  run(a.get(), 1);
  other.join();
  EXPECT_EQ(fake_.floats(0)[0], 10.0f);  // five rounds of the mean of 1 and 3
}

TEST_F(ClientWorker, TwoRanksArePartsOfOnePush) {
  const Model model = MakeModel(Definition({{"w", {5000}}, {"v", {3000}}}));
  auto rank0 = model.Join("a", {.rank = 0, .ranks = 2}).value();
  auto rank1 = model.Join("a", {.rank = 1, .ranks = 2}).value();
  EXPECT_EQ(rank0->epoch(), rank1->epoch());
  EXPECT_EQ(rank0->ranges(), (std::vector<ElementRange>{{0, 4000}}));
  EXPECT_EQ(rank1->ranges(), (std::vector<ElementRange>{{4000, 4000}}));
  const auto run = [&](Worker* worker) {
    Trainer trainer(model);
    ASSERT_OK(worker->Pull(trainer.weights.sinks()));
    for (int i = 0; i < 3; ++i) {
      trainer.Add(0, 1);
      trainer.Add(1, 1);
      ASSERT_OK(worker->Step(trainer.weights.data(), trainer.weights.sinks()));
    }
    EXPECT_EQ(trainer.weights.floats(0)[4999], 5002.0f);
    EXPECT_EQ(trainer.weights.floats(1)[0], 103.0f);
  };
  std::thread other([&] { run(rank1.get()); });
  run(rank0.get());
  other.join();
  EXPECT_EQ(fake_.applied("a"), (std::vector<uint64_t>{1, 2, 3}));
}

TEST_F(ClientWorker, AShardedRankHoldsItsShardOnly) {
  const Model model = MakeModel(Definition({{"w", {100}}}));
  auto rank0 = model.Join("a", {.rank = 0, .ranks = 2, .pull_ranges_only = true}).value();
  auto rank1 = model.Join("a", {.rank = 1, .ranks = 2, .pull_ranges_only = true}).value();
  const auto run = [&](Worker* worker, uint64_t first) {
    std::vector<float> shard(50);
    const std::vector<TensorData> data = {{shard.data(), 200, first}};
    const std::vector<TensorSink> sinks = {{shard.data(), 200, first}};
    const PullInfo pulled = worker->Pull(sinks).value();
    ASSERT_EQ(pulled.payload_bytes, 200u);
    for (float& w : shard) w *= 2;
    ASSERT_OK(worker->Step(data, sinks));
    ASSERT_EQ(shard[49], 2.0f * static_cast<float>(first + 49));
  };
  std::thread other([&] { run(rank1.get(), 50); });
  run(rank0.get(), 0);
  other.join();
}

TEST_F(ClientWorker, ARankWaitsForRankZeroToOpenTheSession) {
  const Model model = MakeModel(Definition({{"w", {100}}}));
  std::unique_ptr<Worker> rank1;
  std::thread early([&] { rank1 = model.Join("a", {.rank = 1, .ranks = 2}).value(); });
  auto rank0 = model.Join("a", {.rank = 0, .ranks = 2}).value();
  early.join();
  EXPECT_EQ(rank1->epoch(), rank0->epoch());
}

TEST_F(ClientWorker, SequenceNumbersGoOnWhenAWorkerComesBack) {
  const Model model = MakeModel(Definition());
  Trainer trainer(model);
  {
    auto worker = model.Join("a").value();
    ASSERT_OK(worker->Pull(trainer.weights.sinks()));
    ASSERT_OK(worker->PushWeights(trainer.weights.data()));
    ASSERT_OK(worker->Close());
  }
  auto worker = model.Join("a").value();
  EXPECT_EQ(worker->epoch(), 2u);
  EXPECT_EQ(worker->last_sequence(), 1u);
  ASSERT_OK(worker->Pull(trainer.weights.sinks()));
  EXPECT_EQ(worker->PushWeights(trainer.weights.data())->sequence, 2u);
}

TEST_F(ClientWorker, PullsOnlyWhatIsNewer) {
  const Model model = MakeModel(Definition());
  auto worker = model.Join("a").value();
  Trainer trainer(model);
  const PullInfo first = worker->Pull(trainer.weights.sinks()).value();
  const PullInfo again = worker->Pull(trainer.weights.sinks(), {.since = first.version}).value();
  EXPECT_FALSE(again.modified);
  EXPECT_EQ(worker->base_version(), first.version);
  trainer.Add(0, 1);
  ASSERT_OK(worker->PushWeights(trainer.weights.data()));
  EXPECT_TRUE(worker->Pull(trainer.weights.sinks(), {.since = first.version})->modified);
}

TEST_F(ClientWorker, AReaderWaitsForTheNextVersion) {
  const Model model = MakeModel(Definition());
  auto reader = model.Join("r", {.role = SessionRole::kReader}).value();
  auto worker = model.Join("a").value();
  Trainer seen(model), trainer(model);
  ASSERT_OK(reader->Pull(seen.weights.sinks()));
  std::thread waits([&] {
    EXPECT_EQ(reader->Pull(seen.weights.sinks(), {.wait = true})->version, (Version{1, 1}));
  });
  ASSERT_OK(worker->Pull(trainer.weights.sinks()));
  trainer.Add(0, 1);
  ASSERT_OK(worker->Step(trainer.weights.data(), trainer.weights.sinks()));
  waits.join();
  EXPECT_EQ(seen.first(0), 1.0f);
  EXPECT_EQ(reader->PushWeights(seen.weights.data()).status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(ClientWorker, AModelIsPulledWithoutASession) {
  const Model model = MakeModel(Definition());
  Trainer seen(model);
  EXPECT_EQ(model.Pull(seen.weights.sinks())->payload_bytes, 24u + 8 + 8 + 12);
  const std::vector<ElementRange> ranges = {{2, 3}};
  EXPECT_EQ(model.Pull(seen.weights.sinks(), {.ranges = ranges})->payload_bytes, 12u);
  EXPECT_EQ(fake_.Count("open"), 0u);
}

TEST_F(ClientWorker, WatchSeesVersionsUntilItHasEnough) {
  const Model model = MakeModel(Definition());
  auto worker = model.Join("a").value();
  Trainer trainer(model);
  ASSERT_OK(worker->Pull(trainer.weights.sinks()));
  uint64_t last = 0;
  std::thread watches([&] {
    ASSERT_OK(model.Watch([&](const VersionEvent& event) { return (last = event.version.counter) < 2; }));
  });
  ASSERT_OK(worker->Step(trainer.weights.data(), trainer.weights.sinks()));
  ASSERT_OK(worker->Step(trainer.weights.data(), trainer.weights.sinks()));
  watches.join();
  EXPECT_EQ(last, 2u);
}

TEST_F(ClientWorker, HeartbeatsKeepTheLeaseAndCarryHealth) {
  const Model model = MakeModel(Definition());
  auto worker = model.Join("a", {.heartbeat_interval = std::chrono::milliseconds(1)}).value();
  worker->ReportHealth({.train_loss = 3});
  while (fake_.Count("health_loss") != 3) std::this_thread::yield();
  while (worker->statistics().heartbeats < 5) std::this_thread::yield();
  ASSERT_OK(worker->Close());
  const uint64_t arrived = fake_.Count("heartbeat"), answered = worker->statistics().heartbeats;
  EXPECT_GE(arrived, answered);
  EXPECT_LE(arrived, answered + 1) << "leaving cancels the one on its way";
}

TEST_F(ClientWorker, CallsOnTheWrongKindOfModelAreNamed) {
  const Model model = MakeModel(Definition());
  auto worker = model.Join("a").value();
  Trainer trainer(model);
  ASSERT_OK(worker->Pull(trainer.weights.sinks()));
  const absl::Status gradient = worker->PushGradient(trainer.weights.data()).status();
  EXPECT_EQ(gradient.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(gradient.message(), "model 'lm' is in delta mode: push weights, not gradients");
  EXPECT_EQ(fake_.Count("push"), 0u);
}

TEST_F(ClientWorker, WithoutABaseThereIsNothingToPush) {
  const Model model = MakeModel(Definition());
  auto worker = model.Join("a").value();
  Trainer trainer(model);
  const absl::Status status = worker->PushWeights(trainer.weights.data()).status();
  EXPECT_EQ(ErrorReason(status), "NO_BASE");
}

TEST_F(ClientWorker, ACallAfterCloseFails) {
  const Model model = MakeModel(Definition());
  auto worker = model.Join("a").value();
  Trainer trainer(model);
  ASSERT_OK(worker->Close());
  ASSERT_OK(worker->Close());
  EXPECT_EQ(worker->Pull(trainer.weights.sinks()).status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(fake_.Count("close"), 1u);
}

TEST_F(ClientWorker, BadJoinOptionsAreRefusedBeforeAnythingIsSent) {
  const Model model = MakeModel(Definition());
  const auto refused = [&](const JoinOptions& options) { return model.Join("x", options).status().code(); };
  EXPECT_EQ(refused({.rank = 2, .ranks = 2}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(refused({.push_codec = "int3"}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(refused({.ranges = {{3, 9999}}}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(refused({.replay_bytes_max = 5}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(fake_.Count("open"), 0u);
}

TEST_F(ClientWorker, CreatingTheSameModelTwiceOpensIt) {
  const Model first = MakeModel(Definition());
  const absl::StatusOr<Model> second = server_->CreateModel(Definition(), {});
  ASSERT_OK(second);
  EXPECT_FALSE(second->created());
  ModelDefinition other = Definition();
  other.sync_period = 7;
  EXPECT_EQ(ErrorReason(server_->CreateModel(other, {}).status()), "MODEL_EXISTS");
}

TEST_F(ClientWorker, ExportAndImportCarryEveryByte) {
  const Model model = MakeModel(Definition({{"w", {1000}}}));
  std::string file;
  const auto exported = server_->ExportModel("lm", [&](std::span<const std::byte> bytes) {
    file.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    return absl::OkStatus();
  });
  ASSERT_OK(exported);
  EXPECT_EQ(exported->bytes, 4000u);
  EXPECT_EQ(file, fake_.weights()[0]);
  size_t at = 0;
  ASSERT_OK(server_->ImportModel("lm", file.size(), [&](std::span<std::byte> room) -> absl::StatusOr<size_t> {
    const size_t give = std::min<size_t>({room.size(), file.size() - at, 999});
    std::memcpy(room.data(), file.data() + at, give);
    at += give;
    return give;
  }));
  EXPECT_EQ(fake_.Count("imported_bytes"), 4000u);
  const auto dry = [](std::span<std::byte>) -> absl::StatusOr<size_t> { return 0; };
  EXPECT_EQ(server_->ImportModel("lm", 10, dry).status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace stepback::client
