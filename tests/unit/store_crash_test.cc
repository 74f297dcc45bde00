// Every call of every durable operation fails or is the machine's last, one after the other. What was
// acknowledged is there afterwards; what was not is there whole or not at all; and the store goes on.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <string>

#include "server/store/model_store.h"
#include "server/store/snapshot_format.h"
#include "tests/unit/store_support.h"

namespace stepback {
namespace {

using absl::StatusCode;
using testing::IsEmpty;
using Unsynced = FakeFileSystem::Unsynced;

constexpr uint64_t kSeeds = 20;

const TestSnapshot& Old() {
  static const TestSnapshot snapshot(1);
  return snapshot;
}
const TestSnapshot& New() {
  static const TestSnapshot snapshot(2, {100, 9000, 4096}, "new");
  return snapshot;
}

// A store with Old() in it, and an operation on it.
struct World {
  explicit World(uint64_t seed) : fs(seed), store(OpenTestStore(&fs)) {
    EXPECT_TRUE(Old().WriteTo(store.get()).ok());
    fs.ResetCalls();
  }
  void CrashAndReopen(Unsynced unsynced) {
    fs.Crash(unsynced);
    store.reset();
    store = OpenTestStore(&fs);
    ASSERT_NE(store, nullptr);
  }
  // The machine dies, in half of the seeds after a process that died alone and one that started behind it.
  void Die(uint64_t seed) {
    if (seed % 2 == 1) CrashAndReopen(Unsynced::kKept);
    CrashAndReopen(seed == 0 ? Unsynced::kLost : Unsynced::kTorn);
  }

