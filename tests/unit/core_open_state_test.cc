// What a log of calls rests on (decision records 107 to 109): a model that continues from its open state, or that
// replays its calls, is the model that was never interrupted. The oracle is that model.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <set>

#include "server/base/errors.h"
#include "tests/unit/core_call_history.h"

namespace stepback::core_test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr int kCalls = 150;
constexpr size_t kContinued = 16;  // calls after a cut
constexpr uint64_t kSeeds = 3;

// The CPU back-end on a machine that is short of memory and whose device is not sound.
class FlakyBackend final : public kernels::Backend {
 public:
  FlakyBackend(uint64_t seed, uint64_t one_in) : random_(seed), one_in_(one_in) {}

  std::string_view name() const override { return "flaky"; }
  std::unique_ptr<kernels::Buffer> Allocate(size_t bytes) override {
    return Fails() ? nullptr : cpu_->Allocate(bytes);
  }
  kernels::Status Fill(kernels::Buffer* b, float value) override { return cpu_->Fill(b, value); }
  kernels::Status Zero(kernels::Buffer* b) override { return cpu_->Zero(b); }
  kernels::Status Upload(kernels::Buffer* to, uint64_t at, const std::byte* from, size_t bytes) override {
    return cpu_->Upload(to, at, from, bytes);
  }
  kernels::Status Download(const kernels::Buffer& from, uint64_t at, std::byte* to, size_t bytes) override {
    return cpu_->Download(from, at, to, bytes);
  }
  kernels::Status Copy(kernels::Buffer* to, const kernels::Buffer& from) override { return cpu_->Copy(to, from); }
  kernels::Status FoldInto(kernels::Buffer* acc, kernels::Accumulate type, const kernels::EncodedView& bytes,
                           std::span<const kernels::Fold> folds, double weight,
                           kernels::Executor* executor) override {
    return Fails() ? Why() : cpu_->FoldInto(acc, type, bytes, folds, weight, executor);
  }
  kernels::Status Aggregate(const kernels::AggregatePlan& plan, kernels::Buffer* out,
                            kernels::Executor* executor) override {
    return Fails() ? Why() : cpu_->Aggregate(plan, out, executor);
  }
  kernels::CommitResult Commit(const kernels::CommitPlan& plan, kernels::Executor* executor) override {
    if (Fails()) return {.status = Why()};
    return cpu_->Commit(plan, executor);
  }
  kernels::AverageResult Average(const kernels::AveragePlan& plan, kernels::Executor* executor) override {
    if (Fails()) return {.status = Why()};
    return cpu_->Average(plan, executor);
  }

  bool sound = true;  // until a test says otherwise

 private:
  bool Fails() { return !sound && random_() % one_in_ == 0; }
  kernels::Status Why() {
    return random_() % 2 == 0 ? kernels::Status::kOutOfMemory : kernels::Status::kDeviceError;
  }

  std::mt19937_64 random_;
  uint64_t one_in_;
  std::unique_ptr<kernels::Backend> cpu_ = kernels::MakeCpuBackend();
};

Told WithoutFirst(Told told, uint64_t count) {
  const auto drop = [count](std::vector<std::string>* words) {
    ASSERT_GE(words->size(), count);
    words->erase(words->begin(), words->begin() + static_cast<std::ptrdiff_t>(count));
  };
  drop(&told.answers);
  drop(&told.events);
  return told;
}

bool ChangedNothing(const History::Entry& entry) {
  return entry.told.error.find("NO_MEMORY") != std::string::npos ||
         entry.told.error.find("DEVICE_ERROR") != std::string::npos;
}

bool Reports(const History::Entry& entry) {
  return entry.told.error.empty() && entry.call.kind != Call::Kind::kOpen &&
         entry.call.kind != Call::Kind::kUpdate;
}

void ExpectSame(const Model& model, const History::Entry& entry) {
  ASSERT_EQ(TextOf(model.open_state()), TextOf(entry.open));
  ASSERT_EQ(TextOf(*model.current()), TextOf(*entry.version));
}

// Makes calls [from, to) again; `unreported`: refusals that the interrupted model took with it.
void ExpectReplays(const History& history, size_t from, size_t to, uint64_t unreported, Model* model) {
  for (size_t i = from; i < to; ++i) {
    SCOPED_TRACE(fmt::format("call {}", i));
    const History::Entry& entry = history.entries()[i];
    if (ChangedNothing(entry)) continue;
    const Told told = Make(entry.call, model);
    const Told expected = Reports(entry) ? WithoutFirst(entry.told, std::exchange(unreported, 0)) : entry.told;
    ASSERT_EQ(Show(told), Show(expected));
    ASSERT_EQ(TextOf(*model->current()), TextOf(*entry.version));
  }
  if (to > from && unreported == 0) ExpectSame(*model, history.entries()[to - 1]);
}

