// The log of one model on a healthy disk: what is appended comes back, over segments, restarts and releases;
// and the kept files of format version 1.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "server/base/crc32c.h"
#include "tests/unit/log_support.h"

namespace stepback {
namespace {

using absl::StatusCode;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr char kGoldenLogDir[] = STEPBACK_GOLDEN_DIR "/log_v1";

std::vector<std::string> Segments(FakeFileSystem* fs) { return *fs->List(kLogDir); }

TEST(StoreLog, GivesBackWhatWasAppendedInOrder) {
  const auto fs = LogDisk();
  std::vector<LogAppend> appends;
  for (const size_t bytes : {0, 1, 100, 4096, 70'000, 0, 3'000'000})
    appends.push_back(TestAppend(bytes, bytes));
  auto log = ContinueLog(fs.get());
  ASSERT_TRUE(log.ok()) << log.status();
  // The first three in one batch, the others one by one.
  std::vector<const LogAppend*> batch = {&appends[0], &appends[1], &appends[2]};
  std::vector<LogPlace> places;
  ASSERT_TRUE((*log)->Write(batch, &places).ok());
  EXPECT_EQ(places.size(), 3u);
  EXPECT_EQ(places[0].end, places[1].position);
  for (size_t i = 3; i < appends.size(); ++i) ASSERT_TRUE(AppendOne(log->get(), appends[i]).ok());

  const auto read = ReadWholeLog(fs.get());
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_TRUE(HoldsFirst(*read, appends, appends.size()));
  EXPECT_EQ(read->report.torn_bytes, 0u);
  for (size_t i = 0; i < 3; ++i) EXPECT_EQ(read->entries[i].place.position, places[i].position);
}

TEST(StoreLog, ASyncCoversAWholeBatch) {
  const auto fs = LogDisk();
  auto log = ContinueLog(fs.get());
  const LogAppend a = TestAppend(1, 5000), b = TestAppend(2, 5000);
  const std::vector<const LogAppend*> batch = {&a, &b};
  std::vector<LogPlace> places;
  fs->ResetCalls();
  ASSERT_TRUE((*log)->Write(batch, &places).ok());
  EXPECT_EQ(fs->calls(), 2) << "one write, one fdatasync";
  fs->Crash(FakeFileSystem::Unsynced::kLost);
  EXPECT_TRUE(HoldsFirst(*ReadWholeLog(fs.get()), {a, b}, 2));
}

// Pieces keep the boundaries and sums that they had on the wire; a sum that is not the bytes' shows.
TEST(StoreLog, TheSumsOfTheWireAreWritten) {
  const auto fs = LogDisk();
  auto log = ContinueLog(fs.get());
  LogAppend append = TestAppend(1, 3000);
  const std::vector<std::byte> bytes = BytesOfPayload(append.payload);
  append.sums = {{1000, Crc32c(bytes.data(), 1000)}, {2000, Crc32c(bytes.data() + 1000, 2000)}};
  ASSERT_TRUE(AppendOne(log->get(), append).ok());
  EXPECT_TRUE(HoldsFirst(*ReadWholeLog(fs.get()), {append}, 1));
  LogAppend wrong = append;
  wrong.sums[1].crc32c ^= 1;
  ASSERT_TRUE(AppendOne(log->get(), wrong).ok());
  EXPECT_EQ(ReadWholeLog(fs.get()).status().code(), StatusCode::kDataLoss);
  wrong.sums.pop_back();
  EXPECT_EQ(AppendOne(log->get(), wrong).code(), StatusCode::kInvalidArgument);
}

TEST(StoreLog, FullSegmentsAreFollowedByNewOnesAndReleasedByPosition) {
  const auto fs = LogDisk();
  auto log = ContinueLog(fs.get(), {.segment_bytes = 16'384});
  std::vector<LogAppend> appends;
  for (uint64_t i = 0; i < 10; ++i) {
    appends.push_back(TestAppend(i, 5000));
    ASSERT_TRUE(AppendOne(log->get(), appends.back()).ok());
  }
  // Each takes two blocks, so a segment has room for two.
  EXPECT_EQ(Segments(fs.get()).size(), 5u);
  auto read = ReadWholeLog(fs.get());
  ASSERT_TRUE(read.ok()) << read.status();
  ASSERT_TRUE(HoldsFirst(*read, appends, 10));

  const LogPlace fifth = read->entries[4].place;
  ASSERT_TRUE((*log)->Release(fifth.position).ok());
  EXPECT_EQ(Segments(fs.get()).size(), 3u);
  read = ReadWholeLog(fs.get(), {.from = fifth.end, .chain = fifth.chain});
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->entries.size(), 5u);
  EXPECT_EQ(ReadWholeLog(fs.get()).status().code(), StatusCode::kDataLoss) << "its beginning is gone";
  EXPECT_EQ(ReadWholeLog(fs.get(), {.from = fifth.end, .chain = fifth.chain + 1}).status().code(),
            StatusCode::kDataLoss);
  // The segment that is written to stays, whatever is released.
  ASSERT_TRUE((*log)->Release(UINT64_MAX).ok());
  EXPECT_EQ(Segments(fs.get()).size(), 1u);
}

TEST(StoreLog, ABatchLargerThanASegmentGetsItsOwn) {
  const auto fs = LogDisk();
  auto log = ContinueLog(fs.get(), {.segment_bytes = 4096});
  const LogAppend large = TestAppend(1, 5'000'000), small = TestAppend(2, 10);
  ASSERT_TRUE(AppendOne(log->get(), large).ok());
  ASSERT_TRUE(AppendOne(log->get(), small).ok());
  EXPECT_TRUE(HoldsFirst(*ReadWholeLog(fs.get()), {large, small}, 2));
}

TEST(StoreLog, GoesOnAfterRestarts) {
  const auto fs = LogDisk();
  std::vector<LogAppend> appends;
  for (uint64_t i = 0; i < 4; ++i) {
    auto log = ContinueLog(fs.get());
    ASSERT_TRUE(log.ok()) << log.status();
    appends.push_back(TestAppend(i, 500 * i));
    ASSERT_TRUE(AppendOne(log->get(), appends.back()).ok());
    if (i % 2 == 0) ASSERT_TRUE((*log)->Mark().ok());
    fs->Crash(FakeFileSystem::Unsynced::kLost);
  }
  const auto read = ReadWholeLog(fs.get());
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_TRUE(HoldsFirst(*read, appends, 4));
  // A reader may begin behind any entry, also the last one.
  for (const LogEntry& entry : read->entries) {
    const auto rest = ReadWholeLog(fs.get(), {.from = entry.place.end, .chain = entry.place.chain});
    ASSERT_TRUE(rest.ok()) << rest.status();
    EXPECT_EQ(rest->entries.size(), appends.size() - entry.record.counter - 1);
  }
}

TEST(StoreLog, PayloadsAreVerifiedAlsoWhenNotKept) {
  const auto fs = LogDisk();
  auto log = ContinueLog(fs.get());
  ASSERT_TRUE(AppendOne(log->get(), TestAppend(1, 9000)).ok());
  auto read = ReadWholeLog(fs.get(), {.keep_payloads = false});
  ASSERT_TRUE(read.ok());
  EXPECT_EQ(read->entries[0].payload_bytes, 9000u);
  EXPECT_TRUE(read->entries[0].payload.empty());
  fs->FlipBit("/log/wal-000001.log", (4096 + 5000) * 8);
  EXPECT_EQ(ReadWholeLog(fs.get(), {.keep_payloads = false}).status().code(), StatusCode::kDataLoss);
}

TEST(StoreLog, WithoutDirectIoItIsTheSameBytes) {
  const auto direct = LogDisk(), buffered = LogDisk();
  buffered->SupportDirectIo(false);
  for (FakeFileSystem* fs : {direct.get(), buffered.get()}) {
    auto log = ContinueLog(fs);
    EXPECT_EQ((*log)->is_direct(), fs == direct.get());
    ASSERT_TRUE(AppendOne(log->get(), TestAppend(1, 9000)).ok());
  }
  EXPECT_EQ(direct->Contents("/log/wal-000001.log"), buffered->Contents("/log/wal-000001.log"));
}

TEST(StoreLog, AnotherModelsSegmentIsRefused) {
  const auto fs = LogDisk();
  ASSERT_TRUE(LogWriter::Open(fs.get(), kLogDir, "other", {}, {}).ok());
  EXPECT_EQ(ReadWholeLog(fs.get()).status().code(), StatusCode::kFailedPrecondition);
}

TEST(StoreLog, ANewerFormatIsRefusedAndIsNotDamage) {
  const auto fs = LogDisk();
  ASSERT_TRUE(ContinueLog(fs.get()).ok());
  std::string bytes = fs->Contents("/log/wal-000001.log");
  bytes[8] = kLogFormatVersion + 1;
  const uint32_t crc = Crc32c(bytes.data(), 44);
  for (int i = 0; i < 4; ++i) bytes[44 + i] = static_cast<char>(crc >> (8 * i));
  fs->SetContents("/log/wal-000001.log", bytes);
  for (const auto recovery : {LogRecovery::kStrict, LogRecovery::kPointInTime, LogRecovery::kSalvage}) {
    EXPECT_EQ(ReadWholeLog(fs.get(), {.recovery = recovery}).status().code(),
              StatusCode::kFailedPrecondition);
  }
}

// --- golden files ---

std::vector<LogAppend> GoldenAppends() {
  std::vector<std::byte> payload(40);
  for (size_t i = 0; i < payload.size(); ++i) payload[i] = static_cast<std::byte>(i * 7 + 1);
  return {
      {.record = {.type = 2, .term = 1, .client = "w0", .epoch = 1, .body = "open"}},
      {.record =
           {.type = 1, .term = 1, .counter = 5, .client = "w0", .epoch = 1, .sequence = 6, .body = "push"},
       .payload = PayloadOfBytes(payload)},
      {.record = {.type = 3, .term = 1, .counter = 5, .body = ""}}};
}

void WriteGoldenLog(FakeFileSystem* fs) {
  auto log = LogWriter::Open(fs, kLogDir, kLogModel, {}, {.segment_bytes = 4096, .salt = 0x5a17});
  ASSERT_TRUE(log.ok()) << log.status();
  const std::vector<LogAppend> appends = GoldenAppends();
  const std::vector<const LogAppend*> batch = {&appends[0], &appends[1]};
  std::vector<LogPlace> places;
  ASSERT_TRUE((*log)->Write(batch, &places).ok());
  ASSERT_TRUE(AppendOne(log->get(), appends[2]).ok());
}

std::string ReadKept(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

TEST(StoreLogGolden, VersionOneReadsAndIsStillWrittenToTheSameBytes) {
  const auto fresh = LogDisk(), kept = LogDisk();
  WriteGoldenLog(fresh.get());
  if (std::getenv("STEPBACK_WRITE_GOLDEN") != nullptr) {
    std::filesystem::create_directories(kGoldenLogDir);
    for (const std::string& path : fresh->AllFiles()) {
      std::ofstream(std::string(kGoldenLogDir) + path.substr(4), std::ios::binary) << fresh->Contents(path);
    }
  }
  for (const auto& file : std::filesystem::directory_iterator(kGoldenLogDir)) {
    const std::string path = std::string(kLogDir) + "/" + file.path().filename().string();
    ASSERT_TRUE(kept->OpenForWrite(path, WriteMode::kCreate).ok());
    kept->SetContents(path, ReadKept(file.path()));
    EXPECT_EQ(fresh->Contents(path), kept->Contents(path)) << path;
  }
  EXPECT_EQ(fresh->AllFiles(), kept->AllFiles());
  const auto read = ReadWholeLog(kept.get());
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_TRUE(HoldsFirst(*read, GoldenAppends(), 3));
  EXPECT_EQ(read->end.salt, 0x5a17u);
}

// The worked example of the documentation is this log: its header and its first batch.
TEST(StoreLogGolden, TheDocumentationShowsItsBytes) {
  const std::string page = ReadKept(STEPBACK_GOLDEN_DIR "/../../docs/on_disk_format.md");
  const std::string log = ReadKept(std::string(kGoldenLogDir) + "/wal-000001.log");
  ASSERT_EQ(log.size(), 8192u);
  for (size_t at = 0; at < log.size(); at += 16) {
    if (log.find_first_not_of('\0', at) >= at + 16) continue;
    char text[32];
    std::snprintf(text, sizeof text, "%08zx:", at);
    std::string line = text;
    for (size_t i = 0; i < 16; ++i) {
      std::snprintf(text, sizeof text, i % 2 == 0 ? " %02x" : "%02x",
                    static_cast<unsigned char>(log[at + i]));
      line += text;
    }
    EXPECT_THAT(page, HasSubstr(line));
  }
}

}  // namespace
}  // namespace stepback
