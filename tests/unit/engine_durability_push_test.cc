// Durability PUSH: what was acknowledged is there after any power failure, and nothing twice; the recovered
// model is, bit for bit, the one that never stopped.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "tests/unit/push_server.h"

namespace stepback {
namespace {

using absl::StatusCode;
using std::chrono::seconds;
using Unsynced = FakeFileSystem::Unsynced;

constexpr size_t kElements = 300;

ModelSpec PushSpec(RoundPolicy policy, Reduction reduction = Reduction::kRunning) {
  ModelSpec spec = DeltaSpec("m", {200, 100});
  spec.outer = {.name = "nesterov"};  // with a state array
  spec.durability = Durability::kPush;
  spec.rounds.policy = policy;
  spec.rounds.reduction = reduction;
  spec.rounds.max_staleness = 1000;
  spec.snapshot_interval_seconds = 1e6;  // when the test says so
  return spec;
}

ModelSpec GradientPushSpec() {
  ModelSpec spec = GradientSpec("m", {200, 100}, /*sync_period=*/3);
  spec.inner = {.name = "adam", .values = {{"lr", 0.01}}};
  spec.durability = Durability::kPush;
  spec.rounds.policy = RoundPolicy::kSync;
  spec.rounds.reduction = Reduction::kOrdered;
  spec.rounds.max_staleness = 1000;
  spec.snapshot_interval_seconds = 1e6;
  return spec;
}

ModelSpec BufferedPushSpec() {
  ModelSpec spec = PushSpec(RoundPolicy::kBuffered, Reduction::kOrdered);
  spec.rounds.buffer_pushes = 3;
  return spec;
}

ModelSpec FragmentPushSpec() {
  ModelSpec spec = PushSpec(RoundPolicy::kSync, Reduction::kOrdered);
  spec.outer = {.name = "average", .values = {{"alpha", 0.5}}};
  spec.fragments.parts = {{.tensors = {"t0"}}, {.tensors = {"t1"}}};
  return spec;
}

// A client with a number of its own for every push; survives its server.
struct Pusher {
  std::string id;
  SessionRole role = SessionRole::kTrainer;
  uint64_t epoch = 0;
  uint64_t sequence = 0;  // acknowledged

  absl::StatusOr<SessionOpened> Open(PushServer* server) {
    auto opened = server->Ask<SessionOpened>(
        [&](auto done) { server->model->Open({.client_id = id, .role = role}, done); });
    if (opened.ok()) epoch = opened->session.epoch;
    return opened;
  }
  UploadRequest Request(const PushServer& server, uint64_t number, uint64_t bytes) const {
    const auto version = server.model->Info().version;
    UploadRequest request;
    request.header = {.client_id = id,
                      .epoch = epoch,
                      .sequence = number,
                      .kind = version->spec->mode == Mode::kGradient ? PushKind::kGradient : PushKind::kDelta,
                      .base = version->version};
    request.total_bytes = bytes;
    if (version->spec->fragments.any()) {
      request.header.fragment = static_cast<uint32_t>((number - 1) % 2);
      request.header.fragment_step = version->fragments[*request.header.fragment].outer_steps;
    }
    return request;
  }
  absl::StatusOr<PushAnswer> Push(PushServer* server, const std::vector<float>& values) {
    const std::vector<std::byte> bytes = BytesOfFloats(values);
    const auto answer = server->Send(Request(*server, sequence + 1, bytes.size()), bytes);
    if (answer.ok()) ++sequence;
    return answer;
  }
};

// Push `number` of client `client`: no two are alike.
std::vector<float> ValuesOf(const ModelSpec& spec, size_t client, uint64_t number) {
  const size_t all = kElements;
  const bool first = (number - 1) % 2 == 0;
  const size_t count = !spec.fragments.any() ? all : first ? 200 : 100;
  return Ramp(count, 0.01f * static_cast<float>(client + 1) + 0.003f * static_cast<float>(number));
}

// --- what clients and operators do, one call after the other, each until it is acknowledged ---

struct Act {
  enum Kind { kPush, kSave, kLabel, kUpdate, kImport, kRestore, kEvict };
  Kind kind = kPush;
  size_t client = 0;
};

class Story {
 public:
  Story(ModelSpec spec, std::vector<Act> acts) : spec_(std::move(spec)), acts_(std::move(acts)) {}

  // The state at the end. `dies_at` > 0: the machine dies at that call of the file system after the creation
  // (and now and then again while it comes back).
  std::string Tell(PushServer* server, int64_t dies_at) {
    server_ = server;
    dies_at_ = dies_at;
    deaths_ = 0;
    EXPECT_TRUE(server->Start().ok());
    EXPECT_TRUE(server->Create(spec_, Constant(kElements, 5)).ok());
    for (size_t i = 0; i < clients_.size(); ++i) clients_[i] = {.id = "w" + std::to_string(i)};
    server->disk.ResetCalls();
    if (dies_at > 0) server->disk.FailCallsFrom(dies_at);
    if (!OpenAll()) Revive();
    for (const Act& act : acts_) {
      if (testing::Test::HasFatalFailure()) return "";
      Do(act);
    }
    return testing::Test::HasFatalFailure() ? "" : server->Hash();
  }
  int deaths() const { return deaths_; }

