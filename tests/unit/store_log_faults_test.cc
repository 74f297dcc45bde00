// Every call of the disk fails, one after the other, with every kind of error, and is the machine's last:
// what was acknowledged is there afterwards, in order; a full disk passes; everything else ends writing and
// not reading.
#include <gtest/gtest.h>

#include "tests/unit/log_support.h"

namespace stepback {
namespace {

using absl::StatusCode;

constexpr LogWriter::Options kSmall = {.segment_bytes = 8192};

// Appends until the first failure; returns how many were acknowledged.
size_t AppendAll(FakeFileSystem* fs, const std::vector<LogAppend>& appends, absl::Status* failure) {
  auto log = ContinueLog(fs, kSmall);
  *failure = log.status();
  size_t acknowledged = 0;
  while (failure->ok() && acknowledged < appends.size()) {
    *failure = AppendOne(log->get(), appends[acknowledged]);
    acknowledged += failure->ok() ? 1 : 0;
  }
  if (failure->ok()) failure->Update((*log)->Mark());
  return acknowledged;
}

std::vector<LogAppend> FaultAppends() {
  std::vector<LogAppend> appends;
  for (uint64_t i = 0; i < 5; ++i) appends.push_back(TestAppend(i, 1500 * i));
  return appends;
}

int64_t CallsNeeded() {
  const auto fs = LogDisk();
  fs->ResetCalls();
  absl::Status failure;
  EXPECT_EQ(AppendAll(fs.get(), FaultAppends(), &failure), 5u) << failure;
  return fs->calls();
}

FakeFileSystem::Unsynced PowerOff(uint64_t seed) {
  return seed % 2 == 0 ? FakeFileSystem::Unsynced::kTorn : FakeFileSystem::Unsynced::kLost;
}

// Appends until the end at call `n`; returns how many entries were acknowledged.
size_t DieAtCall(FakeFileSystem* fs, int64_t n, FakeFileSystem::Unsynced unsynced) {
  fs->ResetCalls();
  fs->FailCallsFrom(n);
  absl::Status failure;
  const size_t acknowledged = AppendAll(fs, FaultAppends(), &failure);
  fs->Crash(unsynced);
  return acknowledged;
}

TEST(StoreLogFaults, WhateverCallIsTheLastTheAcknowledgedIsThere) {
  const std::vector<LogAppend> appends = FaultAppends();
  const int64_t calls = CallsNeeded();
  ASSERT_GT(calls, 20);
  for (int64_t n = 1; n <= calls; ++n) {
    for (uint64_t seed = 1; seed <= 4; ++seed) {
      const auto fs = LogDisk(seed);
      const size_t acknowledged = DieAtCall(fs.get(), n, PowerOff(seed));
      const auto read = ReadWholeLog(fs.get());
      ASSERT_TRUE(read.ok()) << "call " << n << ", seed " << seed << ": " << read.status();
      const size_t found = read->entries.size();
      ASSERT_GE(found, acknowledged) << "call " << n << ", seed " << seed;
      ASSERT_LE(found, acknowledged + 1) << "call " << n << ", seed " << seed;
      ASSERT_TRUE(HoldsFirst(*read, appends, found));
      ASSERT_TRUE(ContinueLog(fs.get()).ok());
    }
  }
}

// The process dies alone and leaves what it had not synced in the page cache; the next one goes on; then the
// machine dies.
TEST(StoreLogFaults, WhatAContinuedLogBeganWithOutlivesTheMachine) {
  const std::vector<LogAppend> appends = FaultAppends();
  const LogAppend next = TestAppend(77, 3000);
  const int64_t calls = CallsNeeded();
  for (int64_t n = 1; n <= calls; ++n) {
    for (uint64_t seed = 1; seed <= 4; ++seed) {
      const auto fs = LogDisk(seed);
      DieAtCall(fs.get(), n, FakeFileSystem::Unsynced::kKept);
      const auto read = ReadWholeLog(fs.get());
      ASSERT_TRUE(read.ok()) << "call " << n << ", seed " << seed << ": " << read.status();
      const size_t found = read->entries.size();
      ASSERT_TRUE(HoldsFirst(*read, appends, found));
      auto log = ContinueLog(fs.get());
      ASSERT_TRUE(log.ok()) << log.status();
      ASSERT_TRUE(AppendOne(log->get(), next).ok());
      log->reset();
      fs->Crash(PowerOff(seed));
      auto again = ReadWholeLog(fs.get());
      ASSERT_TRUE(again.ok()) << "call " << n << ", seed " << seed << ": " << again.status();
      ASSERT_EQ(again->entries.size(), found + 1) << "call " << n << ", seed " << seed;
      ASSERT_TRUE(SameEntry(again->entries.back(), next));
      again->entries.pop_back();
      ASSERT_TRUE(HoldsFirst(*again, appends, found)) << "call " << n << ", seed " << seed;
    }
  }
}

TEST(StoreLogFaults, ATailOfSeveralBuffersIsTakenAlong) {
  const auto fs = LogDisk();
  const LogAppend large = TestAppend(1, 3'000'001);  // a buffer holds 1 MiB
  auto log = ContinueLog(fs.get());
  ASSERT_TRUE(log.ok());
  fs->FailCallsMatching("syncdata", absl::DataLossError("input/output error"));
  ASSERT_FALSE(AppendOne(log->get(), large).ok());
  log->reset();
  fs->Crash(FakeFileSystem::Unsynced::kKept);
  auto next = ContinueLog(fs.get());
  ASSERT_TRUE(next.ok()) << next.status();
  const LogPlace behind = (*next)->end();
  next->reset();
  fs->Crash(FakeFileSystem::Unsynced::kLost);
  const auto read = ReadWholeLog(fs.get());
  ASSERT_TRUE(read.ok()) << read.status();
  ASSERT_TRUE(HoldsFirst(*read, {large}, 1));
  EXPECT_LE(read->end.position, behind.position);
  EXPECT_EQ(read->end.chain, behind.chain);
}

TEST(StoreLogFaults, ACallThatFailsOnceLosesNothing) {
  const std::vector<LogAppend> appends = FaultAppends();
  const int64_t calls = CallsNeeded();
  for (const StatusCode code :
       {StatusCode::kDataLoss, StatusCode::kResourceExhausted, StatusCode::kInternal}) {
    for (int64_t n = 1; n <= calls; ++n) {
      const auto fs = LogDisk();
      fs->ResetCalls();
      fs->FailCall(n, absl::Status(code, "injected"));
      absl::Status failure;
      const size_t acknowledged = AppendAll(fs.get(), appends, &failure);
      const auto read = ReadWholeLog(fs.get());
      ASSERT_TRUE(read.ok()) << "call " << n << ": " << read.status();
      ASSERT_GE(read->entries.size(), acknowledged);
      ASSERT_TRUE(HoldsFirst(*read, appends, read->entries.size())) << "call " << n;
    }
  }
}

// Reading is refused for as long as a call fails, and never says that the log is shorter than it is.
TEST(StoreLogFaults, AReadThatFailsIsNoEnd) {
  const std::vector<LogAppend> appends = FaultAppends();
  const auto fs = LogDisk();
  absl::Status failure;
  ASSERT_EQ(AppendAll(fs.get(), appends, &failure), 5u);
  fs->ResetCalls();
  ASSERT_TRUE(ReadWholeLog(fs.get()).ok());
  const int64_t calls = fs->calls();
  for (int64_t n = 1; n <= calls; ++n) {
    fs->ResetCalls();
    fs->FailCall(n, absl::DataLossError("injected"));
    const auto read = ReadWholeLog(fs.get());
    if (read.ok()) ASSERT_TRUE(HoldsFirst(*read, appends, 5)) << "call " << n;
    fs->StopFailing();
  }
}

TEST(StoreLogFaults, AFullDiskPasses) {
  const auto fs = LogDisk();
  auto log = ContinueLog(fs.get(), kSmall);
  std::vector<LogAppend> appends;
  int fills = 0;
  for (int cycle = 0; cycle < 20; ++cycle) {
    uint64_t used = 0;
    for (const std::string& path : fs->AllFiles()) used += fs->Contents(path).size();
    fs->SetCapacity(used + 700 * cycle);
    const LogAppend append = TestAppend(cycle, 6000);
    const absl::Status full = AppendOne(log->get(), append);
    if (!full.ok()) {
      ASSERT_EQ(full.code(), StatusCode::kResourceExhausted) << full;
      ASSERT_TRUE((*log)->writable().ok());
      ++fills;
      fs->SetCapacity(UINT64_MAX);
      ASSERT_TRUE(AppendOne(log->get(), append).ok());
    }
    appends.push_back(append);
    ASSERT_TRUE(HoldsFirst(*ReadWholeLog(fs.get()), appends, appends.size())) << "cycle " << cycle;
  }
  EXPECT_GT(fills, 5);
}

TEST(StoreLogFaults, AFailedSyncIsFinal) {
  const auto fs = LogDisk();
  auto log = ContinueLog(fs.get());
  ASSERT_TRUE(AppendOne(log->get(), TestAppend(1, 10)).ok());
  for (const StatusCode code : {StatusCode::kDataLoss, StatusCode::kResourceExhausted}) {
    fs->FailCallsMatching("syncdata", absl::Status(code, "injected"));
    EXPECT_EQ(AppendOne(log->get(), TestAppend(2, 10)).code(), StatusCode::kDataLoss);
    fs->FailCallsMatching("", absl::OkStatus());
    EXPECT_EQ(AppendOne(log->get(), TestAppend(3, 10)).code(), StatusCode::kDataLoss) << "not tried again";
    EXPECT_EQ((*log)->Mark().code(), StatusCode::kDataLoss);
    EXPECT_FALSE((*log)->writable().ok());
  }
}

}  // namespace
}  // namespace stepback
