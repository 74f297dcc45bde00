// The event log of the engine: what happened is what it says, to the bit; it survives crashes, it never
// stands in the way, and it goes with its model.
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "server/core/layout.h"
#include "tests/unit/recorded_events.h"
#include "tests/unit/telemetry_scrape.h"

namespace stepback {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::IsSupersetOf;
using testing::Pair;
using testing::SizeIs;

constexpr size_t kElements = 50;

ModelSpec SpecOf(RoundPolicy policy) {
  ModelSpec spec = DeltaSpec("lm", {kElements});
  spec.rounds.policy = policy;
  spec.rounds.buffer_pushes = 3;
  spec.rounds.max_staleness = 20;
  spec.rounds.weighting = Weighting::kSamples;
  if (policy != RoundPolicy::kSync) spec.rounds.staleness_exponent = 0.5;
  spec.lease_seconds = 60;
  return spec;
}

class EngineEvents : public testing::Test {
 protected:
  void Create(const ModelSpec& spec) { model_ = server_.Create(spec, Constant(kElements, 0)); }
  // Everything is written once the engine is gone.
  Records Stop() {
    model_.reset();
    server_.engine.reset();
    return ReadRecords(&server_.disk);
  }
  void Find() {
    server_.Start();
    absl::StatusOr<std::shared_ptr<Handle>> found = server_.engine->Find("lm");
    ASSERT_TRUE(found.ok()) << found.status();
    model_ = *found;
  }
  double Dropped() {
    return telemetry::ParseScrape(server_.metrics.Scrape())
        .at(R"(stepback_events_dropped_total{model="lm"})");
  }

  EngineFixture server_;
  std::shared_ptr<Handle> model_;
};

// --- merges ---

// What the test knows of a push that it sent.
struct Sent {
  std::vector<float> values;
  uint64_t epoch = 0, base = 0, samples = 0, local_steps = 0;
};
using Ledger = std::map<std::pair<std::string, uint64_t>, Sent>;

class EngineMerges : public EngineEvents, public testing::WithParamInterface<RoundPolicy> {
 protected:
  // One push of random numbers on a base of random age; what it says is in the ledger.
  void Push(Worker* worker) {
    Sent sent{.values = std::vector<float>(kElements), .epoch = worker->epoch()};
    for (float& value : sent.values) value = std::normal_distribution<float>()(random_);
    const std::vector<std::byte> bytes = BytesOfFloats(sent.values);
    UploadRequest request = worker->Next(bytes.size());
    request.header.samples = sent.samples = 1 + random_() % 40;
    request.header.local_steps = sent.local_steps = 1 + random_() % 9;
    if (GetParam() != RoundPolicy::kSync) {
      const uint64_t newest = request.header.base.counter;
      request.header.base.counter = newest - random_() % (std::min<uint64_t>(newest, 5) + 1);
    }
    sent.base = request.header.base.counter;
    const absl::StatusOr<PushAnswer> answer = worker->Send(request, bytes);
    ASSERT_TRUE(answer.ok() && answer->refusal.ok()) << answer.status();
    ledger_[{worker->id(), request.header.sequence}] = std::move(sent);
    weights_[model_->Info().version->version.counter] = Weights(model_.get());
  }