 private:
  bool OpenAll() {
    for (Pusher& client : clients_) {
      const auto opened = client.Open(server_);
      if (!opened.ok()) return false;
      // Nothing that was acknowledged is lost.
      EXPECT_GE(opened->session.last_sequence, client.sequence) << client.id << Where();
      if (logged()) EXPECT_EQ(opened->durable_sequence, opened->session.last_sequence) << Where();
    }
    return true;
  }
  void Revive() {
    for (int tries = 0;; ++tries) {
      ASSERT_LT(tries, 5) << "the server does not come back" << Where();
      ++deaths_;
      const bool killed = tries == 0 && dies_at_ % 4 == 1;  // the process alone; the machine a little later
      const bool again = tries == 0 && (killed || dies_at_ % 3 == 0);
      server_->disk.FailCallsFrom(server_->disk.calls() + 1);
      server_->model.reset();
      server_->engine.reset();
      server_->disk.Crash(killed ? Unsynced::kKept : dies_at_ % 2 == 0 ? Unsynced::kLost : Unsynced::kTorn);
      if (again) server_->disk.FailCallsFrom(server_->disk.calls() + 1 + dies_at_ % 23);
      server_->clock.Advance(seconds(7));
      const absl::Status started = server_->Start();
      if (!again) ASSERT_TRUE(started.ok()) << started << Where();
      if (!again) ASSERT_NE(server_->model, nullptr) << server_->engine->Find("m").status() << Where();
      if (!started.ok() || server_->model == nullptr || !OpenAll()) continue;
      EXPECT_GE(server_->model->Info().version->version.counter, counter_) << Where();
      return;
    }
  }
  void Do(const Act& act) {
    const ModelInfo before = server_->model->Info();
    for (int tries = 0; tries < 10; ++tries) {
      const ModelInfo now = server_->model->Info();
      const bool happened = act.kind == Act::kUpdate
                                ? now.version->settings_version > before.version->settings_version
                                : (act.kind == Act::kImport || act.kind == Act::kRestore) &&
                                      now.version->version.counter > before.version->version.counter;
      if (happened || Try(act)) {
        counter_ = server_->model->Info().version->version.counter;
        if (act.kind == Act::kRestore || act.kind == Act::kEvict)
          if (!OpenAll()) Revive();
        return;
      }
      Revive();
      if (testing::Test::HasFatalFailure()) return;
    }
    ADD_FAILURE() << "act of kind " << act.kind << " does not get through" << Where();
  }
  bool Try(const Act& act) {
    Handle* const model = server_->model.get();
    Pusher& client = clients_[act.client];
    switch (act.kind) {
      case Act::kPush: {
        const auto answer = client.Push(server_, ValuesOf(spec_, act.client, client.sequence + 1));
        if (answer.ok() && logged()) EXPECT_GE(answer->durable_sequence, client.sequence) << Where();
        return answer.ok();
      }
      case Act::kSave:
        return server_->Ask<SnapshotInfo>([&](auto done) { model->SaveSnapshot("", done); }).ok();
      case Act::kLabel: {
        const auto saved = server_->Ask<SnapshotInfo>([&](auto done) { model->SaveSnapshot("L", done); });
        return saved.ok() || absl::IsAlreadyExists(saved.status());
      }
      case Act::kUpdate: {
        const std::string path = spec_.mode == Mode::kGradient ? "inner.lr" : "rounds.max_staleness";
        const double value = spec_.mode == Mode::kGradient ? 0.02 : 900;
        return server_->Ask<ModelInfo>([&](auto done) { model->Update({{path, value}}, 0, done); }).ok();
      }
      case Act::kImport:
        return server_
            ->Ask<ModelInfo>(
                [&](auto done) { model->Import(PayloadOf(BytesOfFloats(Ramp(kElements, 2))), done); })
            .ok();
      case Act::kRestore:
        return server_->Ask<ModelInfo>([&](auto done) { model->RestoreSnapshot("L", 0, done); }).ok();
      case Act::kEvict: {
        const absl::Status evicted = server_->AskStatus([&](auto done) { model->Evict(client.id, done); });
        return evicted.ok();
      }
    }
    return false;
  }
  bool logged() const { return spec_.durability == Durability::kPush; }
  std::string Where() const { return " (power fails at call " + std::to_string(dies_at_) + ")"; }

