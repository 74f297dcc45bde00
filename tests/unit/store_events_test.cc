// The event log on disk: what is written comes back, files are bounded, a crash at any point leaves whole
// records, and no damage of any kind ever makes a record that was not written.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <set>

#include "server/base/crc32c.h"
#include "tests/unit/event_support.h"

namespace stepback {
namespace {

using absl::StatusCode;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

constexpr char kFirstFile[] = "/events/events-000001.log";

class StoreEvents : public testing::Test {
 protected:
  StoreEvents() {
    EXPECT_TRUE(fs_.CreateDirectory(kEventDir).ok());
    EXPECT_TRUE(fs_.SyncDirectory("/").ok());
  }

  // Opens the log anew, as a server that was started again does.
  absl::Status AppendAll(const std::vector<EventFrame>& frames, EventWriter::Options options = {}) {
    ASSIGN_OR_RETURN(const auto writer, OpenEvents(&fs_, options));
    size_t written = 0;
    RETURN_IF_ERROR(writer->Append(frames, &written));
    EXPECT_EQ(written, frames.size());
    return writer->Sync();
  }
  ReadEvents Read() {
    absl::StatusOr<ReadEvents> all = ReadAllEvents(&fs_);
    EXPECT_TRUE(all.ok()) << all.status();
    EXPECT_TRUE(all->genuine());
    return *std::move(all);
  }