class Machine {
 public:
  std::unique_ptr<Model> Continue(const History& history, size_t cut) {
    const History::Entry& entry = history.entries()[cut];
    auto model = Model::FromImage(entry.version, entry.open, history.Fetch(), {backend_.get(), &executor_});
    EXPECT_TRUE(model.ok()) << model.status();
    return model.ok() ? *std::move(model) : nullptr;
  }
  kernels::Backend* backend() { return backend_.get(); }
  Model::Environment environment() { return {backend_.get(), &executor_}; }

 private:
  std::unique_ptr<kernels::Backend> backend_ = kernels::MakeCpuBackend();
  kernels::InlineExecutor executor_;
};

void ExpectContinuesFromEveryCut(const History& history) {
  Machine machine;
  for (size_t cut = 0; cut + 1 < history.entries().size() && !testing::Test::HasFailure(); ++cut) {
    SCOPED_TRACE(fmt::format("cut after call {}", cut));
    const std::unique_ptr<Model> model = machine.Continue(history, cut);
    ASSERT_NE(model, nullptr);
    ExpectSame(*model, history.entries()[cut]);
    const size_t end = std::min(history.entries().size(), cut + 1 + kContinued);
    ExpectReplays(history, cut + 1, end, history.entries()[cut].unreported, model.get());
  }
}

void ForEachHistory(const std::function<void(const Workload&, uint64_t seed)>& check) {
  for (const Workload& workload : Workloads()) {
    for (uint64_t seed = Seed(); seed < Seed() + kSeeds && !testing::Test::HasFailure(); ++seed) {
      SCOPED_TRACE(fmt::format("{}, STEPBACK_TEST_SEED={}", workload.name, seed));
      check(workload, seed);
    }
  }
}

// --- the property ---

TEST(OpenState, AModelContinuesFromAnyCutAsIfItHadNeverStopped) {
  ForEachHistory([](const Workload& workload, uint64_t seed) {
    const auto backend = kernels::MakeCpuBackend();
    History history(workload, seed, backend.get());
    history.Grow(kCalls);
    ExpectContinuesFromEveryCut(history);
  });
}

TEST(OpenState, TheSameCallsFromTheBeginningGiveTheSameModel) {
  ForEachHistory([](const Workload& workload, uint64_t seed) {
    const auto backend = kernels::MakeCpuBackend();
    History history(workload, seed + 1000, backend.get());
    history.Grow(2 * kCalls);
    const std::unique_ptr<Model> model = history.Fresh(backend.get());
    ExpectReplays(history, 0, history.entries().size(), 0, model.get());
    EXPECT_EQ(*StateHash(*model->current(), backend.get()),
              *StateHash(*history.entries().back().version, backend.get()));
  });
}

TEST(OpenState, FailuresOfTheMachineAreRepeatedOnOneThatHasMemory) {
  std::map<std::string, int> seen;
  ForEachHistory([&seen](const Workload& workload, uint64_t seed) {
    FlakyBackend flaky(seed, 8);
    History history(workload, seed + 2000, &flaky);
    flaky.sound = false;
    history.Grow(kCalls);
    for (const History::Entry& entry : history.entries()) {
      seen["failures"] += static_cast<int>(entry.call.failures.size());
      for (const auto& round : entry.open.rounds) seen["waits to retry"] += round.retry_at.has_value();
      seen["changed nothing"] += ChangedNothing(entry);
      seen["dropped"] += entry.told.rest.find("DEVICE_ERROR") != std::string::npos;
    }
    Machine machine;
    const std::unique_ptr<Model> model = history.Fresh(machine.backend());
    ExpectReplays(history, 0, history.entries().size(), 0, model.get());
    ExpectContinuesFromEveryCut(history);
  });
  for (const char* what : {"failures", "waits to retry", "changed nothing", "dropped"}) EXPECT_GT(seen[what], 2) << what;
}