  const ModelSpec spec_;
  const std::vector<Act> acts_;
  std::array<Pusher, 2> clients_;
  PushServer* server_ = nullptr;
  int64_t dies_at_ = 0;
  int deaths_ = 0;
  uint64_t counter_ = 0;  // of what was acknowledged
};

constexpr Act kPush0{Act::kPush, 0}, kPush1{Act::kPush, 1}, kSave{Act::kSave}, kLabel{Act::kLabel},
    kUpdate{Act::kUpdate}, kImport{Act::kImport}, kRestore{Act::kRestore}, kEvict0{Act::kEvict, 0};

// Everything that a log can hold, with snapshots in the middle of a round.
std::vector<Act> LongStory() {
  return {kPush0,  kPush1, kPush0, kLabel, kPush1, kUpdate, kPush0, kSave,    kPush1, kPush1, kSave, kPush0,
          kImport, kPush0, kPush1, kSave,  kPush0, kEvict0, kPush1, kRestore, kPush0, kPush1, kPush0};
}

struct Kind {
  const char* name;
  ModelSpec spec;
  int64_t stride = 1;
  friend std::ostream& operator<<(std::ostream& out, const Kind& kind) { return out << kind.name; }
};

class EveryPowerFailure : public testing::TestWithParam<Kind> {};

TEST_P(EveryPowerFailure, LosesNothingAndDoublesNothing) {
  ModelSpec steady = GetParam().spec;
  steady.durability = Durability::kRound;
  PushServer undisturbed(1);
  const std::string expected = Story(steady, LongStory()).Tell(&undisturbed, 0);
  int64_t calls = 0;
  {
    PushServer server(1);
    EXPECT_EQ(Story(GetParam().spec, LongStory()).Tell(&server, 0), expected) << "without any failure";
    calls = server.disk.calls();
  }
  ASSERT_GT(calls, 100);
  int stories = 0, deaths = 0;
  for (int64_t n = 1; n <= calls && !HasFailure(); n += GetParam().stride, ++stories) {
    PushServer server(static_cast<uint64_t>(n));
    Story story(GetParam().spec, LongStory());
    EXPECT_EQ(story.Tell(&server, n), expected) << "power fails at call " << n << " of " << calls;
    deaths += story.deaths();
  }
  EXPECT_GT(deaths, stories * 9 / 10);
}

INSTANTIATE_TEST_SUITE_P(Models, EveryPowerFailure,
                         testing::Values(Kind{"AsyncDelta", PushSpec(RoundPolicy::kAsync)},
                                         Kind{"SyncOrderedGradient", GradientPushSpec()},
                                         Kind{"SyncRunningDelta", PushSpec(RoundPolicy::kSync), 3},
                                         Kind{"Buffered", BufferedPushSpec(), 4},
                                         Kind{"Fragments", FragmentPushSpec(), 4}),
                         [](const auto& info) { return info.param.name; });

// --- one thing at a time ---

class PushDurability : public testing::Test {
 protected:
  void Begin(const ModelSpec& spec) {
    ASSERT_TRUE(server_.Start().ok());
    const absl::Status created = server_.Create(spec, Constant(kElements, 5));
    ASSERT_TRUE(created.ok()) << created;
    ASSERT_TRUE(w0_.Open(&server_).ok());
    ASSERT_TRUE(w1_.Open(&server_).ok());
  }
  absl::StatusOr<PushAnswer> Push(Pusher* client, float value = 1) {
    return client->Push(&server_, Constant(kElements, value));
  }
  absl::StatusOr<SnapshotInfo> Save() {
    return server_.Ask<SnapshotInfo>([&](auto done) { server_.model->SaveSnapshot("", done); });
  }
  Version version() const { return server_.model->Info().version->version; }
  std::vector<std::string> Segments(const std::string& end = ".log") const {
    std::vector<std::string> segments;
    for (const std::string& file : server_.disk.AllFiles()) {
      if (file.find("/wal-") != std::string::npos && file.ends_with(end)) segments.push_back(file);
    }
    return segments;
  }