  FakeFileSystem fs_;
};

TEST_F(StoreEvents, WhatIsWrittenComesBackInOrder) {
  EXPECT_THAT(Read().frames, IsEmpty());
  ASSERT_TRUE(AppendAll(TestFrames(1, 20)).ok());
  ASSERT_TRUE(AppendAll(TestFrames(21, 3)).ok());
  const ReadEvents all = Read();
  EXPECT_EQ(NumbersOf(all.frames), NumbersOf(TestFrames(1, 23)));
  EXPECT_THAT(all.damaged, IsEmpty());
  EXPECT_EQ(all.torn_bytes, 0u);
  EXPECT_THAT(fs_.AllFiles(), ElementsAre(kFirstFile)) << "a restart goes on with the file";
  EXPECT_EQ((*OpenEvents(&fs_))->next_number(), 24u);
}

TEST_F(StoreEvents, FilesAreBoundedAndTheOldestGo) {
  const EventWriter::Options small = {.file_bytes = 512, .files_kept = 3};
  const auto writer = OpenEvents(&fs_, small);
  ASSERT_TRUE(writer.ok());
  size_t written = 0;
  ASSERT_TRUE((*writer)->Append(TestFrames(1, 200), &written).ok());
  const std::vector<std::string> files = fs_.AllFiles();
  EXPECT_THAT(files, SizeIs(3));
  for (const std::string& file : files) EXPECT_LE(fs_.Contents(file).size(), 512u) << file;
  const ReadEvents all = Read();
  ASSERT_FALSE(all.frames.empty());
  EXPECT_EQ(all.frames.back().number, 200u);
  EXPECT_EQ(all.frames.size(), 200 - all.frames.front().number + 1) << "the newest, without a hole";
  EXPECT_THAT(all.damaged, IsEmpty());
}

TEST_F(StoreEvents, ARecordThatIsLongerThanAFileHasOneOfItsOwn) {
  ASSERT_TRUE(
      AppendAll({{1, std::string(5000, 'x')}, {2, std::string(5000, 'y')}}, {.file_bytes = 1024}).ok());
  EXPECT_THAT(fs_.AllFiles(), SizeIs(2));
  EXPECT_EQ(ReadAllEvents(&fs_)->frames[1].body, std::string(5000, 'y'));
}

TEST_F(StoreEvents, EveryFileBeginsWithThePreface) {
  const auto writer = OpenEvents(&fs_, {.file_bytes = 512, .files_kept = 100});
  (*writer)->SetPreface("settings");
  size_t written = 0;
  ASSERT_TRUE((*writer)->Append(TestFrames(1, 40), &written).ok());
  const size_t files = fs_.AllFiles().size();
  ASSERT_GE(files, 3u);
  const auto all = ReadAllEvents(&fs_);
  EXPECT_EQ(all->frames.size(), 40 + files);
  EXPECT_EQ(all->frames[0], (EventFrame{0, "settings"}));
}

// A reader may look on while a server writes, across files too.
TEST_F(StoreEvents, AReaderGoesOnWhereItWas) {
  const auto writer = OpenEvents(&fs_, {.file_bytes = 512, .files_kept = 100});
  const auto reader = EventReader::Open(&fs_, kEventDir, kEventModel);
  std::vector<EventFrame> seen;
  for (uint64_t next = 1; next <= 60; next += 4) {
    size_t written = 0;
    ASSERT_TRUE((*writer)->Append(TestFrames(next, 4), &written).ok());
    for (EventFrame frame; *(*reader)->Next(&frame);) seen.push_back(frame);
    EXPECT_EQ(seen.size(), next + 3);
  }
  EXPECT_EQ(NumbersOf(seen), NumbersOf(TestFrames(1, 60)));
}

// A crash may cut the file at any byte: the records before are there, the half one is not, and the next
// server goes on behind them.
TEST_F(StoreEvents, CutAtEveryByteItHoldsWhatIsWhole) {
  const std::vector<EventFrame> frames = TestFrames(1, 6);
  ASSERT_TRUE(AppendAll(frames).ok());
  const std::string whole = fs_.Contents(kFirstFile);
  std::vector<uint64_t> ends = {kEventFileHeaderBytes};
  for (const EventFrame& frame : frames) ends.push_back(ends.back() + EventFrameBytes(frame.body.size()));
  ASSERT_EQ(ends.back(), whole.size());
  for (size_t cut = 0; cut < whole.size(); ++cut) {
    fs_.SetContents(kFirstFile, whole.substr(0, cut));
    size_t count = 0;
    while (count < frames.size() && ends[count + 1] <= cut) ++count;
    const ReadEvents all = Read();
    ASSERT_EQ(all.frames.size(), count) << "cut at " << cut;
    EXPECT_THAT(all.damaged, IsEmpty()) << "a cut is no damage";
    EXPECT_EQ(all.torn_bytes, cut < kEventFileHeaderBytes ? cut : cut - ends[count]);

    ASSERT_TRUE(AppendAll({TestFrame(count + 1)}).ok()) << "cut at " << cut;
    EXPECT_EQ(NumbersOf(Read().frames), NumbersOf(TestFrames(1, count + 1))) << "cut at " << cut;
    if (fs_.Exists("/events/events-000002.log"))
      ASSERT_TRUE(fs_.RemoveFile("/events/events-000002.log").ok());
  }
}

// Whatever bit flips: no record comes back that was not written, the damage is told, and the records behind
// it are found.
TEST_F(StoreEvents, AFlippedBitCostsOneRecordAtMost) {
  ASSERT_TRUE(AppendAll(TestFrames(1, 6)).ok());
  const size_t bits = fs_.Contents(kFirstFile).size() * 8;
  for (size_t bit = 0; bit < bits; ++bit) {
    fs_.FlipBit(kFirstFile, bit);
    const ReadEvents all = Read();
    const size_t least = bit < kEventFileHeaderBytes * 8 ? 0 : 5;
    ASSERT_GE(all.frames.size(), least) << "bit " << bit;
    ASSERT_LE(all.frames.size(), 5u) << "bit " << bit;
    EXPECT_TRUE(!all.damaged.empty() || all.torn_bytes > 0) << "bit " << bit;
    fs_.FlipBit(kFirstFile, bit);
  }
}

// A file in which something is damaged is left as it is.
TEST_F(StoreEvents, BehindDamageANewFileBegins) {
  ASSERT_TRUE(AppendAll(TestFrames(1, 6)).ok());
  fs_.FlipBit(kFirstFile, (kEventFileHeaderBytes + 10) * 8);
  const std::string damaged = fs_.Contents(kFirstFile);
  ASSERT_TRUE(AppendAll({TestFrame(7)}).ok());
  EXPECT_EQ(fs_.Contents(kFirstFile), damaged);
  EXPECT_THAT(NumbersOf(Read().frames), ElementsAre(2u, 3u, 4u, 5u, 6u, 7u));
}

// Frames are bound to their place: bytes that were copied elsewhere, in this file or another one, are
// nothing.
TEST_F(StoreEvents, MovedBytesAreNoRecord) {
  ASSERT_TRUE(AppendAll(TestFrames(1, 2), {.file_bytes = 64}).ok());
  const std::string first = fs_.Contents(kFirstFile);
  fs_.SetContents("/events/events-000002.log", first);
  EXPECT_THAT(NumbersOf(Read().frames), ElementsAre(1u)) << "a file under another number";
  fs_.SetContents(kFirstFile, first + first.substr(kEventFileHeaderBytes));
  EXPECT_THAT(NumbersOf(Read().frames), ElementsAre(1u)) << "a frame at another offset";
  const auto other = EventReader::Open(&fs_, kEventDir, "other");
  EventFrame frame;
  EXPECT_FALSE(*(*other)->Next(&frame)) << "files of another model";
  EXPECT_THAT((*other)->damaged(), SizeIs(2));
}

// A body that holds a frame, as a client might send in a name, does not pass for one when what is around it
// is damaged: it does not know the salt.
TEST_F(StoreEvents, ABodyIsNoFrame) {
  std::string forged;
  AppendEventFrame({.salt = 1, .number = 1}, kEventFileHeaderBytes + kEventFrameHeaderBytes, {99, "forged"},
                   &forged);
  ASSERT_TRUE(AppendAll({{1, forged}, {2, ""}}).ok());
  fs_.FlipBit(kFirstFile, (kEventFileHeaderBytes + 8) * 8);
  const auto all = ReadAllEvents(&fs_);
  EXPECT_THAT(NumbersOf(all->frames), ElementsAre(2u));
  EXPECT_THAT(all->damaged, SizeIs(1));
}

TEST_F(StoreEvents, ANewerFormatIsNotRead) {
  ASSERT_TRUE(AppendAll(TestFrames(1, 1)).ok());
  std::string bytes = fs_.Contents(kFirstFile);
  bytes[8] = 2;
  const uint32_t crc = Crc32c(bytes.data(), 28);
  std::memcpy(bytes.data() + 28, &crc, sizeof crc);
  fs_.SetContents(kFirstFile, bytes);
  EXPECT_EQ(ReadAllEvents(&fs_).status().code(), StatusCode::kFailedPrecondition);
}

// --- faults ---

// Any storage call may fail, once: records may be missing then, but those that are there are genuine and in
// order, and what comes after the fault is written.
TEST_F(StoreEvents, AnyCallMayFail) {
  const EventWriter::Options small = {.file_bytes = 700, .files_kept = 3, .salt = 7};
  for (const absl::Status& fault :
       {absl::ResourceExhaustedError("disk full"), absl::DataLossError("I/O error")}) {
    for (int64_t n = 1;; ++n) {
      FakeFileSystem fs;
      ASSERT_TRUE(fs.CreateDirectory(kEventDir).ok());
      fs.ResetCalls();
      fs.FailCall(n, fault);
      auto writer = OpenEvents(&fs, small);
      if (!writer.ok()) writer = OpenEvents(&fs, small);
      ASSERT_TRUE(writer.ok()) << n;
      std::vector<uint64_t> kept;
      for (uint64_t number = 1; number <= 30; ++number) {
        size_t written = 0;
        const absl::Status appended = (*writer)->Append(TestFrames(number, 1), &written);
        EXPECT_EQ(appended.ok(), written == 1);
        if (appended.ok()) kept.push_back(number);
        if (number % 5 == 0) (*writer)->Sync().IgnoreError();
      }
      const bool reached = fs.calls() >= n;
      fs.StopFailing();
      const auto all = ReadAllEvents(&fs);
      ASSERT_TRUE(all.ok()) << all.status();
      ASSERT_TRUE(all->genuine()) << "call " << n;
      EXPECT_GE(kept.size(), 29u) << "a fault costs the record that met it";
      const std::vector<uint64_t> numbers = NumbersOf(all->frames);
      ASSERT_GE(numbers.size(), 5u);
      ASSERT_LE(numbers.size(), kept.size());
      EXPECT_TRUE(std::equal(numbers.rbegin(), numbers.rend(), kept.rbegin())) << "the newest; call " << n;
      if (!reached) break;
    }
  }
}

// What was synced is there after a power failure, however the rest is torn; the next server goes on.
TEST_F(StoreEvents, WhatWasSyncedSurvivesAPowerFailure) {
  for (uint64_t seed = 1; seed <= 200; ++seed) {
    FakeFileSystem fs(seed);
    ASSERT_TRUE(fs.CreateDirectory(kEventDir).ok());
    ASSERT_TRUE(fs.SyncDirectory("/").ok());
    const EventWriter::Options small = {.file_bytes = 1500, .files_kept = 100};
    std::set<uint64_t> synced;
    for (int life = 0; life < 3; ++life) {
      auto writer = OpenEvents(&fs, small);
      ASSERT_TRUE(writer.ok()) << writer.status();
      const uint64_t next = (*writer)->next_number();
      EXPECT_TRUE(synced.empty() || next > *synced.rbegin()) << "seed " << seed;
      size_t written = 0;
      ASSERT_TRUE((*writer)->Append(TestFrames(next, 10), &written).ok());
      ASSERT_TRUE((*writer)->Sync().ok());
      for (uint64_t i = 0; i < 10; ++i) synced.insert(next + i);
      ASSERT_TRUE((*writer)->Append(TestFrames(next + 10, seed % 20), &written).ok());
      fs.Crash(FakeFileSystem::Unsynced::kTorn);
      const auto all = ReadAllEvents(&fs);
      ASSERT_TRUE(all.ok() && all->genuine()) << "seed " << seed;
      const std::vector<uint64_t> numbers = NumbersOf(all->frames);
      EXPECT_TRUE(std::is_sorted(numbers.begin(), numbers.end())) << "seed " << seed;
      EXPECT_TRUE(std::includes(numbers.begin(), numbers.end(), synced.begin(), synced.end()))
          << "seed " << seed;
    }
  }
}

}  // namespace
}  // namespace stepback
