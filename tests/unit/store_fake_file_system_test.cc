// The bad days themselves: what a crash forgets, which call fails, what a full disk leaves.
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <set>
#include <string>

#include "tests/fakes/clock.h"
#include "tests/fakes/file_system.h"

namespace stepback {
namespace {

using Unsynced = FakeFileSystem::Unsynced;

std::span<const std::byte> Bytes(const std::string& text) { return std::as_bytes(std::span(text)); }

void Write(FileSystem* fs, const std::string& path, const std::string& text, bool sync) {
  auto file = fs->OpenForWrite(path, WriteMode::kTruncate);
  ASSERT_TRUE(file.ok());
  ASSERT_TRUE((*file)->Append(Bytes(text)).ok());
  ASSERT_TRUE(!sync || (*file)->Sync().ok());
}

TEST(FakeFileSystem, ACrashForgetsANameWhoseDirectoryWasNotSynced) {
  FakeFileSystem fs;
  Write(&fs, "/a", "1", true);
  fs.Crash(Unsynced::kLost);
  EXPECT_FALSE(fs.Exists("/a"));
}

TEST(FakeFileSystem, ACrashForgetsBytesThatWereNotSynced) {
  FakeFileSystem fs;
  Write(&fs, "/a", "old", true);
  ASSERT_TRUE(fs.SyncDirectory("/").ok());
  auto file = fs.OpenForWrite("/a", WriteMode::kAppend);
  ASSERT_TRUE((*file)->Append(Bytes("new")).ok());
  EXPECT_EQ(fs.Contents("/a"), "oldnew");
  fs.Crash(Unsynced::kLost);
  EXPECT_EQ(fs.Contents("/a"), "old");
}

TEST(FakeFileSystem, WhatWasSyncedSurvives) {
  FakeFileSystem fs;
  ASSERT_TRUE(fs.CreateDirectory("/d").ok());
  ASSERT_TRUE(fs.SyncDirectory("/").ok());
  Write(&fs, "/d/a", "1", true);
  ASSERT_TRUE(fs.SyncDirectory("/d").ok());
  fs.Crash(Unsynced::kTorn);
  EXPECT_EQ(fs.Contents("/d/a"), "1");
}

// A file that is grown, cut, written and synced in any order, beside one that copies all of it at every sync.
TEST(FakeFileSystem, ASyncSavesWhateverChangedAndACrashForgetsTheRest) {
  std::mt19937_64 random(11);
  FakeFileSystem fs;
  Write(&fs, "/a", "", true);
  ASSERT_TRUE(fs.SyncDirectory("/").ok());
  auto file = fs.OpenForWrite("/a", WriteMode::kAppend);
  std::string bytes, durable;
  for (int step = 0; step < 5000; ++step) {
    const size_t at = random() % 300;
    const std::string text(1 + random() % 40, static_cast<char>('a' + random() % 26));
    switch (random() % 8) {
      case 0:
        ASSERT_TRUE((*file)->Truncate(at).ok());
        bytes.resize(at);
        break;
      case 1:
        ASSERT_TRUE((*file)->Allocate(at).ok());
        bytes.resize(std::max(at, bytes.size()));
        break;
      case 2:
        ASSERT_TRUE((random() % 2 == 0 ? (*file)->Sync() : (*file)->SyncData()).ok());
        durable = bytes;
        break;
      case 3:
        fs.Crash(Unsynced::kLost);
        ASSERT_EQ(fs.Contents("/a"), durable) << "step " << step;
        file = fs.OpenForWrite("/a", at % 4 == 0 ? WriteMode::kTruncate : WriteMode::kAppend);
        bytes = at % 4 == 0 ? "" : durable;
        break;
      default:
        ASSERT_TRUE((*file)->WriteAt(at, Bytes(text)).ok());
        bytes.resize(std::max(bytes.size(), at + text.size()));
        bytes.replace(at, text.size(), text);
    }
    ASSERT_EQ(fs.Contents("/a"), bytes) << "step " << step;
  }
}

TEST(FakeFileSystem, ARenameIsUndoneUntilItsDirectoryIsSynced) {
  FakeFileSystem fs;
  Write(&fs, "/a", "1", true);
  ASSERT_TRUE(fs.SyncDirectory("/").ok());
  ASSERT_TRUE(fs.Rename("/a", "/b").ok());
  fs.Crash(Unsynced::kLost);
  EXPECT_TRUE(fs.Exists("/a"));
  EXPECT_FALSE(fs.Exists("/b"));
}

TEST(FakeFileSystem, ATornCrashLeavesMixturesOfOldAndNewSectors) {
  std::set<std::string> outcomes;
  for (uint64_t seed = 0; seed < 200; ++seed) {
    FakeFileSystem fs(seed);
    Write(&fs, "/a", std::string(2048, 'o'), true);
    ASSERT_TRUE(fs.SyncDirectory("/").ok());
    Write(&fs, "/a", std::string(2048, 'n'), false);
    fs.Crash(Unsynced::kTorn);
    std::string sectors;
    for (size_t at = 0; at < 2048; at += 512) sectors += fs.Contents("/a")[at];
    outcomes.insert(sectors);
  }
  EXPECT_EQ(outcomes.size(), 16u);
}

TEST(FakeFileSystem, AnOpenFileDiesWithItsProcess) {
  FakeFileSystem fs;
  auto file = fs.OpenForWrite("/a", WriteMode::kCreate);
  auto lock = fs.Lock("/LOCK");
  fs.Crash(Unsynced::kLost);
  EXPECT_FALSE((*file)->Append(Bytes("late")).ok());
  EXPECT_TRUE(fs.Lock("/LOCK").ok());
}

TEST(FakeFileSystem, TheNthCallFailsAndOnlyThat) {
  FakeFileSystem fs;
  fs.FailCall(2, absl::DataLossError("EIO"));
  EXPECT_TRUE(fs.CreateDirectory("/a").ok());
  EXPECT_EQ(fs.CreateDirectory("/b").code(), absl::StatusCode::kDataLoss);
  EXPECT_FALSE(fs.Exists("/b"));
  EXPECT_TRUE(fs.CreateDirectory("/c").ok());
  EXPECT_EQ(fs.calls(), 3);
}

TEST(FakeFileSystem, AFullDiskTakesWhatFitsAndRefusesTheRest) {
  FakeFileSystem fs;
  fs.SetCapacity(10);
  auto file = fs.OpenForWrite("/a", WriteMode::kCreate);
  EXPECT_EQ((*file)->Allocate(11).code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE((*file)->Append(Bytes("12345678")).ok());
  EXPECT_EQ(*fs.FreeBytes("/"), 2u);
  EXPECT_EQ((*file)->Append(Bytes("abcd")).code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(fs.Contents("/a"), "12345678ab");
}

// A disk may shrink below what is on it, as a quota does.
TEST(FakeFileSystem, ADiskSmallerThanWhatIsOnItHasNoRoom) {
  FakeFileSystem fs;
  auto file = fs.OpenForWrite("/a", WriteMode::kCreate);
  EXPECT_TRUE((*file)->Append(Bytes("12345678")).ok());
  fs.SetCapacity(4);
  EXPECT_EQ(*fs.FreeBytes("/"), 0u);
  EXPECT_EQ((*file)->Allocate(9).code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ((*file)->Append(Bytes("9")).code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(fs.Contents("/a"), "12345678");
}

TEST(FakeClock, MovesOnlyWhenToldAndIgnoresTheWall) {
  FakeClock clock;
  const TimePoint start = clock.Now();
  const int64_t wall = clock.WallNanos();
  clock.Advance(std::chrono::seconds(5));
  clock.JumpWall(-std::chrono::hours(1));
  EXPECT_EQ(clock.Now() - start, std::chrono::seconds(5));
  EXPECT_EQ(clock.WallNanos() - wall, (5 - 3600) * 1'000'000'000LL);
}

}  // namespace
}  // namespace stepback