  FakeFileSystem fs;
  std::unique_ptr<ModelStore> store;
};

using Operation = std::function<absl::Status(World*)>;

absl::Status WriteNew(World* world) { return New().WriteTo(world->store.get()).status(); }

int64_t CallsOf(const Operation& operation) {
  World world(0);
  EXPECT_TRUE(operation(&world).ok());
  return world.fs.calls();
}

// Loads the newest snapshot; nothing may be damaged.
enum class Loaded { kOld, kNew, kNeither };
Loaded LoadNewest(World* world) {
  Catcher catcher;
  LoadReport report;
  const auto meta = world->store->LoadLatest(catcher.Allocator(), &report);
  EXPECT_TRUE(meta.ok()) << meta.status();
  EXPECT_THAT(report.damaged, IsEmpty());
  if (!meta.ok()) return Loaded::kNeither;
  return catcher.Is(Old(), *meta) ? Loaded::kOld : catcher.Is(New(), *meta) ? Loaded::kNew : Loaded::kNeither;
}

// Nothing on the disk but lock, terms and the files of the listed snapshots.
void ExpectNoGarbage(World* world) {
  LoadReport report;
  const auto list = world->store->List(&report);
  ASSERT_TRUE(list.ok());
  for (const std::string& path : world->fs.AllFiles()) {
    bool known = path.find("/LOCK") != std::string::npos || path.find("/TERM-") != std::string::npos;
    for (const SnapshotMeta& meta : *list) {
      char number[16];
      std::snprintf(number, sizeof number, "-%06d", static_cast<int>(meta.generation));
      known |= path.find(std::string("snap") + number + "/") != std::string::npos;
      known |= path == std::string(kModelDir) + "/MANIFEST" + number;
    }
    EXPECT_TRUE(known) << path;
  }
}

void ExpectGoesOn(World* world) {
  const TestSnapshot next(99);
  const auto written = next.WriteTo(world->store.get());
  ASSERT_TRUE(written.ok()) << written.status();
  Catcher catcher;
  LoadReport report;
  const auto meta = world->store->LoadLatest(catcher.Allocator(), &report);
  ASSERT_TRUE(meta.ok());
  EXPECT_TRUE(catcher.Is(next, *meta));
}

TEST(StoreCrash, AWriteThatDiesAtAnyCallLeavesTheOldOrTheNewSnapshot) {
  const int64_t calls = CallsOf(WriteNew);
  ASSERT_GT(calls, 15);
  int old_count = 0, new_count = 0;
  for (int64_t n = 1; n <= calls + 1; ++n) {
    for (uint64_t seed = 0; seed < kSeeds; ++seed) {
      World world(seed);
      world.fs.FailCallsFrom(n);
      const bool acknowledged = WriteNew(&world).ok();
      ASSERT_EQ(acknowledged, n > calls);
      world.Die(seed);
      const Loaded loaded = LoadNewest(&world);
      ASSERT_NE(loaded, Loaded::kNeither) << "call " << n << " seed " << seed;
      ASSERT_TRUE(!acknowledged || loaded == Loaded::kNew);
      (loaded == Loaded::kOld ? old_count : new_count)++;
      ExpectNoGarbage(&world);
      ExpectGoesOn(&world);
    }
  }
  EXPECT_GT(old_count, 0);
  EXPECT_GT(new_count, static_cast<int>(kSeeds));  // also some that were not acknowledged
}

// What a process that starts behind a killed one serves outlives the machine, once the term is raised.
TEST(StoreCrash, WhatAStartServesBehindAKilledProcessIsDurable) {
  const int64_t calls = CallsOf(WriteNew);
  for (int64_t n = 1; n <= calls; ++n) {
    for (uint64_t seed = 0; seed < kSeeds; ++seed) {
      World world(seed);
      world.fs.FailCallsFrom(n);
      ASSERT_FALSE(WriteNew(&world).ok());
      world.CrashAndReopen(Unsynced::kKept);
      const Loaded served = LoadNewest(&world);
      ASSERT_TRUE(world.store->RaiseTerm(world.store->term() + 1).ok());
      world.CrashAndReopen(seed == 0 ? Unsynced::kLost : Unsynced::kTorn);
      ASSERT_EQ(LoadNewest(&world), served) << "call " << n << " seed " << seed;
      ExpectNoGarbage(&world);
    }
  }
}

// `large` dies at each of its calls, from `first` on.
void ExpectTheOldOrTheNew(const TestSnapshot& large, const std::function<int64_t(int64_t calls)>& first) {
  const Operation write = [&](World* world) { return large.WriteTo(world->store.get()).status(); };
  const int64_t calls = CallsOf(write);
  for (int64_t n = first(calls); n <= calls + 1; ++n) {
    World world(n);
    world.fs.FailCallsFrom(n);
    const bool acknowledged = write(&world).ok();
    ASSERT_EQ(acknowledged, n > calls);
    world.CrashAndReopen(Unsynced::kTorn);
    Catcher catcher;
    LoadReport report;
    const auto meta = world.store->LoadLatest(catcher.Allocator(), &report);
    ASSERT_TRUE(meta.ok()) << meta.status();
    ASSERT_THAT(report.damaged, IsEmpty());
    ASSERT_TRUE(catcher.Is(large, *meta) || (!acknowledged && catcher.Is(Old(), *meta))) << n;
    ExpectNoGarbage(&world);
  }
}

// Several blocks: the disk works on its own thread.
TEST(StoreCrash, ALargeWriteThatDiesAtAnyCallLeavesTheOldOrTheNewSnapshot) {
  ExpectTheOldOrTheNew(TestSnapshot(3, {2 * kBlockBytes + 100, kBlockBytes}), [](int64_t) { return 1; });
}

// A file is synced while the next one is written, in any order.
TEST(StoreCrash, AWriteOfTwoFilesThatDiesAroundTheirSyncsLeavesTheOldOrTheNewSnapshot) {
  ExpectTheOldOrTheNew(TestSnapshot(3, {kFileBytes + 2 * kBlockBytes}),
                       [](int64_t calls) { return calls - 13; });
}

TEST(StoreCrash, AFailedSyncOfTheFirstFileOfTwoIsNeverTriedAgain) {
  World world(1);
  world.fs.FailCallsMatching("syncdata /data/models/lm/snap-000002/block-000000",
                             absl::DataLossError("Input/output error"));
  const TestSnapshot large(3, {kFileBytes + 2 * kBlockBytes});
  EXPECT_EQ(large.WriteTo(world.store.get()).status().code(), StatusCode::kDataLoss);
  EXPECT_FALSE(world.store->writable().ok());
}

TEST(StoreCrash, ACancelledLargeWriteIsNotUncertain) {
  World world(1);
  const std::vector<std::string> before = world.fs.AllFiles();
  for (int block = 1; block <= 4; ++block) {
    int asked = 0;
    const TestSnapshot large(3, {3 * kBlockBytes + 100});
    const absl::Status status =
        large.WriteTo(world.store.get(), {.cancelled = [&] { return ++asked == block; }}).status();
    EXPECT_EQ(status.code(), StatusCode::kCancelled);
    EXPECT_TRUE(world.store->writable().ok());
    EXPECT_EQ(world.fs.AllFiles(), before);
  }
}

TEST(StoreCrash, RecoveryItselfMayDieAtAnyCall) {
  const int64_t calls = CallsOf(WriteNew);
  for (int64_t n = 1; n <= calls; ++n) {
    for (int64_t m = 1; m <= 12; ++m) {
      World world(n * 100 + m);
      world.fs.FailCallsFrom(n);
      WriteNew(&world).IgnoreError();
      world.store.reset();
      world.fs.Crash(Unsynced::kTorn);
      world.fs.FailCallsFrom(m);
      ModelStore::Open(&world.fs, kDataDir, kModel, {.create = true}).status().IgnoreError();
      world.CrashAndReopen(Unsynced::kTorn);
      ASSERT_NE(LoadNewest(&world), Loaded::kNeither) << n << " then " << m;
      ExpectNoGarbage(&world);
    }
  }
}

struct Failure {
  const char* name;
  absl::Status status;
};

class StoreFailure : public testing::TestWithParam<Failure> {};

TEST_P(StoreFailure, OfOneCallEndsTheWriteCleanlyAndTheOldSnapshotStays) {
  const int64_t calls = CallsOf(WriteNew);
  for (int64_t n = 1; n <= calls; ++n) {
    World world(n);
    world.fs.FailCall(n, GetParam().status);
    const absl::Status status = WriteNew(&world);
    const std::string call = world.fs.call_log()[n - 1];
    if (status.ok()) {  // only a look at the other snapshots' labels may fail without harm
      EXPECT_TRUE(call.find("MANIFEST-000001") != std::string::npos) << call;
      EXPECT_EQ(LoadNewest(&world), Loaded::kNew);
      continue;
    }
    ASSERT_TRUE(status.code() == GetParam().status.code() || status.code() == StatusCode::kDataLoss)
        << status;
    if (world.store->writable().ok()) {
      EXPECT_EQ(LoadNewest(&world), Loaded::kOld);
      ExpectNoGarbage(&world);
      ExpectGoesOn(&world);
    } else {
      // Reading goes on, writing does not.
      EXPECT_NE(LoadNewest(&world), Loaded::kNeither);
      EXPECT_EQ(WriteNew(&world).code(), StatusCode::kDataLoss);
      EXPECT_EQ(world.store->RaiseTerm(100).code(), StatusCode::kDataLoss);
      EXPECT_EQ(world.store->Prune(2).code(), StatusCode::kDataLoss);
    }
    world.CrashAndReopen(Unsynced::kLost);
    EXPECT_TRUE(world.store->writable().ok());
    ExpectNoGarbage(&world);
    ExpectGoesOn(&world);
  }
}

INSTANTIATE_TEST_SUITE_P(Errors, StoreFailure,
                         testing::Values(Failure{"EIO", absl::DataLossError("Input/output error")},
                                         Failure{"ENOSPC",
                                                 absl::ResourceExhaustedError("No space left on device")},
                                         Failure{"EACCES", absl::PermissionDeniedError("Permission denied")},
                                         Failure{"EINVAL", absl::InternalError("Invalid argument")}),
                         [](const auto& info) { return info.param.name; });

TEST(StoreCrash, AFailedSyncIsNeverTriedAgain) {
  for (const char* call :
       {"syncdata /data/models/lm/snap-000002/block", "sync /data/models/lm/MANIFEST-000002.tmp",
        "syncdir /data/models/lm/snap-000002", "syncdir /data/models/lm"}) {
    World world(1);
    world.fs.FailCallsMatching(call, absl::DataLossError("Input/output error"));
    EXPECT_EQ(WriteNew(&world).code(), StatusCode::kDataLoss);
    EXPECT_FALSE(world.store->writable().ok()) << call;
    const size_t syncs = world.fs.calls();
    EXPECT_FALSE(WriteNew(&world).ok());
    EXPECT_EQ(world.fs.calls(), static_cast<int64_t>(syncs)) << "touched the disk again after: " << call;
  }
}

TEST(StoreCrash, AFullDiskIsReportedLeavesNothingAndEndsWhenThereIsRoom) {
  World world(1);
  const std::vector<std::string> before = world.fs.AllFiles();
  uint64_t used = 0;
  for (const std::string& path : before) used += world.fs.Contents(path).size();
  for (uint64_t room = 0; room < 25'000; room += 997) {
    world.fs.SetCapacity(used + room);
    const absl::Status status = WriteNew(&world);
    if (status.ok()) break;
    ASSERT_EQ(status.code(), StatusCode::kResourceExhausted) << status;
    ASSERT_EQ(world.fs.AllFiles(), before);
    ASSERT_EQ(LoadNewest(&world), Loaded::kOld);
    ASSERT_TRUE(world.store->writable().ok());
  }
  EXPECT_EQ(LoadNewest(&world), Loaded::kNew);
}

TEST(StoreCrash, TheTermNeverGoesBackWhereverRaisingItDies) {
  const Operation raise = [](World* world) { return world->store->RaiseTerm(world->store->term() + 1); };
  const int64_t calls = CallsOf(raise);
  for (int64_t n = 1; n <= calls + 1; ++n) {
    for (uint64_t seed = 0; seed < kSeeds; ++seed) {
      World world(seed);
      for (int i = 0; i < 3; ++i) ASSERT_TRUE(raise(&world).ok());
      world.fs.ResetCalls();
      world.fs.FailCallsFrom(n);
      const uint64_t before = world.store->term();
      const bool acknowledged = raise(&world).ok();
      const uint64_t promised = world.store->term();
      EXPECT_EQ(promised, before + acknowledged);
      world.Die(seed);
      ASSERT_GE(world.store->term(), promised) << "call " << n << " seed " << seed;
      ASSERT_LE(world.store->term(), before + 1);
      ASSERT_TRUE(raise(&world).ok());
    }
  }
}

TEST(StoreCrash, ARemovalThatDiesLeavesTheOthersWholeAndTheRemovedWholeOrGone) {
  const Operation prepare_and_prune = [](World* world) {
    for (uint64_t i = 2; i <= 5; ++i) EXPECT_TRUE(TestSnapshot(i).WriteTo(world->store.get()).ok());
    world->fs.ResetCalls();
    return world->store->Prune(2);
  };
  const int64_t calls = CallsOf(prepare_and_prune);
  for (int64_t n = 1; n <= calls; ++n) {
    for (uint64_t seed = 0; seed < kSeeds; ++seed) {
      World world(seed);
      for (uint64_t i = 2; i <= 5; ++i) ASSERT_TRUE(TestSnapshot(i).WriteTo(world.store.get()).ok());
      world.fs.ResetCalls();
      world.fs.FailCallsFrom(n);
      ASSERT_FALSE(world.store->Prune(2).ok());
      world.Die(seed);
      LoadReport report;
      const auto list = world.store->List(&report);
      ASSERT_TRUE(list.ok());
      ASSERT_THAT(report.damaged, IsEmpty());
      ASSERT_GE(list->size(), 2u);
      EXPECT_EQ((*list)[0].generation, 5u);
      for (const SnapshotMeta& meta : *list) {
        Catcher catcher;
        ASSERT_TRUE(world.store->Load(meta.generation, catcher.Allocator()).ok())
            << n << " " << meta.generation;
      }
      ExpectNoGarbage(&world);
    }
  }
}

// Any read may fail too: an error that is not damage never falls back to older weights.
TEST(StoreCrash, AReadThatFailsForOtherReasonsThanDamageIsAnError) {
  const Operation load = [](World* world) {
    Catcher catcher;
    LoadReport report;
    return world->store->LoadLatest(catcher.Allocator(), &report).status();
  };
  const int64_t calls = CallsOf(load);
  for (int64_t n = 1; n <= calls; ++n) {
    World world(n);
    ASSERT_TRUE(WriteNew(&world).ok());
    world.fs.ResetCalls();
    world.fs.FailCall(n, absl::ResourceExhaustedError("Too many open files"));
    EXPECT_EQ(load(&world).code(), StatusCode::kResourceExhausted);
    EXPECT_EQ(LoadNewest(&world), Loaded::kNew);
  }
}

}  // namespace
}  // namespace stepback
