// Many threads at once, with an end state that does not depend on their luck. Small enough for every run, and
// the reason to run it under the thread sanitizer.
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "tests/unit/engine_fixture.h"

namespace stepback {
namespace {

constexpr size_t kElements = 20'000;

ModelSpec AsyncSpec(const std::string& name) {
  ModelSpec spec = DeltaSpec(name, {kElements});
  spec.rounds.policy = RoundPolicy::kAsync;
  spec.rounds.max_staleness = 1'000'000;
  spec.max_live_versions = 2;
  spec.staging_bytes = 3 * kElements * sizeof(float);
  return spec;
}

// All elements of one version move together, so a torn read shows.
void ExpectOneVersion(const absl::StatusOr<std::vector<std::byte>>& bytes) {
  if (!bytes.ok()) {
    EXPECT_EQ(ReasonOf(bytes.status()), "VERSION_GONE") << bytes.status();
    return;
  }
  const std::vector<float> weights = FloatsOf(*bytes);
  EXPECT_EQ(weights, Constant(weights.size(), weights[0]));
}

class EngineStress : public testing::TestWithParam<Durability> {};
INSTANTIATE_TEST_SUITE_P(Durabilities, EngineStress, testing::Values(Durability::kRound, Durability::kPush),
                         [](const auto& info) { return info.param == Durability::kPush ? "Push" : "Round"; });

TEST_P(EngineStress, PushesPullsWaitsAndSnapshotsTogetherEndWhereTheyMust) {
  constexpr int kWorkers = 4, kPushes = 25;
  EngineFixture server;
  Engine::Options options = server.Options();
  options.clock = Clock::Real();
  options.ticker = true;
  options.default_snapshot_interval_seconds = 0.01;
  server.Start(options);
  ModelSpec spec = AsyncSpec("lm");
  spec.snapshot_interval_seconds = 0.01;
  spec.durability = GetParam();
  const auto model = server.Create(spec, Constant(kElements, 0));

  std::atomic<bool> stop = false;
  std::vector<std::thread> threads;
  for (int w = 0; w < kWorkers; ++w) {
    threads.emplace_back([&, w] {
      Worker worker(model, "w" + std::to_string(w));
      for (int i = 0; i < kPushes; ++i) {
        const std::vector<std::byte> bytes = BytesOfFloats(Constant(kElements, -1));
        const UploadRequest request = worker.Next(bytes.size());
        const absl::StatusOr<PushAnswer> answer = worker.Send(request, bytes);
        ASSERT_TRUE(answer.ok()) << answer.status();
        if (i % 5 != 0) continue;
        const absl::StatusOr<PushAnswer> repeated = worker.Send(request, bytes);
        ASSERT_TRUE(repeated.ok()) << repeated.status();
        ASSERT_EQ(repeated->outcome, PushOutcome::kDuplicate);
      }
    });
  }
  std::vector<std::thread> readers;
  for (int r = 0; r < 2; ++r) {
    readers.emplace_back([&, r] {
      Version last;
      while (!stop) {
        const auto pin = model->Pin();
        EXPECT_GE(pin->version().version, last) << "versions never go back";
        last = pin->version().version;
        ExpectOneVersion(ReadAll(model.get(), {.codec = r, .chunk_bytes = 16384}, pin));
        model->WaitingFor();
        model->Info();
      }
    });
  }
  readers.emplace_back([&] {
    Version last;
    while (!stop) {
      model->WaitNewer({1'000'000, 0}, std::nullopt,
                       [](const auto&) { ADD_FAILURE() << "cancelled at once"; });
      std::unique_ptr<Cancel> cancel;
      const auto pin = Await<std::shared_ptr<PinnedVersion>>(
          [&](auto done) { cancel = model->WaitNewer(last, std::nullopt, done); });
      if (!pin.ok()) break;
      last = (*pin)->version().version;
      if (last.counter == kWorkers * kPushes) break;
    }
  });
  readers.emplace_back([&] {
    while (!stop) {
      ASSERT_TRUE(Await<SnapshotInfo>([&](auto done) { model->SaveSnapshot("", done); }).ok());
      ASSERT_TRUE(Await<std::vector<SessionInfo>>([&](auto done) { model->Sessions(done); }).ok());
      HashOf(model.get());
    }
  });
  for (std::thread& thread : threads) thread.join();
  stop = true;
  for (std::thread& reader : readers) reader.join();

  EXPECT_EQ(model->Info().version->version.counter, uint64_t{kWorkers} * kPushes);
  EXPECT_EQ(Weights(model.get()), Constant(kElements, kWorkers * kPushes)) << "every push once";
  EXPECT_TRUE(AwaitStatus([&](auto done) { server.engine->Drain(done); }).ok());
  EXPECT_EQ(model->Info().durable_version.counter, uint64_t{kWorkers} * kPushes);
}

TEST(EngineStressOfRounds, SyncRoundsOfManyWorkersGiveTheClosedForm) {
  constexpr int kWorkers = 4, kRounds = 20;
  EngineFixture server("");
  ModelSpec spec = DeltaSpec("sync", {kElements});
  spec.rounds.quorum = kWorkers;
  spec.staging_bytes = kElements * sizeof(float);  // room for one push at a time
  const auto model = server.Create(spec, Constant(kElements, 0));
  std::vector<std::unique_ptr<Worker>> workers;
  for (int w = 0; w < kWorkers; ++w)
    workers.push_back(std::make_unique<Worker>(model, "w" + std::to_string(w)));
  std::vector<std::thread> threads;
  for (int w = 0; w < kWorkers; ++w) {
    threads.emplace_back([&, w] {
      for (int round = 0; round < kRounds; ++round) {
        const Version base = model->Pin()->version().version;
        ASSERT_TRUE(workers[w]->Push(Constant(kElements, static_cast<float>(-w))).ok());
        Later<std::shared_ptr<PinnedVersion>> next;
        const auto cancel = model->WaitNewer(base, std::nullopt, next.done());
        ASSERT_TRUE(next.Get().ok());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(model->Info().version->version.counter, uint64_t{kRounds});
  EXPECT_EQ(Weights(model.get()), Constant(kElements, kRounds * 1.5f))
      << "each round adds the mean of 0, 1, 2, 3";
}

// Every callback comes exactly once, whoever ends first.
TEST_P(EngineStress, StoppingAndDeletingInTheMiddleAnswersEverybodyOnce) {
  for (int round = 0; round < 20; ++round) {
    EngineFixture server;
    ModelSpec spec = AsyncSpec("lm");
    spec.durability = GetParam();
    const auto model = server.Create(spec, Constant(kElements, 0));
    std::atomic<int> asked = 0, answered = 0;
    std::atomic<bool> stop = false;
    std::vector<std::thread> threads;
    for (int w = 0; w < 3; ++w) {
      threads.emplace_back([&, w] {
        const auto count = [&](const auto&) { ++answered; };
        uint64_t epoch = 0;
        const absl::StatusOr<SessionOpened> opened = Await<SessionOpened>(
            [&](auto done) { model->Open({.client_id = "w" + std::to_string(w)}, done); });
        if (opened.ok()) epoch = opened->session.epoch;
        std::vector<std::unique_ptr<Cancel>> cancels;
        std::vector<std::shared_ptr<Upload>> uploads;
        for (uint64_t i = 1; !stop; ++i) {
          asked += 4;
          model->Heartbeat("w" + std::to_string(w), epoch, {}, count);
          model->SaveSnapshot("", count);
          model->Flush(count);
          cancels.push_back(model->WaitNewer({i, 0}, std::nullopt, count));
          UploadRequest request;
          request.header = {.client_id = "w" + std::to_string(w), .epoch = epoch, .sequence = i};
          request.header.base = model->Pin()->version().version;
          request.total_bytes = kElements * sizeof(float);
          const absl::StatusOr<UploadStart> start = StartUpload(model.get(), request);
          if (!start.ok() || start->upload == nullptr) break;
          if (!AddAll(start->upload.get(), BytesOfFloats(Constant(kElements, 1))).ok()) break;
          ++asked;
          start->upload->Finish(count);
          if (i % 3 == 0) uploads.push_back(start->upload);
        }
        while (!stop) std::this_thread::yield();
        uploads.clear();
        while (answered < asked) std::this_thread::yield();  // a lost answer ends in the test's time limit
      });
    }
    while (asked < 30) std::this_thread::yield();
    if (round % 2 == 0) {
      AwaitStatus([&](auto done) { server.engine->Delete("lm", done); }).IgnoreError();
    }
    server.engine.reset();
    stop = true;
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(answered, asked);
  }
}

}  // namespace
}  // namespace stepback