// A log's clock stands still while no server runs.
TEST(OpenState, OnlyDifferencesOfTimesMatter) {
  static constexpr Duration kLater = std::chrono::hours(1000) + std::chrono::nanoseconds(7);
  ForEachHistory([](const Workload& workload, uint64_t seed) {
    Machine machine;
    History history(workload, seed + 3000, machine.backend());
    history.Grow(kCalls);
    const size_t cut = kCalls / 2;
    OpenState open = history.entries()[cut].open;
    ShiftTimes(kLater, &open);
    auto model = Model::FromImage(history.entries()[cut].version, open, history.Fetch(), machine.environment());
    ASSERT_TRUE(model.ok()) << model.status();
    uint64_t unreported = history.entries()[cut].unreported;
    for (size_t i = cut + 1; i < history.entries().size(); ++i) {
      const History::Entry& entry = history.entries()[i];
      Call call = entry.call;
      call.at += kLater;
      const Told expected = Reports(entry) ? WithoutFirst(entry.told, std::exchange(unreported, 0)) : entry.told;
      ASSERT_EQ(Show(Make(call, model->get())), Show(expected)) << "call " << i;
    }
    OpenState end = (*model)->open_state();
    ShiftTimes(-kLater, &end);
    EXPECT_EQ(TextOf(end), TextOf(history.entries().back().open));
  });
}

// The property says little where histories never get to.
TEST(OpenState, TheHistoriesReachWhatTheyAreAbout) {
  std::map<std::string, int> seen;
  ForEachHistory([&seen](const Workload& workload, uint64_t seed) {
    const auto backend = kernels::MakeCpuBackend();
    History history(workload, seed, backend.get());
    history.Grow(kCalls);
    for (const History::Entry& entry : history.entries()) {
      for (const auto& round : entry.open.rounds) {
        seen["open rounds"] += !round.members.empty();
        seen["rounds of several"] += round.members.size() > 2;
        seen["learnt grace"] += !round.spreads.empty();
        for (const auto& member : round.members) {
          seen["skipped members"] += member.skipped;
          seen["stale members"] += member.staleness > 0;
          seen["clipped members"] += member.weight.clip != 1;
          seen["scaled members"] += member.scaled && !member.skipped;
        }
      }
      for (const auto& [id, client] : entry.open.sessions) {
        seen["held pushes"] += static_cast<int>(client.held.size());
        seen["excused"] += client.excused.has_value();
        seen["not finite"] += client.nonfinite.refused > 0;
        seen["paces"] += client.pace.steps_per_second > 0;
        seen[fmt::format("ended {}", int(client.end))]++;
      }
      seen["past weights"] += !entry.open.history.empty();
      seen["reevaluate"] += entry.open.reevaluate;
      seen["unreported"] += entry.unreported > 0;
      seen["scaler"] += entry.open.loss_scale < 65536;
      seen["lapsed"] += !entry.call.lapsed.empty();
      seen[fmt::format("calls {}", int(entry.call.kind))] += entry.told.error.empty();
      seen["refused calls"] += !entry.told.error.empty();
      seen["commits"] += entry.told.rest.starts_with("committed");
      for (const std::string& answer : entry.told.answers) {
        for (const char* reason : {"STALE_BASE", "RESYNC", "SEQUENCE_GAP", "FENCED", "NONFINITE", "SIZE_MISMATCH",
                                   "SESSION_EXPIRED", "ROLLED_BACK", "QUARANTINED"})
          seen[reason] += answer.find(fmt::format("[{}]", reason)) != std::string::npos;
        seen["duplicates"] += answer.find("outcome 3") != std::string::npos;
      }
    }
  });
  for (const char* what :
       {"open rounds", "rounds of several", "learnt grace", "skipped members", "stale members", "clipped members",
        "scaled members", "held pushes", "excused", "paces", "ended 1", "ended 2", "ended 3", "ended 4", "ended 5",
        "not finite", "QUARANTINED", "past weights", "reevaluate", "unreported", "scaler", "lapsed", "calls 0",
        "calls 1", "calls 2", "calls 3", "calls 4", "calls 5", "calls 6", "calls 7", "calls 8", "refused calls",
        "commits", "STALE_BASE", "RESYNC", "SEQUENCE_GAP", "FENCED", "NONFINITE", "SIZE_MISMATCH", "SESSION_EXPIRED",
        "ROLLED_BACK", "duplicates"}) {
    EXPECT_GT(seen[what], 5) << what;
  }
}

// --- leases ---

ModelSpec PushSpec(Durability durability = Durability::kPush) {
  ModelSpec spec = DeltaSpec(2);
  spec.lease_seconds = 60;
  spec.durability = durability;
  return spec;
}