  PushServer server_{1};
  Pusher w0_{"w0"}, w1_{"w1"};
};

TEST_F(PushDurability, AnAnswerSaysThatThePushIsDurable) {
  Begin(PushSpec(RoundPolicy::kAsync));
  const auto answer = Push(&w0_);
  ASSERT_TRUE(answer.ok()) << answer.status();
  EXPECT_EQ(answer->durable_sequence, 1u);
  EXPECT_EQ(server_.model->Info().durable_version, answer->version);
  EXPECT_TRUE(server_.model->Pin()->durable());
  EXPECT_EQ(server_.model->DurableSequence("w0"), 1u);
  const auto flushed = server_.Ask<Version>([&](auto done) { server_.model->Flush(done); });
  ASSERT_TRUE(flushed.ok());
  EXPECT_EQ(*flushed, answer->version);
}

TEST_F(PushDurability, TheTermRisesAndSessionsGoOn) {
  Begin(PushSpec(RoundPolicy::kAsync));
  ASSERT_TRUE(Push(&w0_).ok());
  const Version before = version();
  const std::string hash = server_.Hash();
  ASSERT_TRUE(server_.PowerCycle(Unsynced::kLost).ok());
  EXPECT_EQ(version(), (Version{before.term + 1, before.counter}));
  EXPECT_EQ(server_.Hash(), hash);
  // The same epoch, without opening anew.
  EXPECT_TRUE(Push(&w0_).ok());
}

TEST_F(PushDurability, APushOfAnOpenRoundIsStillInIt) {
  Begin(PushSpec(RoundPolicy::kSync));
  const auto first = Push(&w0_, 1);
  ASSERT_TRUE(first.ok());
  ASSERT_EQ(first->outcome, PushOutcome::kBuffered);
  ASSERT_TRUE(server_.PowerCycle(Unsynced::kLost).ok());
  const auto second = Push(&w1_, 3);
  ASSERT_TRUE(second.ok());
  EXPECT_EQ(second->outcome, PushOutcome::kApplied);
  PushServer other(2, /*durable=*/false);
  ModelSpec spec = PushSpec(RoundPolicy::kSync);
  spec.durability = Durability::kVolatile;
  ASSERT_TRUE(other.Start().ok() && other.Create(spec, Constant(kElements, 5)).ok());
  Pusher a{"w0"}, b{"w1"};
  ASSERT_TRUE(a.Open(&other).ok() && b.Open(&other).ok());
  ASSERT_TRUE(a.Push(&other, Constant(kElements, 1)).ok() && b.Push(&other, Constant(kElements, 3)).ok());
  EXPECT_EQ(server_.Hash(), other.Hash());
}

// A worker that died with the server is awaited until its lease, which begins anew, has ended.
TEST_F(PushDurability, ALostWorkerIsAwaitedForALease) {
  ModelSpec spec = PushSpec(RoundPolicy::kSync);
  spec.lease_seconds = 10;
  Begin(spec);
  ASSERT_TRUE(Push(&w0_).ok());
  ASSERT_TRUE(server_.PowerCycle(Unsynced::kLost).ok());
  server_.Advance(seconds(9));
  EXPECT_EQ(version().counter, 0u);
  ASSERT_TRUE(
      server_.Ask<HeartbeatAnswer>([&](auto done) { server_.model->Heartbeat("w0", w0_.epoch, {}, done); })
          .ok());
  server_.Advance(seconds(1));
  EXPECT_EQ(version().counter, 1u) << "w1 has left the round";
  const std::string hash = server_.Hash();
  ASSERT_TRUE(server_.PowerCycle(Unsynced::kLost).ok());
  EXPECT_EQ(server_.Hash(), hash);
  EXPECT_THAT(Push(&w1_).status(), Refused(StatusCode::kNotFound, "NO_SESSION"));
  EXPECT_TRUE(Push(&w0_).ok());
}

TEST_F(PushDurability, DeadlinesStandStillWhileNoServerRuns) {
  ModelSpec spec = PushSpec(RoundPolicy::kSync);
  spec.rounds.deadline_seconds = 5;
  Begin(spec);
  ASSERT_TRUE(Push(&w0_).ok());
  server_.Advance(seconds(2));
  ASSERT_TRUE(server_.PowerCycle(Unsynced::kLost).ok());  // seven seconds
  server_.Advance(seconds(2));
  EXPECT_EQ(version().counter, 0u);
  server_.Advance(seconds(3));
  EXPECT_EQ(version().counter, 1u);
}

// Pushes 2 and 3 are whole before push 1 is.
TEST_F(PushDurability, APushThatWaitsForItsTurnStillWaits) {
  ModelSpec spec = PushSpec(RoundPolicy::kAsync);
  spec.staging_bytes = 64 << 10;
  Begin(spec);
  const std::vector<std::byte> bytes = BytesOfFloats(Constant(kElements, 1));
  std::vector<std::shared_ptr<Upload>> uploads;
  std::vector<std::unique_ptr<Cancel>> cancels;
  for (const uint64_t number : {1, 2, 3}) {
    const auto start = server_.Ask<UploadStart>([&](Done<UploadStart> done) {
      cancels.push_back(server_.model->StartUpload(w0_.Request(server_, number, bytes.size()), done));
    });
    ASSERT_TRUE(start.ok()) << start.status();
    uploads.push_back(start->upload);
    ASSERT_TRUE(AddAll(start->upload.get(), bytes).ok());
  }
  int answers = 0;
  for (const size_t i : {1, 2}) uploads[i]->Finish([&](const auto&) { ++answers; });
  server_.RunAll();
  EXPECT_EQ(answers, 0);
  ASSERT_TRUE(server_.PowerCycle(Unsynced::kLost).ok());
  EXPECT_EQ(version().counter, 0u);
  w0_.sequence = 0;
  ASSERT_TRUE(Push(&w0_).ok());
  EXPECT_EQ(version().counter, 3u) << "it brought the two others with it";
  EXPECT_EQ(server_.model->DurableSequence("w0"), 3u);
}

TEST_F(PushDurability, ADecidedPushIsAnsweredAsBefore) {
  Begin(PushSpec(RoundPolicy::kAsync));
  const auto first = Push(&w0_);
  ASSERT_TRUE(first.ok());
  ASSERT_TRUE(server_.PowerCycle(Unsynced::kTorn).ok());
  w0_.sequence = 0;
  const auto again = Push(&w0_, 1);
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(again->outcome, PushOutcome::kDuplicate);
  EXPECT_EQ(again->first_outcome, PushOutcome::kApplied);
  EXPECT_EQ(again->version, first->version);
  EXPECT_EQ(version().counter, 1u);
}

TEST_F(PushDurability, ANumberThatWasDecidedStaysDecidedThroughManyRestarts) {
  Begin(PushSpec(RoundPolicy::kSync, Reduction::kOrdered));
  for (int i = 0; i < 8; ++i) {
    ASSERT_TRUE(Push(i % 2 == 0 ? &w0_ : &w1_, static_cast<float>(i)).ok());
    if (i == 3) ASSERT_TRUE(Save().ok());
    const std::string hash = server_.Hash();
    ASSERT_TRUE(server_.PowerCycle(i % 3 == 0 ? Unsynced::kTorn : Unsynced::kLost).ok());
    EXPECT_EQ(server_.Hash(), hash);
  }
  EXPECT_EQ(version().counter, 4u);
}

// --- snapshots ---

TEST_F(PushDurability, TheSnapshotBeforeADamagedOneLeadsToTheSameState) {
  Begin(PushSpec(RoundPolicy::kSync));
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(Push(&w0_, static_cast<float>(i)).ok());
    ASSERT_TRUE(Save().ok());  // in the middle of a round
    ASSERT_TRUE(Push(&w1_, 2).ok());
  }
  ASSERT_TRUE(Save().ok());
  ASSERT_TRUE(Push(&w0_).ok());
  const std::string hash = server_.Hash();
  std::string newest;
  for (const std::string& file : server_.disk.AllFiles())
    if (file.find("/snap-") != std::string::npos) newest = std::max(newest, file);
  server_.disk.FlipBit(newest, 12345);
  ASSERT_TRUE(server_.PowerCycle(Unsynced::kLost).ok());
  ASSERT_NE(server_.model, nullptr);
  EXPECT_EQ(server_.Hash(), hash);
  ASSERT_TRUE(Push(&w1_).ok());
  EXPECT_EQ(version().counter, 4u) << "the open round of the damaged snapshot is open again";
}

TEST_F(PushDurability, TheLogIsReleasedUpToWhatTheKeptSnapshotsNeed) {
  Begin(PushSpec(RoundPolicy::kAsync));
  for (int i = 0; i < 40; ++i) {
    ASSERT_TRUE(Push(&w0_).ok());
    if (i % 10 == 9) ASSERT_TRUE(Save().ok());
  }
  server_.RunAll();
  EXPECT_LE(Segments().size(), 10u) << "40 pushes fill 20 segments, two snapshots need half of them";
  const std::string hash = server_.Hash();
  ASSERT_TRUE(server_.PowerCycle(Unsynced::kLost).ok());
  EXPECT_EQ(server_.Hash(), hash);
}

TEST_F(PushDurability, ARestoredSnapshotStaysWhileAReplayNeedsIt) {
  Begin(PushSpec(RoundPolicy::kAsync));
  ASSERT_TRUE(Push(&w0_).ok());
  const auto saved = Save();
  ASSERT_TRUE(saved.ok());
  ASSERT_TRUE(Push(&w0_).ok());
  ASSERT_TRUE(Save().ok());
  ASSERT_TRUE(
      server_.Ask<ModelInfo>([&](auto done) { server_.model->RestoreSnapshot("", saved->generation, done); })
          .ok());
  server_.RunAll();  // the snapshot after it, which prunes
  const std::string hash = server_.Hash();
  std::string newest;
  for (const std::string& file : server_.disk.AllFiles())
    if (file.find("/snap-") != std::string::npos) newest = std::max(newest, file);
  server_.disk.FlipBit(newest, 999);
  ASSERT_TRUE(server_.PowerCycle(Unsynced::kLost).ok());
  ASSERT_NE(server_.model, nullptr);
  EXPECT_EQ(server_.Hash(), hash);
}

// --- damage ---

class DamagedLog : public PushDurability {
 protected:
  // Nine pushes, then one bit of the fifth is gone.
  void Damage() {
    Begin(PushSpec(RoundPolicy::kAsync));
    for (int i = 0; i < 9; ++i) {
      if (i == 4) hash_at_4_ = server_.Hash(), end_of_4_ = LogSize();
      ASSERT_TRUE(Push(&w0_, static_cast<float>(i + 1)).ok());
    }
    server_.engine.reset();
    server_.model.reset();
    Flip();
  }
  // Of the file that holds the fifth push's payload.
  void Flip() {
    const std::vector<std::byte> wanted = BytesOfFloats(Constant(8, 5));
    const std::string needle(reinterpret_cast<const char*>(wanted.data()), wanted.size());
    for (const std::string& file : Segments()) {
      const size_t at = server_.disk.Contents(file).find(needle);
      if (at == std::string::npos) continue;
      server_.disk.FlipBit(file, 8 * at + 3);
      return;
    }
    FAIL() << "the fifth push is in no segment";
  }
  size_t LogSize() const { return Segments().size(); }