  std::mt19937_64 random_{7};
  Ledger ledger_;
  std::map<uint64_t, std::vector<float>> weights_;  // by counter
};

// An independent count of everything: from the ledger and the weights that readers saw, each merge is
// computed again in fp64, with the record saying only who was in it.
TEST_P(EngineMerges, ARecordSaysWhatWasMerged) {
  Create(SpecOf(GetParam()));
  weights_[0] = Weights(model_.get());
  std::vector<std::unique_ptr<Worker>> workers;
  for (const char* id : {"a", "b", "c"}) workers.push_back(std::make_unique<Worker>(model_, id));
  for (int i = 0; i < 36; ++i) {
    Push(workers[i % 3].get());
    server_.clock.Advance(milliseconds(10));
  }
  const Records merges = Named(Stop(), "round_closed");
  ASSERT_THAT(merges, SizeIs(GetParam() == RoundPolicy::kAsync ? 36 : 12));

  Ledger left = ledger_;
  uint64_t samples = 0, steps = 0;
  for (size_t i = 0; i < merges.size(); ++i) {
    const v1::EventRecord& record = merges[i];
    const v1::MergeEvent& merge = record.merge();
    EXPECT_EQ(record.term(), 1u);
    ASSERT_EQ(record.counter(), i + 1);
    EXPECT_EQ(merge.before_counter(), i);
    EXPECT_TRUE(merge.outer_step());
    std::vector<double> sum(kElements, 0);
    double divisor = 0;
    for (const v1::MergeEvent::Member& member : merge.members()) {
      const auto sent = left.find({member.client_id(), member.sequence()});
      ASSERT_NE(sent, left.end()) << member.client_id() << ":" << member.sequence()
                                  << " twice, or never sent";
      EXPECT_EQ(member.epoch(), sent->second.epoch);
      EXPECT_EQ(member.base_counter(), sent->second.base);
      EXPECT_EQ(member.staleness(), i - sent->second.base);
      EXPECT_EQ(member.samples(), sent->second.samples);
      EXPECT_EQ(member.local_steps(), sent->second.local_steps);
      const auto weight = static_cast<double>(sent->second.samples);
      const double age = GetParam() == RoundPolicy::kSync
                             ? 1
                             : 1 / std::sqrt(1.0 + static_cast<double>(i - sent->second.base));
      EXPECT_EQ(member.share(), weight);
      EXPECT_DOUBLE_EQ(member.numerator(), weight * age);
      for (size_t e = 0; e < kElements; ++e) sum[e] += weight * age * sent->second.values[e];
      divisor += weight;
      samples += sent->second.samples;
      steps += sent->second.local_steps;
      left.erase(sent);
    }
    double norm = 0;
    for (size_t e = 0; e < kElements; ++e) {
      const double mean = sum[e] / divisor;
      norm += mean * mean;
      ASSERT_TRUE(weights_.contains(i + 1));
      EXPECT_NEAR(weights_[i + 1][e], weights_[i][e] - mean, 2e-6);
    }
    EXPECT_NEAR(merge.update_norm(), std::sqrt(norm), 1e-5 * std::sqrt(norm));
    EXPECT_EQ(merge.samples(), samples);
    EXPECT_EQ(merge.inner_steps(), steps);
    EXPECT_EQ(merge.outer_steps(), i + 1);
    ASSERT_EQ(merge.rates_size(), 1);
    EXPECT_EQ(merge.rates(0).rule(), "average");
    EXPECT_EQ(merge.rates(0).values(0).value(), 1);
  }
  EXPECT_TRUE(left.empty());
}

INSTANTIATE_TEST_SUITE_P(Policies, EngineMerges,
                         testing::Values(RoundPolicy::kSync, RoundPolicy::kAsync, RoundPolicy::kBuffered));

// Scheduled rates are those of the step, and several workers' times are told from the end of the round.
TEST_F(EngineEvents, RatesAndTimesAreThoseOfTheStep) {
  ModelSpec spec = GradientSpec("lm", {kElements}, /*sync_period=*/2, /*alpha=*/0.5);
  spec.inner.schedules["lr"] = {.name = "linear",
                                .values = {{"start_factor", 1}, {"end_factor", 0}, {"steps", 4}}};
  Create(spec);
  Worker a(model_, "a"), b(model_, "b");
  for (int i = 0; i < 2; ++i) {
    ASSERT_TRUE(a.Push(Constant(kElements, 1)).ok());
    server_.clock.Advance(seconds(2));
    ASSERT_TRUE(b.Push(Constant(kElements, 1)).ok());
  }
  const Records merges = Named(Stop(), "round_closed");
  ASSERT_THAT(merges, SizeIs(2));
  EXPECT_FALSE(merges[0].merge().outer_step());
  ASSERT_EQ(merges[0].merge().rates_size(), 1);
  EXPECT_EQ(merges[0].merge().rates(0).rule(), "sgd");
  EXPECT_TRUE(merges[1].merge().outer_step());
  ASSERT_EQ(merges[1].merge().rates_size(), 2);
  const auto lr = [&](int i) {
    for (const v1::StoredNumber& value : merges[i].merge().rates(0).values()) {
      if (value.name() == "lr") return value.value();
    }
    return -1.0;
  };
  EXPECT_EQ(lr(0), 1);
  EXPECT_EQ(lr(1), 0.75);
  EXPECT_EQ(merges[0].merge().since_first_nanos(), 2'000'000'000);
  EXPECT_EQ(merges[0].reason(), "2 of 2 workers contributed");
}

// --- everything else ---

TEST_F(EngineEvents, PushesWithoutEffectAreToldWithTheReason) {
  ModelSpec spec = SpecOf(RoundPolicy::kAsync);
  spec.rounds.max_staleness = 0;
  Create(spec);
  Worker worker(model_, "w");
  ASSERT_TRUE(worker.Push(Constant(kElements, 1)).ok());
  const std::vector<std::byte> bytes = BytesOfFloats(Constant(kElements, 1));
  UploadRequest stale = worker.Next(bytes.size());
  stale.header.base.counter = 0;
  EXPECT_THAT(worker.Send(stale, bytes).status(), Refused(absl::StatusCode::kAborted, "STALE_BASE"));
  UploadRequest overflow = worker.Next(bytes.size());
  overflow.header.loss_scale = 1024;
  ASSERT_TRUE(worker.Send(overflow, BytesOfFloats(Constant(kElements, INFINITY))).ok());
  const Records records = Stop();
  const Records refused = Named(records, "push_refused"), skipped = Named(records, "push_skipped");
  ASSERT_THAT(refused, SizeIs(1));
  EXPECT_THAT(Fields(refused[0]),
              IsSupersetOf({Pair("client", "w"), Pair("epoch", "1"), Pair("sequence", "2"),
                            Pair("base", "1.0"), Pair("reason", "STALE_BASE")}));
  ASSERT_THAT(skipped, SizeIs(1));
  EXPECT_EQ(Fields(skipped[0]).at("sequence"), "3");
}

TEST_F(EngineEvents, SessionsAndSettingsAreTold) {
  Create(SpecOf(RoundPolicy::kAsync));
  Worker a(model_, "a"), b(model_, "b"), c(model_, "c", SessionRole::kReader);
  ASSERT_TRUE(AwaitStatus([&](auto done) { model_->Close("a", a.epoch(), done); }).ok());
  ASSERT_TRUE(AwaitStatus([&](auto done) { model_->Evict("b", done); }).ok());
  server_.Advance(model_.get(), seconds(61));
  ASSERT_TRUE(Await<ModelInfo>([&](auto done) { model_->Update({{"outer.alpha", 0.25}}, 0, done); }).ok());
  const Records records = Stop();
  std::vector<std::string> names;
  for (const v1::EventRecord& record : records)
    names.push_back(record.name() + " " + Fields(record)["client"]);
  EXPECT_THAT(names, ElementsAre("settings ", "model_created ", "session_opened a", "session_opened b",
                                 "session_opened c", "session_closed a", "session_evicted b",
                                 "session_expired c", "settings ", "settings_changed "));
  EXPECT_EQ(Fields(records[4]).at("role"), "reader");
  EXPECT_EQ(Fields(records.back()).at("outer.alpha"), "0.25");
  EXPECT_EQ(records[8].settings().outer().values(0).value(), 0.25);
  EXPECT_EQ(records[8].settings_version(), 2u);
  EXPECT_EQ(records[8].settings().tensors_size(), 0) << "the table of tensors is not a setting";
  for (size_t i = 0; i < records.size(); ++i) EXPECT_EQ(records[i].number(), i + 1);
}

TEST_F(EngineEvents, ARestoreAnImportAndARecoveryAreTold) {
  Create(SpecOf(RoundPolicy::kBuffered));
  Worker worker(model_, "w");
  ASSERT_TRUE(Await<SnapshotInfo>([&](auto done) { model_->SaveSnapshot("s", done); }).ok());
  ASSERT_TRUE(worker.Push(Constant(kElements, 1)).ok());  // in an open round
  ASSERT_TRUE(Await<ModelInfo>([&](auto done) {
                model_->Import(PayloadOf(BytesOfFloats(Constant(kElements, 3))), done);
              }).ok());
  ASSERT_TRUE(Await<ModelInfo>([&](auto done) { model_->RestoreSnapshot("s", 0, done); }).ok());
  const Version restored = model_->Info().version->version;
  Stop();
  Find();
  const Records records = Stop();
  const Records abandoned = Named(records, "round_abandoned");
  ASSERT_THAT(abandoned, SizeIs(1));
  EXPECT_EQ(abandoned[0].merge().members(0).client_id(), "w");
  EXPECT_EQ(Named(records, "weights_imported")[0].counter(), 1u);
  EXPECT_EQ(Fields(Named(records, "model_restored")[0]).at("from"), "1.0");
  const Records recovered = Named(records, "model_recovered");
  ASSERT_THAT(recovered, SizeIs(1));
  EXPECT_EQ(recovered[0].term(), restored.term + 1);
  EXPECT_EQ(recovered[0].counter(), restored.counter);
  for (size_t i = 0; i < records.size(); ++i) EXPECT_EQ(records[i].number(), i + 1) << "over restarts";
}

// --- disk ---

// A power failure costs the last second at most; a snapshot's version is never ahead of it.
TEST_F(EngineEvents, WhatIsASecondOldSurvivesAPowerFailure) {
  ModelSpec spec = SpecOf(RoundPolicy::kAsync);
  spec.snapshot_interval_seconds = 3600;
  Create(spec);
  Worker worker(model_, "w");
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(worker.Push(Constant(kElements, 1)).ok());
  const std::string file = EventDirectory() + "/events-000001.log";
  // On the disk as far as the page cache: then the second begins.
  ASSERT_TRUE(Eventually([&] {
    return server_.disk.Exists(file) && Named(ReadRecords(&server_.disk), "round_closed").size() == 5;
  }));
  server_.disk.ResetCalls();
  server_.Advance(model_.get(), seconds(1));
  ASSERT_TRUE(Eventually([&] {
    const std::vector<std::string> calls = server_.disk.call_log();
    return std::find(calls.begin(), calls.end(), "syncdata " + file) != calls.end();
  }));
  server_.disk.Crash(FakeFileSystem::Unsynced::kLost);
  EXPECT_THAT(Named(Stop(), "round_closed"), SizeIs(5));
}

// A disk that takes no records stops nobody; the next record tells how many are missing, and so does a
// metric.
TEST_F(EngineEvents, ADiskThatFailsCostsRecordsAndNothingElse) {
  Create(SpecOf(RoundPolicy::kAsync));
  Worker worker(model_, "w");
  ASSERT_TRUE(worker.Push(Constant(kElements, 1)).ok());
  ASSERT_TRUE(Eventually([&] { return Named(ReadRecords(&server_.disk), "round_closed").size() == 1; }));
  server_.disk.FailCallsMatching("append " + EventDirectory() + "/events",
                                 absl::ResourceExhaustedError("full"));
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(worker.Push(Constant(kElements, 1)).ok());
  ASSERT_TRUE(Eventually([&] { return Dropped() == 4; })) << Dropped();
  server_.disk.FailCallsMatching("", absl::OkStatus());
  server_.clock.Advance(seconds(2));
  ASSERT_TRUE(worker.Push(Constant(kElements, 1)).ok());
  EXPECT_EQ(model_->Info().unhealthy_reason, "");
  const Records merges = Named(Stop(), "round_closed");
  ASSERT_THAT(merges, SizeIs(2));
  const Records records = ReadRecords(&server_.disk);
  uint64_t dropped = 0, missing = 0, next = 1;
  for (const v1::EventRecord& record : records) {
    dropped += record.dropped();
    missing += record.number() - std::exchange(next, record.number() + 1);
  }
  EXPECT_EQ(dropped, 4u);
  EXPECT_EQ(missing, 4u);
}

// A sync that fails ends that file and no other promise: the log goes on in the next one.
TEST_F(EngineEvents, ASyncThatFailsEndsTheFile) {
  Create(SpecOf(RoundPolicy::kAsync));
  Worker worker(model_, "w");
  ASSERT_TRUE(worker.Push(Constant(kElements, 1)).ok());
  ASSERT_TRUE(Eventually([&] { return Named(ReadRecords(&server_.disk), "round_closed").size() == 1; }));
  const auto syncs = [&] {
    const std::vector<std::string> calls = server_.disk.call_log();
    return std::count(calls.begin(), calls.end(), "syncdata " + EventDirectory() + "/events-000001.log");
  };
  server_.disk.FailCallsMatching("syncdata " + EventDirectory() + "/events",
                                 absl::DataLossError("I/O error"));
  const auto before = syncs();
  server_.Advance(model_.get(), seconds(1));
  ASSERT_TRUE(Eventually([&] { return syncs() > before; }));
  server_.disk.FailCallsMatching("", absl::OkStatus());
  server_.clock.Advance(seconds(2));
  ASSERT_TRUE(worker.Push(Constant(kElements, 1)).ok());
  EXPECT_EQ(model_->Info().unhealthy_reason, "");
  EXPECT_THAT(Named(Stop(), "round_closed"), SizeIs(2));
  EXPECT_TRUE(server_.disk.Exists(EventDirectory() + "/events-000002.log"));
}

TEST_F(EngineEvents, FilesAreBoundedAndEachBeginsWithTheSettings) {
  Engine::Options options = server_.Options();
  options.event_file_bytes = 2000;
  options.event_files_kept = 2;
  server_.Start(options);
  Create(SpecOf(RoundPolicy::kAsync));
  Worker worker(model_, "w");
  for (int i = 0; i < 40; ++i) ASSERT_TRUE(worker.Push(Constant(kElements, 1)).ok());
  Stop();
  std::vector<std::string> files;
  for (const std::string& file : server_.disk.AllFiles()) {
    if (file.find("/events-") != std::string::npos) files.push_back(file);
  }
  ASSERT_THAT(files, SizeIs(2));
  const auto events = ModelEvents::Open(&server_.disk, {"lm", EventDirectory()});
  v1::EventRecord first;
  ASSERT_TRUE(*(*events)->Next(&first));
  EXPECT_EQ(first.number(), 0u);
  EXPECT_EQ(first.settings().rounds().staleness_exponent(), 0.5);
}

TEST_F(EngineEvents, ThereIsNoneWithoutADiskOrWithoutFiles) {
  Engine::Options options = server_.Options();
  options.event_files_kept = 0;
  server_.Start(options);
  Create(SpecOf(RoundPolicy::kAsync));
  ASSERT_TRUE(Worker(model_, "w").Push(Constant(kElements, 1)).ok());
  EXPECT_THAT(Stop(), IsEmpty());
  EngineFixture without("");
  const auto model = without.Create(SpecOf(RoundPolicy::kAsync), Constant(kElements, 0));
  ASSERT_TRUE(Worker(model, "w").Push(Constant(kElements, 1)).ok());
  without.engine.reset();
  EXPECT_THAT(without.disk.AllFiles(), IsEmpty());
}

// Its name may be taken again at once, and nothing of the old log gets into the new one.
TEST_F(EngineEvents, TheLogGoesWithItsModel) {
  for (int i = 0; i < 20; ++i) {
    Create(SpecOf(RoundPolicy::kAsync));
    Worker worker(model_, "w" + std::to_string(i));
    ASSERT_TRUE(worker.Push(Constant(kElements, 1)).ok());
    if (i == 19) break;
    model_.reset();
    ASSERT_TRUE(AwaitStatus([&](auto done) { server_.engine->Delete("lm", done); }).ok());
  }
  const Records records = Stop();
  ASSERT_FALSE(records.empty());
  EXPECT_EQ(records[0].number(), 1u);
  EXPECT_EQ(Fields(Named(records, "session_opened")[0]).at("client"), "w19");
  EXPECT_THAT(Named(records, "session_opened"), SizeIs(1));
}

// As the simulator runs it.
TEST_F(EngineEvents, ItNeedsNoThread) {
  Engine::Options options = server_.Options();
  options.own_threads = false;
  server_.Start(options);
  const auto run = [&] {
    while (server_.engine->RunOne([](size_t count) { return count - 1; })) {
    }
  };
  Later<Created> created;
  auto upload = server_.engine->StartCreate(SpecOf(RoundPolicy::kAsync), /*zeros=*/true, 0, 0);
  ASSERT_TRUE(upload.ok()) << upload.status();
  (*upload)->Finish(created.done());
  run();
  Later<SessionOpened> opened;
  created.Get()->handle->Open({.client_id = "w"}, opened.done());
  run();
  EXPECT_TRUE(opened.ready());
  const Records records = ReadRecords(&server_.disk);
  ASSERT_THAT(records, SizeIs(3)) << "without a stop, too";
  EXPECT_EQ(records[2].name(), "session_opened");
  Stop();
}

}  // namespace
}  // namespace stepback
