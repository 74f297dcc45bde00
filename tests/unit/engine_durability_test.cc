// What is on disk when, and what comes back: snapshots, recovery, restore, flush, full and broken disks,
// draining.
#include <gtest/gtest.h>

#include "tests/unit/engine_fixture.h"

namespace stepback {
namespace {

using absl::StatusCode;
using std::chrono::seconds;

absl::StatusOr<SnapshotInfo> Save(Handle* model, const std::string& label = "") {
  return Await<SnapshotInfo>([&](auto done) { model->SaveSnapshot(label, done); });
}
absl::StatusOr<std::vector<SnapshotInfo>> List(Handle* model) {
  return Await<std::vector<SnapshotInfo>>([&](auto done) { model->ListSnapshots(done); });
}
absl::StatusOr<ModelInfo> Restore(Handle* model, const std::string& label, uint64_t generation = 0) {
  return Await<ModelInfo>([&](auto done) { model->RestoreSnapshot(label, generation, done); });
}

class EngineDurability : public testing::Test {
 protected:
  static ModelSpec Spec() {
    ModelSpec spec = DeltaSpec("lm", {1000});
    spec.rounds.policy = RoundPolicy::kAsync;
    spec.outer = {.name = "nesterov"};  // with a state array
    return spec;
  }

  EngineDurability()
      : model_(server_.Create(Spec(), Constant(1000, 5))), worker_(std::make_unique<Worker>(model_, "w")) {}

  void Step(float value = 1) { ASSERT_TRUE(worker_->Push(Constant(1000, value)).ok()); }
  // A push that asks to be saved; what is due then is done.
  void SaveSoon(Worker* worker) {
    UploadRequest request = worker->Next(4000);
    request.save_soon = true;
    const absl::StatusOr<PushAnswer> answer = worker->Send(request, BytesOfFloats(Constant(1000, 1)));
    ASSERT_TRUE(answer.ok()) << answer.status();
    DoWhatIsDue();
  }
  void DoWhatIsDue() {
    server_.Quiesce(model_.get());  // what the last answer leaves to do is known
    server_.Advance(model_.get(), seconds(0));
  }
  // The server dies and comes back.
  void Crash() {
    server_.disk.Crash(FakeFileSystem::Unsynced::kLost);
    model_.reset();
    worker_.reset();
    server_.Start();
    absl::StatusOr<std::shared_ptr<Handle>> found = server_.engine->Find("lm");
    ASSERT_TRUE(found.ok()) << found.status();
    model_ = *found;
    worker_ = std::make_unique<Worker>(model_, "w");
  }
  std::vector<std::string> Labels() {
    std::vector<std::string> labels;
    const auto snapshots = List(model_.get());
    for (const SnapshotInfo& info : *snapshots) labels.push_back(info.label);
    return labels;
  }