  std::string hash_at_4_;
  size_t end_of_4_ = 0;
};

TEST_F(DamagedLog, IsRefusedUnlessTheOperatorConsents) {
  Damage();
  ASSERT_TRUE(server_.Start().ok());
  EXPECT_THAT(server_.engine->Find("m").status(), Refused(StatusCode::kDataLoss, "MODEL_DAMAGED"));
}

TEST_F(DamagedLog, PointInTimeTakesWhatLiesBefore) {
  Damage();
  server_.recovery = LogRecovery::kPointInTime;
  ASSERT_TRUE(server_.Start().ok());
  ASSERT_NE(server_.model, nullptr);
  EXPECT_EQ(server_.Hash(), hash_at_4_);
  EXPECT_FALSE(Segments(".damaged").empty());
  // From here on nothing is damaged.
  server_.recovery = LogRecovery::kStrict;
  w0_.sequence = 4;
  ASSERT_TRUE(Push(&w0_).ok());
  const std::string hash = server_.Hash();
  ASSERT_TRUE(server_.PowerCycle(Unsynced::kLost).ok());
  ASSERT_NE(server_.model, nullptr);
  EXPECT_EQ(server_.Hash(), hash);
}

TEST_F(DamagedLog, SalvageTakesAllThatIsWhole) {
  Damage();
  server_.recovery = LogRecovery::kSalvage;
  ASSERT_TRUE(server_.Start().ok());
  ASSERT_NE(server_.model, nullptr);
  EXPECT_EQ(version().counter, 4u) << "pushes 6 to 9 wait for the fifth, which is lost";
  server_.recovery = LogRecovery::kStrict;
  ASSERT_TRUE(server_.PowerCycle(Unsynced::kLost).ok());
  w0_.sequence = 4;
  ASSERT_TRUE(Push(&w0_, 5).ok()) << "which its client still has";
  EXPECT_EQ(version().counter, 9u);
}

// --- a disk that fails ---

TEST_F(PushDurability, AFullDiskRefusesAndPasses) {
  Begin(PushSpec(RoundPolicy::kAsync));
  ASSERT_TRUE(Push(&w0_).ok());
  const std::string hash = server_.Hash();
  uint64_t used = 0;
  for (const std::string& file : server_.disk.AllFiles()) used += server_.disk.Contents(file).size();
  server_.disk.SetCapacity(used);
  absl::Status refused;
  for (int i = 0; i < 40 && refused.ok(); ++i) refused = Push(&w0_).status();
  EXPECT_THAT(refused, Refused(StatusCode::kResourceExhausted, "DISK_FULL"));
  EXPECT_TRUE(RetryAfterOf(refused).has_value());
  const std::string then = server_.Hash();
  EXPECT_NE(then, hash);
  EXPECT_TRUE(server_.model->Info().unhealthy_reason.empty());
  server_.disk.SetCapacity(UINT64_MAX);
  EXPECT_TRUE(Push(&w0_).ok());
  const std::string last = server_.Hash();
  ASSERT_TRUE(server_.PowerCycle(Unsynced::kLost).ok());
  EXPECT_EQ(server_.Hash(), last);
}

TEST_F(PushDurability, AFailedSyncMakesTheModelReadOnly) {
  Begin(PushSpec(RoundPolicy::kAsync));
  ASSERT_TRUE(Push(&w0_).ok());
  const std::string hash = server_.Hash();
  server_.disk.FailCallsMatching("syncdata /data/models/m/wal", absl::DataLossError("input/output error"));
  EXPECT_THAT(Push(&w0_).status(), Refused(StatusCode::kFailedPrecondition, "MODEL_READ_ONLY"));
  server_.disk.FailCallsMatching("", absl::OkStatus());
  EXPECT_THAT(Push(&w0_).status(), Refused(StatusCode::kFailedPrecondition, "MODEL_READ_ONLY"));
  EXPECT_THAT(
      server_.Ask<SessionOpened>([&](auto done) { server_.model->Open({.client_id = "w9"}, done); }).status(),
      Refused(StatusCode::kFailedPrecondition, "MODEL_READ_ONLY"));
  EXPECT_FALSE(server_.model->Info().unhealthy_reason.empty());
  EXPECT_EQ(server_.Hash(), hash) << "reads go on";
  server_.Advance(seconds(300));  // leases end, and nothing can be logged of it
  ASSERT_TRUE(server_.PowerCycle(Unsynced::kLost).ok());
  EXPECT_TRUE(server_.model->Info().unhealthy_reason.empty());
  EXPECT_TRUE(Push(&w0_).ok());
}

// The page cache outlives a process: what a start finds there may never have reached the disk.
TEST_F(PushDurability, WhatAStartReadIsDurableBeforeMoreIsBuiltUponIt) {
  Begin(PushSpec(RoundPolicy::kAsync));
  ASSERT_TRUE(Push(&w0_).ok());
  server_.disk.FailCallsMatching("syncdata /data/models/m/wal", absl::DataLossError("input/output error"));
  EXPECT_FALSE(Push(&w0_).ok());
  ASSERT_TRUE(server_.PowerCycle(Unsynced::kKept).ok());
  EXPECT_EQ(version().counter, 2u) << "the push was written whole";
  ASSERT_TRUE(w0_.Open(&server_).ok());
  w0_.sequence = 2;
  ASSERT_TRUE(Push(&w0_).ok());
  const std::string hash = server_.Hash();
  ASSERT_TRUE(server_.PowerCycle(Unsynced::kLost).ok());
  EXPECT_EQ(server_.Hash(), hash);
}

// Push after push, each by a process that is killed before its sync, then the machine.
TEST_F(PushDurability, ATailIsTakenAlongFromStartToStart) {
  Begin(PushSpec(RoundPolicy::kAsync));
  for (uint64_t kill = 1; kill <= 5; ++kill) {
    server_.disk.FailCallsMatching("syncdata /data/models/m/wal", absl::UnavailableError("killed"));
    EXPECT_FALSE(Push(&w0_).ok());
    ASSERT_TRUE(server_.PowerCycle(Unsynced::kKept).ok());
    EXPECT_EQ(version().counter, kill);
    ASSERT_TRUE(w0_.Open(&server_).ok());
    w0_.sequence = kill;
  }
  const std::string hash = server_.Hash();
  ASSERT_TRUE(server_.PowerCycle(Unsynced::kTorn).ok());
  EXPECT_EQ(server_.Hash(), hash);
}

// --- memory ---

// Every allocation of a round fails once. What came of it comes again from the log, on a machine that has
// memory.
TEST_F(PushDurability, WhatFoundNoMemoryFindsNoneInAReplay) {
  int refused = 0;
  for (int n = 1; n <= 14; ++n) {
    PushServer server(static_cast<uint64_t>(n));
    ASSERT_TRUE(server.Start().ok());
    ASSERT_TRUE(server.Create(PushSpec(RoundPolicy::kSync), Constant(kElements, 5)).ok());
    Pusher a{"w0"}, b{"w1"};
    ASSERT_TRUE(a.Open(&server).ok() && b.Open(&server).ok());
    server.pool.FailAllocation(n);
    refused += !a.Push(&server, Constant(kElements, 1)).ok();
    refused += !b.Push(&server, Constant(kElements, 2)).ok();
    server.pool.FailAllocation(0);
    // Those that were refused come again, with other bytes: their numbers are free.
    for (Pusher* client : {&a, &b}) {
      if (client->sequence == 0) ASSERT_TRUE(client->Push(&server, Constant(kElements, 9)).ok()) << n;
    }
    server.Advance(seconds(2));  // a close that found no memory is tried again
    const std::string hash = server.Hash();
    ASSERT_EQ(server.model->Info().version->version.counter, 1u) << n;
    const absl::Status started = server.PowerCycle(Unsynced::kLost);
    ASSERT_TRUE(started.ok() && server.model != nullptr) << n << ": " << started;
    EXPECT_EQ(server.Hash(), hash) << n;
  }
  EXPECT_GT(refused, 2);
}

// --- creation ---

TEST_F(PushDurability, IsRefusedWhereNothingIsKept) {
  PushServer server(1, /*durable=*/false);
  ASSERT_TRUE(server.Start().ok());
  EXPECT_THAT(server.Create(PushSpec(RoundPolicy::kAsync), Constant(kElements, 5)),
              Refused(StatusCode::kFailedPrecondition, "NO_DATA_DIR"));
}

TEST_F(PushDurability, IsRefusedWhereTheDiskIsTooSlow) {
  Engine::Options options = server_.Options();
  options.disk_bytes_per_second = 1000;
  ASSERT_TRUE(server_.Start().ok());
  server_.engine.reset();
  server_.engine = *Engine::Start(options);
  ModelSpec spec = PushSpec(RoundPolicy::kAsync);
  spec.expected_push_bytes_per_s = 601;
  const absl::Status refused = server_.Create(spec, Constant(kElements, 5));
  EXPECT_THAT(refused, Refused(StatusCode::kFailedPrecondition, "DISK_TOO_SLOW"));
  EXPECT_THAT(
      std::string(refused.message()),
      testing::AllOf(testing::HasSubstr("'m'"), testing::HasSubstr("601"), testing::HasSubstr("600")));
  spec.expected_push_bytes_per_s = 600;
  EXPECT_TRUE(server_.Create(spec, Constant(kElements, 5)).ok());
}

TEST_F(PushDurability, ACreationIsWholeOrNot) {
  int64_t calls = 0;
  for (int64_t n = 1; n == 1 || n <= calls; ++n) {
    PushServer server(static_cast<uint64_t>(n));
    ASSERT_TRUE(server.Start().ok());
    server.disk.ResetCalls();
    if (n > 1) server.disk.FailCallsFrom(n - 1);
    const bool created = server.Create(PushSpec(RoundPolicy::kAsync), Constant(kElements, 5)).ok();
    if (n == 1) calls = server.disk.calls() + 1;
    ASSERT_TRUE(server.PowerCycle(n % 2 == 0 ? Unsynced::kLost : Unsynced::kTorn).ok());
    if (created) ASSERT_NE(server.model, nullptr);
    if (server.model == nullptr) {
      const absl::Status again = server.Create(PushSpec(RoundPolicy::kAsync), Constant(kElements, 5));
      ASSERT_TRUE(again.ok()) << n << ": " << again;
    }
    Pusher worker{"w0"};
    ASSERT_TRUE(worker.Open(&server).ok());
    ASSERT_TRUE(worker.Push(&server, Constant(kElements, 1)).ok());
    const std::string hash = server.Hash();
    ASSERT_TRUE(server.PowerCycle(Unsynced::kLost).ok());
    ASSERT_NE(server.model, nullptr) << n;
    EXPECT_EQ(server.Hash(), hash) << n;
  }
}

TEST_F(PushDurability, ADeletedModelIsGoneWithItsLog) {
  Begin(PushSpec(RoundPolicy::kAsync));
  ASSERT_TRUE(Push(&w0_).ok());
  server_.model.reset();
  ASSERT_TRUE(server_.AskStatus([&](auto done) { server_.engine->Delete("m", done); }).ok());
  EXPECT_TRUE(Segments().empty());
  ASSERT_TRUE(server_.Create(PushSpec(RoundPolicy::kAsync), Constant(kElements, 5)).ok());
  Pusher again{"w0"};
  ASSERT_TRUE(again.Open(&server_).ok());
  EXPECT_TRUE(again.Push(&server_, Constant(kElements, 1)).ok());
}

TEST_F(PushDurability, ADrainEndsWithASnapshotBehindEverything) {
  Begin(PushSpec(RoundPolicy::kAsync));
  ASSERT_TRUE(Push(&w0_).ok());
  const std::string hash = server_.Hash();
  ASSERT_TRUE(server_.AskStatus([&](auto done) { server_.engine->Drain(done); }).ok());
  server_.model.reset();
  ASSERT_TRUE(server_.Start().ok());
  ASSERT_NE(server_.model, nullptr);
  EXPECT_EQ(server_.Hash(), hash);
  EXPECT_EQ(server_.model->Info().last_snapshot_wall_nanos, server_.clock.WallNanos());
}

// --- a directory that is kept ---

// Written once by this version (STEPBACK_WRITE_GOLDEN=1 writes it anew, only with a new format, in a folder
// of its own), with a snapshot in the middle of a round and every kind of call behind it: each later version
// opens it.
TEST(PushGolden, AKeptDirectoryOpensToTheStateThatItHad) {
  const std::filesystem::path kept = STEPBACK_GOLDEN_DIR "/push_v1";
  if (std::getenv("STEPBACK_WRITE_GOLDEN") != nullptr) {
    PushServer server(1);
    const std::string hash = Story(GradientPushSpec(), LongStory()).Tell(&server, 0);
    for (const std::string& file : server.disk.AllFiles()) {
      if (file.ends_with("/LOCK")) continue;
      const std::filesystem::path to = kept / file.substr(std::string("/data/").size());
      std::filesystem::create_directories(to.parent_path());
      std::ofstream(to, std::ios::binary) << server.disk.Contents(file);
    }
    std::ofstream(kept / "state_hash") << hash;
  }
  PushServer server(1);
  ASSERT_TRUE(server.disk.CreateDirectory("/data").ok());
  for (const auto& entry : std::filesystem::recursive_directory_iterator(kept)) {
    const std::string to = "/data/" + std::filesystem::relative(entry.path(), kept).string();
    if (entry.is_directory()) {
      ASSERT_TRUE(server.disk.CreateDirectory(to).ok());
    } else {
      ASSERT_TRUE(server.disk.OpenForWrite(to, WriteMode::kCreate).ok());
      std::ifstream in(entry.path(), std::ios::binary);
      server.disk.SetContents(to, {std::istreambuf_iterator<char>(in), {}});
    }
  }
  std::ifstream hash_file(kept / "state_hash");
  const std::string hash(std::istreambuf_iterator<char>(hash_file), {});
  ASSERT_TRUE(server.Start().ok());
  ASSERT_NE(server.model, nullptr) << server.engine->Find("m").status();
  EXPECT_EQ(server.Hash(), hash);
  EXPECT_EQ(server.model->DurableSequence("w0"), 8u);
  EXPECT_EQ(server.model->DurableSequence("w1"), 7u);
}

// --- many at once ---

// Several pushes in flight and a power failure at a random moment; then everyone sends again what was not
// acknowledged. The weights are those of the pushes one after the other, in the order of their versions.
TEST_F(PushDurability, PushesInFlightAreThereOnceOrNotAtAll) {
  for (uint64_t seed = 1; seed <= 60; ++seed) {
    std::mt19937_64 random(seed);
    PushServer server(seed);
    ASSERT_TRUE(server.Start().ok());
    ASSERT_TRUE(server.Create(PushSpec(RoundPolicy::kAsync), Constant(kElements, 5)).ok());
    std::vector<Pusher> clients = {{"w0"}, {"w1"}, {"w2"}};
    for (Pusher& client : clients) ASSERT_TRUE(client.Open(&server).ok());
    std::map<uint64_t, std::pair<size_t, uint64_t>> order;  // by version
    const auto acknowledged = [&](size_t client, uint64_t number, const PushAnswer& answer) {
      const auto [known, added] = order.emplace(answer.version.counter, std::pair(client, number));
      EXPECT_TRUE(added || known->second == std::pair(client, number)) << "seed " << seed;
      clients[client].sequence = std::max(clients[client].sequence, number);
    };
    server.disk.ResetCalls();
    server.disk.FailCallsFrom(1 + static_cast<int64_t>(random() % 30));
    constexpr uint64_t kEach = 4;
    std::vector<std::shared_ptr<Upload>> uploads;
    for (size_t c = 0; c < clients.size(); ++c) {
      for (uint64_t number = 1; number <= kEach; ++number) {
        const std::vector<std::byte> bytes =
            BytesOfFloats(ValuesOf(PushSpec(RoundPolicy::kAsync), c, number));
        auto cancel = server.model->StartUpload(
            clients[c].Request(server, number, bytes.size()),
            [&, c, number, bytes](absl::StatusOr<UploadStart> start) {
              if (!start.ok() || start->upload == nullptr) return;
              uploads.push_back(start->upload);
              if (!AddAll(start->upload.get(), bytes).ok()) return;
              start->upload->Finish([&, c, number](absl::StatusOr<PushAnswer> answer) {
                if (answer.ok()) acknowledged(c, number, *answer);
              });
            });
        for (uint64_t steps = random() % 4; steps > 0; --steps) server.RunOne();
      }
    }
    server.RunAll();
    uploads.clear();
    const auto acknowledged_then = order;
    ASSERT_TRUE(server.PowerCycle(seed % 2 == 0 ? Unsynced::kLost : Unsynced::kTorn).ok());
    ASSERT_NE(server.model, nullptr) << "seed " << seed << ": " << server.engine->Find("m").status();
    ASSERT_GE(server.model->Info().version->version.counter,
              acknowledged_then.empty() ? 0 : acknowledged_then.rbegin()->first);
    for (size_t c = 0; c < clients.size(); ++c) {
      Pusher& client = clients[c];
      const uint64_t known = client.sequence;
      const auto opened = client.Open(&server);
      ASSERT_TRUE(opened.ok());
      ASSERT_GE(opened->session.last_sequence, known) << "seed " << seed;
      for (uint64_t number = 1; number <= kEach; ++number) {
        const std::vector<std::byte> bytes =
            BytesOfFloats(ValuesOf(PushSpec(RoundPolicy::kAsync), c, number));
        const auto answer = server.Send(client.Request(server, number, bytes.size()), bytes);
        ASSERT_TRUE(answer.ok()) << "seed " << seed << ": " << answer.status();
        acknowledged(c, number, *answer);
      }
    }
    ASSERT_EQ(order.size(), clients.size() * kEach) << "seed " << seed;
    PushServer reference(seed, /*durable=*/false);
    ModelSpec spec = PushSpec(RoundPolicy::kAsync);
    spec.durability = Durability::kVolatile;
    ASSERT_TRUE(reference.Start().ok() && reference.Create(spec, Constant(kElements, 5)).ok());
    std::vector<Pusher> again = {{"w0"}, {"w1"}, {"w2"}};
    for (Pusher& client : again) ASSERT_TRUE(client.Open(&reference).ok());
    for (const auto& [counter, push] : order)
      ASSERT_TRUE(again[push.first].Push(&reference, ValuesOf(spec, push.first, push.second)).ok());
    EXPECT_EQ(server.Hash(), reference.Hash()) << "seed " << seed;
  }
}

}  // namespace
}  // namespace stepback