TEST(Leases, EndByNameInDurabilityPush) {
  TestModel model(PushSpec(), OneTensor({10, 20}));
  model.Join("a");
  model.now += std::chrono::seconds(100);
  EXPECT_THAT(model->Lapsed(model.now), ElementsAre("a"));
  EXPECT_TRUE(model.Answer("a", OneTensor({1, 1})).refusal.ok()) << "nobody has said that its session ended";
  EXPECT_THAT(model->Lapsed(model.now), IsEmpty()) << "the push renewed the lease";

  model.now += std::chrono::seconds(100);
  const std::vector<std::string> lapsed = model->Lapsed(model.now);
  EXPECT_THAT(lapsed, ElementsAre("a"));
  EXPECT_TRUE(model->Heartbeat("a", model.epochs["a"], {}, model.now).ok());
  EXPECT_THAT(model->Tick(model.now, {}).ended_sessions, IsEmpty());
  EXPECT_THAT(model->Tick(model.now, lapsed).ended_sessions, ElementsAre("a")) << "what names it is what ends it";
  EXPECT_EQ(ReasonOf(model.Answer("a", OneTensor({1, 1})).refusal), "SESSION_EXPIRED");
  EXPECT_THAT(model->Tick(model.now, {"a", "nobody"}).ended_sessions, IsEmpty());
}

TEST(Leases, EndByThemselvesInOtherDurabilities) {
  TestModel model(PushSpec(Durability::kRound), OneTensor({10, 20}));
  model.Join("a");
  model.now += std::chrono::seconds(60);
  EXPECT_EQ(ReasonOf(model.Answer("a", OneTensor({1, 1})).refusal), "SESSION_EXPIRED");
  EXPECT_THAT(model->Tick(model.now).ended_sessions, ElementsAre("a"));
}

TEST(Leases, ALapsedOneAsksForATickUntilItIsRenewedOrEnded) {
  TestModel model(PushSpec(), OneTensor({10, 20}));
  model.Join("a");
  const TimePoint end = model.now + std::chrono::seconds(60);
  EXPECT_EQ(model->NextTick(), end);
  model.now = end;
  model->Tick(model.now, {});
  EXPECT_EQ(model->NextTick(), end) << "it is still due";
  ASSERT_TRUE(model->Heartbeat("a", model.epochs["a"], {}, model.now).ok());
  model->Tick(model.now, {});
  EXPECT_EQ(model->NextTick(), end + std::chrono::seconds(60));
}

TEST(Leases, HeartbeatsAndAttachingDecideNothing) {
  TestModel model(PushSpec(), OneTensor({10, 20}));
  for (const char* client : {"a", "b"}) model.Join(client);
  model.Apply("a", OneTensor({1, 1}));
  const std::string before = TextOf(model->open_state());
  model.now += std::chrono::seconds(30);
  ASSERT_TRUE(model->Heartbeat("a", model.epochs["a"], {.train_loss = 2}, model.now).ok());
  ASSERT_TRUE(model->Open({.client_id = "b", .attach = true}, model.now).ok());
  EXPECT_FALSE(model->Open({.client_id = "c", .attach = true}, model.now).ok());
  EXPECT_EQ(TextOf(model->open_state()), before);
}

// --- a term that rises in place ---

TEST(RaiseTerm, KeepsStateAndSessionsAndBeginsEveryLeaseAnew) {
  TestModel model(PushSpec(), OneTensor({10, 20}));
  for (const char* client : {"a", "b"}) model.Join(client);
  model.Apply("a", OneTensor({1, 1}));
  const std::string bits = StateBits(model.version());
  model.now += std::chrono::seconds(1000);
  const auto raised = model->RaiseTerm(2, model.now);
  ASSERT_TRUE(raised.ok());
  EXPECT_EQ(raised->committed, model->current());
  EXPECT_EQ(model.version().version, (Version{2, 0}));
  EXPECT_EQ(StateBits(model.version()), bits);
  EXPECT_THAT(model->Lapsed(model.now + std::chrono::seconds(59)), IsEmpty());
  EXPECT_THAT(model->Lapsed(model.now + std::chrono::seconds(60)), ElementsAre("a", "b"));

  EXPECT_EQ(model.Answer("b", OneTensor({3, 3})).version, (Version{2, 1})) << "the open round went on";
  EXPECT_THAT(model.Phi(), ElementsAre(8, 18));
  const uint64_t epoch = model.epochs["a"];
  model.Join("a");
  EXPECT_GT(model.epochs["a"], uint64_t{1} << 20) << "new epochs are above all of the earlier term's";
  EXPECT_LT(epoch, uint64_t{1} << 20);
}

TEST(RaiseTerm, MustBeAboveThePresentOne) {
  TestModel model(PushSpec(), OneTensor({10, 20}));
  for (const uint64_t term : {0, 1}) {
    const auto raised = model->RaiseTerm(term, model.now);
    EXPECT_EQ(ReasonOf(raised.status()), "TERM_INVALID");
    EXPECT_THAT(std::string(raised.status().message()), HasSubstr(fmt::format("term {} is not above 1", term)));
  }
  EXPECT_EQ(model.version().version, (Version{1, 0}));
}