  EngineFixture server_;
  std::shared_ptr<Handle> model_;
  std::unique_ptr<Worker> worker_;
};

TEST_F(EngineDurability, ANewModelIsOnDiskBeforeItsCreatorHearsOfIt) {
  EXPECT_EQ(model_->Info().durable_version, (Version{1, 0}));
  Crash();
  EXPECT_EQ(Weights(model_.get()), Constant(1000, 5));
}

TEST_F(EngineDurability, ARecoveredModelHasTheSameStateUnderAHigherTerm) {
  Step();
  Step(2);
  const std::vector<float> weights = Weights(model_.get());
  ASSERT_TRUE(Save(model_.get()).ok());
  const Version before = model_->Info().version->version;
  Crash();
  const ModelInfo info = model_->Info();
  EXPECT_EQ(info.version->version, (Version{before.term + 1, before.counter}));
  EXPECT_EQ(info.version->outer_steps, 2u);
  EXPECT_EQ(Weights(model_.get()), weights);
  EXPECT_GT(info.created_wall_nanos, 0);
  EXPECT_GT(info.last_snapshot_wall_nanos, 0);
  EXPECT_EQ(info.durable_version, info.version->version);
}

// Momentum, counters and all: the trained model goes on as if nothing had happened.
TEST_F(EngineDurability, TrainingGoesOnBitForBitAfterARecovery) {
  EngineFixture other;
  const auto undisturbed = other.Create(Spec(), Constant(1000, 5));
  Worker steady(undisturbed, "w");
  for (int i = 0; i < 6; ++i) {
    const std::vector<float> delta = Ramp(1000, 0.1f * static_cast<float>(i + 1));
    ASSERT_TRUE(worker_->Push(delta).ok());
    ASSERT_TRUE(steady.Push(delta).ok());
    if (i % 2 == 0) {
      ASSERT_TRUE(Save(model_.get()).ok());
      Crash();
    }
  }
  EXPECT_EQ(Weights(model_.get()), Weights(undisturbed.get()));
}

TEST_F(EngineDurability, ADecidedPushIsRememberedAcrossARecovery) {
  const std::vector<std::byte> bytes = BytesOfFloats(Constant(1000, 1));
  UploadRequest request = worker_->Next(bytes.size());
  const absl::StatusOr<PushAnswer> first = worker_->Send(request, bytes);
  ASSERT_TRUE(first.ok());
  EXPECT_EQ(first->durable_sequence, 0u);
  ASSERT_TRUE(Save(model_.get()).ok());
  EXPECT_EQ(model_->DurableSequence("w"), 1u);
  Crash();
  EXPECT_EQ(worker_->sequence(), 1u) << "OpenSession says which push was the last";
  EXPECT_EQ(model_->DurableSequence("w"), 1u);
  request.header.epoch = worker_->epoch();
  const absl::StatusOr<UploadStart> repeated = StartUpload(model_.get(), request);
  ASSERT_TRUE(repeated.ok() && repeated->duplicate);
  EXPECT_EQ(repeated->duplicate->first_outcome, PushOutcome::kApplied);
  EXPECT_EQ(repeated->duplicate->version, first->version);
  EXPECT_EQ(repeated->duplicate->durable_sequence, 1u);
}

TEST_F(EngineDurability, WhatWasNotOnDiskIsReplayedAndGivesTheSameWeights) {
  Step(1);
  ASSERT_TRUE(Save(model_.get()).ok());
  Step(2);
  Step(3);
  const std::vector<float> weights = Weights(model_.get());
  Crash();
  ASSERT_EQ(worker_->sequence(), 1u);
  Step(2);
  Step(3);
  EXPECT_EQ(Weights(model_.get()), weights);
}

TEST_F(EngineDurability, ASnapshotIsWrittenEveryIntervalWhenSomethingChanged) {
  Step();
  server_.Advance(model_.get(), seconds(59));
  EXPECT_EQ(model_->Info().durable_version.counter, 0u);
  server_.Advance(model_.get(), seconds(1));
  EXPECT_EQ(model_->Info().durable_version.counter, 1u);
  const size_t count = List(model_.get())->size();
  // Nothing changes: nothing is written. The worker's lease is not the point.
  server_.Advance(model_.get(), seconds(300));
  EXPECT_EQ(List(model_.get())->size(), count);
  EXPECT_EQ(List(model_.get())->front().version, (Version{1, 1}));
}

// The client has no room for more that is not on disk (PushHeader.save_soon).
TEST_F(EngineDurability, APushThatAsksForItIsSavedAtOnce) {
  Step();
  DoWhatIsDue();
  EXPECT_EQ(model_->Info().durable_version, (Version{1, 0})) << "the interval has not passed";
  SaveSoon(worker_.get());
  EXPECT_EQ(model_->Info().durable_version, (Version{1, 2}));
  Step();
  DoWhatIsDue();
  EXPECT_EQ(model_->Info().durable_version, (Version{1, 2})) << "that was asked once";
}

TEST_F(EngineDurability, APushOfAnOpenRoundIsSavedWhenTheRoundHasClosed) {
  ModelSpec spec = DeltaSpec("rounds", {1000});
  spec.rounds.quorum = 2;
  model_ = server_.Create(spec, Constant(1000, 5));
  Worker first(model_, "a"), second(model_, "b");
  SaveSoon(&first);
  EXPECT_EQ(model_->Info().durable_version, (Version{1, 0})) << "no version has it";
  ASSERT_TRUE(second.Push(Constant(1000, 1)).ok());
  DoWhatIsDue();
  EXPECT_EQ(model_->Info().durable_version, (Version{1, 1}));
}

TEST_F(EngineDurability, AVolatileModelHeedsNoWishToBeSaved) {
  ModelSpec spec = Spec();
  spec.name = "scratch";
  spec.durability = Durability::kVolatile;
  model_ = server_.Create(spec, Constant(1000, 5));
  Worker worker(model_, "w");
  SaveSoon(&worker);
  EXPECT_TRUE(List(model_.get())->empty());
}

TEST_F(EngineDurability, TheLastTwoSnapshotsAndAllLabelledOnesAreKept) {
  ASSERT_TRUE(Save(model_.get(), "start").ok());
  for (int i = 0; i < 5; ++i) {
    Step();
    ASSERT_TRUE(Save(model_.get()).ok());
  }
  EXPECT_EQ(Labels(), (std::vector<std::string>{"", "", "start"}));
  const absl::StatusOr<std::vector<SnapshotInfo>> snapshots = List(model_.get());
  EXPECT_EQ(snapshots->front().outer_steps, 5u);
  EXPECT_EQ(snapshots->back().outer_steps, 0u);
}

TEST_F(EngineDurability, NobodyWaitsForOldSnapshotsToBeDeleted) {
  Step();
  ASSERT_TRUE(Save(model_.get()).ok());
  Step();
  server_.disk.HoldCallsMatching("remove");
  EXPECT_TRUE(Save(model_.get()).ok());
  server_.disk.AwaitHeld();
  server_.disk.LetGo();
  EXPECT_EQ(List(model_.get())->size(), 2u);
}

TEST_F(EngineDurability, AVersionThatIsOnDiskIsNotWrittenAgain) {
  Step();
  const absl::StatusOr<SnapshotInfo> first = Save(model_.get()), second = Save(model_.get());
  ASSERT_TRUE(first.ok() && second.ok());
  EXPECT_EQ(first->generation, second->generation);
}

TEST_F(EngineDurability, LabelsAreUniqueAndWellFormed) {
  ASSERT_TRUE(Save(model_.get(), "best").ok());
  EXPECT_THAT(Save(model_.get(), "best").status(), Refused(StatusCode::kAlreadyExists, "LABEL_EXISTS"));
  EXPECT_THAT(Save(model_.get(), "../../etc").status(), Refused(StatusCode::kInvalidArgument, "BAD_LABEL"));
  EXPECT_THAT(Save(model_.get(), std::string(129, 'x')).status(),
              Refused(StatusCode::kInvalidArgument, "BAD_LABEL"));
}

TEST_F(EngineDurability, ALabelledSnapshotIsRestoredUnderANewTermAndStaysRestored) {
  Step();
  const std::vector<float> good = Weights(model_.get());
  ASSERT_TRUE(Save(model_.get(), "good").ok());
  Step(100);
  Step(100);
  ASSERT_TRUE(Save(model_.get()).ok());
  const Version before = model_->Info().version->version;

  const absl::StatusOr<ModelInfo> restored = Restore(model_.get(), "good");
  ASSERT_TRUE(restored.ok()) << restored.status();
  EXPECT_GT(restored->version->version.term, before.term);
  EXPECT_GT(restored->version->version.counter, before.counter);
  EXPECT_EQ(Weights(model_.get()), good);
  EXPECT_EQ(restored->durable_version, restored->version->version);
  EXPECT_THAT(StartUpload(model_.get(), worker_->Next(4000)).status(),
              Refused(StatusCode::kAborted, "ROLLED_BACK"));
  ASSERT_TRUE(worker_->Open().ok());
  EXPECT_EQ(worker_->sequence(), 3u) << "numbers that were decided stay decided";
  Crash();
  EXPECT_EQ(Weights(model_.get()), good) << "a crash does not take the restore back";
  Step();
}

TEST_F(EngineDurability, ASnapshotThatIsNotThereCannotBeRestored) {
  EXPECT_THAT(Restore(model_.get(), "moon").status(), Refused(StatusCode::kNotFound, "SNAPSHOT_NOT_FOUND"));
  EXPECT_THAT(Restore(model_.get(), "", 4711).status(), Refused(StatusCode::kNotFound, "SNAPSHOT_NOT_FOUND"));
  Step();
}

TEST_F(EngineDurability, AnImportReplacesTheWeightsAndIsOnDiskWhenItIsAnswered) {
  Step();
  const std::vector<std::byte> weights = BytesOfFloats(Ramp(1000));
  const auto import = [&](const std::vector<std::byte>& bytes) {
    return Await<ModelInfo>([&](auto done) { model_->Import(PayloadOf(bytes), done); });
  };
  EXPECT_THAT(import({weights.begin(), weights.begin() + 3996}).status(),
              Refused(StatusCode::kInvalidArgument, "SIZE_MISMATCH"));
  const absl::StatusOr<ModelInfo> info = import(weights);
  ASSERT_TRUE(info.ok()) << info.status();
  EXPECT_EQ(info->version->version, (Version{1, 2}));
  EXPECT_EQ(info->durable_version, info->version->version);
  Crash();
  EXPECT_EQ(Weights(model_.get()), Ramp(1000));
}

// --- flush ---

TEST_F(EngineDurability, AFlushReturnsWhenEveryAcknowledgedPushIsOnDisk) {
  Step();
  Step();
  const absl::StatusOr<Version> flushed = Await<Version>([&](auto done) { model_->Flush(done); });
  ASSERT_TRUE(flushed.ok()) << flushed.status();
  EXPECT_EQ(*flushed, (Version{1, 2}));
  EXPECT_EQ(model_->DurableSequence("w"), 2u);
  const std::vector<float> weights = Weights(model_.get());
  Crash();
  EXPECT_EQ(Weights(model_.get()), weights);
}

TEST_F(EngineDurability, AFlushWaitsForTheOpenRound) {
  const auto model = server_.Create(DeltaSpec("sync", {10}), Constant(10, 5));
  Worker a(model, "a"), b(model, "b");
  ASSERT_TRUE(a.Push(Constant(10, 1)).ok());
  Later<Version> flushed;
  model->Flush(flushed.done());
  server_.Quiesce(model.get());
  EXPECT_FALSE(flushed.ready()) << "a's push was acknowledged, and is in no version yet";
  ASSERT_TRUE(b.Push(Constant(10, 1)).ok());
  EXPECT_EQ(*flushed.Get(), (Version{1, 1}));
  EXPECT_EQ(model->DurableSequence("a"), 1u);
}

TEST_F(EngineDurability, AFlushThatCannotBeMetSaysSo) {
  Step();
  server_.disk.FailCallsMatching("write", absl::ResourceExhaustedError("disk full"));
  EXPECT_THAT(Await<Version>([&](auto done) { model_->Flush(done); }).status(),
              Refused(StatusCode::kResourceExhausted, "DISK_FULL"));
  server_.disk.StopFailing();
  EXPECT_TRUE(Await<Version>([&](auto done) { model_->Flush(done); }).ok());

  EngineFixture memory_only("");
  const auto model = memory_only.Create(DeltaSpec("lm", {10}), Constant(10, 5));
  EXPECT_THAT(Await<Version>([&](auto done) { model->Flush(done); }).status(),
              Refused(StatusCode::kFailedPrecondition, "NO_DATA_DIR"));
}

// --- broken disks ---

TEST_F(EngineDurability, AFullDiskKeepsTheModelServingAndTheNextIntervalTriesAgain) {
  Step();
  server_.disk.FailCallsMatching("write", absl::ResourceExhaustedError("disk full"));
  server_.Advance(model_.get(), seconds(60));
  EXPECT_EQ(model_->Info().durable_version.counter, 0u);
  ASSERT_TRUE(worker_->Open().ok());
  Step();
  EXPECT_EQ(model_->Info().unhealthy_reason, "");
  EXPECT_THAT(Save(model_.get()).status(), Refused(StatusCode::kResourceExhausted, "DISK_FULL"));
  server_.disk.StopFailing();
  server_.Advance(model_.get(), seconds(60));
  EXPECT_EQ(model_->Info().durable_version.counter, 2u);
}

TEST_F(EngineDurability, AFailedSyncMakesTheModelReadOnlyUntilARestart) {
  Step();
  const std::vector<float> weights = Weights(model_.get());
  server_.disk.FailCallsMatching("sync", absl::DataLossError("input/output error"));
  EXPECT_EQ(Save(model_.get()).status().code(), StatusCode::kDataLoss);
  server_.disk.StopFailing();
  EXPECT_NE(model_->Info().unhealthy_reason, "");
  EXPECT_THAT(StartUpload(model_.get(), worker_->Next(4000)).status(),
              Refused(StatusCode::kFailedPrecondition, "MODEL_READ_ONLY"));
  EXPECT_EQ(Weights(model_.get()), weights) << "reads go on";
  Crash();
  Step();
}

TEST_F(EngineDurability, ADamagedNewestSnapshotGivesWayToTheOneBefore) {
  Step(1);
  ASSERT_TRUE(Save(model_.get()).ok());
  const std::vector<float> weights = Weights(model_.get());
  const Version before = model_->Info().version->version;
  Step(2);
  ASSERT_TRUE(Save(model_.get()).ok());
  std::string newest;  // names sort by generation
  for (const std::string& file : server_.disk.AllFiles()) {
    if (file.find("/snap-") != std::string::npos) newest = std::max(newest, file);
  }
  server_.disk.FlipBit(newest, 12345);
  Crash();
  EXPECT_EQ(Weights(model_.get()), weights);
  EXPECT_GT(model_->Info().version->version.term, before.term);
}

TEST_F(EngineDurability, AModelThatCannotBeLoadedIsReportedAndNeverOverwritten) {
  server_.Create(DeltaSpec("healthy", {10}), Constant(10, 1));
  for (const std::string& file : server_.disk.AllFiles()) {
    if (file.find("/lm/") != std::string::npos && file.find("MANIFEST") != std::string::npos)
      server_.disk.FlipBit(file, 77);
  }
  const std::vector<std::string> files = server_.disk.AllFiles();
  worker_.reset();
  model_.reset();
  server_.Start();
  EXPECT_TRUE(server_.engine->Find("healthy").ok());
  EXPECT_THAT(server_.engine->Find("lm").status(), Refused(StatusCode::kDataLoss, "MODEL_DAMAGED"));
  EXPECT_THAT(server_.TryCreate(Spec(), BytesOfFloats(Constant(1000, 0))).status(),
              Refused(StatusCode::kDataLoss, "MODEL_DAMAGED"));
  for (const std::string& file : files) {
    if (file.find("TERM") == std::string::npos) EXPECT_TRUE(server_.disk.Exists(file)) << file;
  }
  ASSERT_TRUE(AwaitStatus([&](auto done) { server_.engine->Delete("lm", done); }).ok());
  EXPECT_TRUE(server_.TryCreate(Spec(), BytesOfFloats(Constant(1000, 0))).ok());
}

TEST_F(EngineDurability, ACreationThatCannotReachTheDiskFailsWhole) {
  server_.disk.FailCallsMatching("write", absl::ResourceExhaustedError("disk full"));
  EXPECT_EQ(server_.TryCreate(DeltaSpec("next", {10}), BytesOfFloats(Constant(10, 1))).status().code(),
            StatusCode::kResourceExhausted);
  EXPECT_THAT(server_.engine->Find("next").status(), Refused(StatusCode::kNotFound, "MODEL_NOT_FOUND"));
  server_.disk.StopFailing();
  absl::Status again = absl::UnavailableError("");
  for (int i = 0; i < 1000 && absl::IsUnavailable(again); ++i) {  // while the failed one is cleaned up
    again = server_.TryCreate(DeltaSpec("next", {10}), BytesOfFloats(Constant(10, 1))).status();
    server_.Quiesce(model_.get());
  }
  EXPECT_TRUE(again.ok()) << again;
}

// Wherever the machine dies while a snapshot is written, the model comes back with it or with the one before.
TEST_F(EngineDurability, ACrashAtAnyCallOfASnapshotLeavesOneOfTheTwo) {
  Step(1);
  ASSERT_TRUE(Save(model_.get()).ok());
  const std::vector<float> one = Weights(model_.get());
  for (int64_t call = 1; call < 60; ++call) {
    const uint64_t term = model_->Info().version->version.term;
    Step(1);
    const std::vector<float> two = Weights(model_.get());
    const std::vector<float> old = call == 1 ? one : Weights(model_.get());
    server_.disk.ResetCalls();
    server_.disk.FailCallsFrom(call);
    const bool saved = Save(model_.get()).ok();
    const Version durable = model_->Info().durable_version;
    Crash();
    const ModelInfo info = model_->Info();
    EXPECT_GT(info.version->version.term, term);
    EXPECT_GE(info.version->version.counter, durable.counter)
        << "what was called durable came back, call " << call;
    if (info.version->version.counter == durable.counter + 1) EXPECT_EQ(Weights(model_.get()), two);
    if (saved) return;  // the whole snapshot took fewer calls
  }
  FAIL() << "a snapshot takes more calls than were tried";
}

// --- volatile models, draining ---

TEST_F(EngineDurability, AVolatileModelIsWrittenOnlyOnRequest) {
  ModelSpec spec = DeltaSpec("scratch", {10});
  spec.durability = Durability::kVolatile;
  spec.rounds.policy = RoundPolicy::kAsync;
  auto model = server_.Create(spec, Constant(10, 5));
  Worker worker(model, "w");
  ASSERT_TRUE(worker.Push(Constant(10, 1)).ok());
  server_.Advance(model.get(), seconds(3600));
  EXPECT_TRUE(List(model.get())->empty());
  ASSERT_TRUE(AwaitStatus([&](auto done) { server_.engine->Drain(done); }).ok());
  EXPECT_TRUE(List(model.get())->empty());
  ASSERT_TRUE(Save(model.get(), "kept").ok());
  EXPECT_EQ(List(model.get())->size(), 1u);
}

TEST_F(EngineDurability, DrainingWritesWhatChangedAndRefusesWhatIsNew) {
  Step();
  const std::vector<float> weights = Weights(model_.get());
  const UploadRequest request = worker_->Next(4000);
  ASSERT_TRUE(AwaitStatus([&](auto done) { server_.engine->Drain(done); }).ok());
  EXPECT_TRUE(server_.engine->draining());
  EXPECT_EQ(model_->Info().durable_version, (Version{1, 1}));
  EXPECT_THAT(StartUpload(model_.get(), request).status(), Refused(StatusCode::kUnavailable, "DRAINING"));
  EXPECT_THAT(worker_->Open().status(), Refused(StatusCode::kUnavailable, "DRAINING"));
  EXPECT_THAT(server_.TryCreate(DeltaSpec("late", {1}), BytesOfFloats({1})).status(),
              Refused(StatusCode::kUnavailable, "DRAINING"));
  EXPECT_EQ(Weights(model_.get()), weights) << "reads go on";
  EXPECT_TRUE(AwaitStatus([&](auto done) { server_.engine->Drain(done); }).ok()) << "again";
  Crash();
  EXPECT_EQ(Weights(model_.get()), weights);
}

TEST_F(EngineDurability, AFailedDrainSaysSo) {
  Step();
  server_.disk.FailCallsMatching("write", absl::ResourceExhaustedError("disk full"));
  EXPECT_EQ(AwaitStatus([&](auto done) { server_.engine->Drain(done); }).code(),
            StatusCode::kResourceExhausted);
}

TEST_F(EngineDurability, OneServerPerDataDirectory) {
  EXPECT_EQ(Engine::Start(server_.Options()).status().code(), StatusCode::kFailedPrecondition);
}

TEST_F(EngineDurability, SettingsChangedByAnOperatorSurviveACrash) {
  ASSERT_TRUE(Await<ModelInfo>([&](auto done) { model_->Update({{"outer.lr", 0.125}}, 0, done); }).ok());
  server_.Quiesce(model_.get());
  Crash();
  EXPECT_EQ(model_->Info().version->spec->outer.values.at("lr"), 0.125);
  EXPECT_EQ(model_->Info().version->settings_version, 2u);
}

}  // namespace
}  // namespace stepback