// --- states that come damaged from disk ---

class DamagedState : public testing::Test {
 protected:
  DamagedState() : model_(PushSpec(), OneTensor({10, 20})) {
    for (const char* client : {"a", "b"}) model_.Join(client);
    pushes_ = {model_.Next("a", OneTensor({1, 1})), model_.Next("a", OneTensor({2, 2}))};
    for (size_t i = 0; i < pushes_.size(); ++i) {
      pushes_[i].log_position = i;
      model_.Apply(pushes_[i]);
    }
    open_ = model_->open_state();
  }
  absl::Status Load(const std::function<void(OpenState*)>& damage) {
    OpenState open = open_;
    damage(&open);
    const auto fetch = [this](const PushRef& ref) -> absl::StatusOr<Push> { return pushes_.at(ref.log_position); };
    return Model::FromImage(model_->current(), open, fetch, machine_.environment()).status();
  }
  void ExpectRefused(const std::string& words, const std::function<void(OpenState*)>& damage) {
    const absl::Status status = Load(damage);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << words;
    EXPECT_EQ(ReasonOf(status), "OPEN_STATE_INVALID") << words;
    EXPECT_THAT(std::string(status.message()), HasSubstr("model 'm': "));
    EXPECT_THAT(std::string(status.message()), HasSubstr(words));
  }

  Machine machine_;
  TestModel model_;
  std::vector<Push> pushes_;  // the first is in the open round, the second waits
  OpenState open_;
};

TEST_F(DamagedState, AnUndamagedOneLoads) {
  EXPECT_TRUE(Load([](OpenState*) {}).ok());
  ASSERT_EQ(open_.rounds[0].members.size(), 1u);
  ASSERT_EQ(open_.sessions.at("a").held.size(), 1u);
}

TEST_F(DamagedState, PartsThatDoNotFitEachOtherAreRefused) {
  ExpectRefused("has 0 rounds, the model 1", [](OpenState* s) { s->rounds.clear(); });
  ExpectRefused("has 1 rounds", [](OpenState* s) { s->clients = nullptr; });
  ExpectRefused("loss scale 0.5", [](OpenState* s) { s->loss_scale = 0.5; });
  ExpectRefused("loss scale nan", [](OpenState* s) { s->loss_scale = NAN; });
  ExpectRefused("session knows nothing of", [](OpenState* s) { s->sessions.at("a").contributed.clear(); });
  ExpectRefused("session knows nothing of", [](OpenState* s) { s->sessions.erase("a"); });
  ExpectRefused("client 'b' is in a round that there is not", [](OpenState* s) { s->sessions.at("b").contributed = {7}; });
  ExpectRefused("a weight that is no weight", [](OpenState* s) { s->rounds[0].members[0].weight.numerator = INFINITY; });
  ExpectRefused("not the one that is in the open round", [](OpenState* s) { s->rounds[0].members[0].samples = 9; });
  ExpectRefused("push 2 of client 'a' (epoch 1) was found in place of push 1",
                [](OpenState* s) { s->rounds[0].members[0].push.log_position = 1; });
  ExpectRefused("grace window remembers 17 rounds", [](OpenState* s) { s->rounds[0].spreads.resize(17); });
  ExpectRefused("client 'a' has 7 pushes that wait", [](OpenState* s) {
    s->sessions.at("a").held.resize(7, s->sessions.at("a").held[0]);
  });
  ExpectRefused("waits as one of client 'a' after push 2", [](OpenState* s) {
    s->sessions.at("a").held.push_back(s->sessions.at("a").held[0]);
  });
  ExpectRefused("has 1 pushes that wait", [](OpenState* s) { s->sessions.at("a").end = SessionEnd::kClosed; });
  ExpectRefused("client 'b' is excused without", [](OpenState* s) { s->sessions.at("b").excused = 0; });
  ExpectRefused("1 past weights are more than history_versions 0", [](OpenState* s) { s->history.resize(1); });
}

TEST_F(DamagedState, WhatTheLogSaysOfAMissingPushIsPassedOn) {
  OpenState open = open_;
  const auto fetch = [](const PushRef&) -> absl::StatusOr<Push> { return absl::DataLossError("a hole"); };
  EXPECT_EQ(Model::FromImage(model_->current(), open, fetch, machine_.environment()).status(),
            absl::DataLossError("a hole"));
}

}  // namespace
}  // namespace stepback::core_test
