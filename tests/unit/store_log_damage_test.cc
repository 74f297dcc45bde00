// What a reader makes of logs that were cut, torn and changed: a tail that was never acknowledged goes,
// everything else that does not verify is refused, and nothing wrong is ever given out.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cstdlib>
#include <iostream>
#include <set>

#include "tests/unit/log_support.h"

namespace stepback {
namespace {

using absl::StatusCode;
using testing::IsEmpty;
using testing::SizeIs;

constexpr char kFirst[] = "/log/wal-000001.log";

uint64_t TestSeed() {
  const char* const text = std::getenv("STEPBACK_SEED");
  return text == nullptr ? 20261128 : std::strtoull(text, nullptr, 10);
}

std::vector<LogAppend> ThreeRecords() { return {TestAppend(0, 700), TestAppend(1, 0), TestAppend(2, 2600)}; }

// One batch per entry, as pushes that come one after the other make it.
std::unique_ptr<FakeFileSystem> DiskWith(const std::vector<LogAppend>& appends, bool mark) {
  auto fs = LogDisk();
  auto log = ContinueLog(fs.get(), {.segment_bytes = 20'480});
  for (const LogAppend& append : appends) EXPECT_TRUE(AppendOne(log->get(), append).ok());
  if (mark) EXPECT_TRUE((*log)->Mark().ok());
  return fs;
}

TEST(StoreLogDamage, CutAtEveryByteItHoldsWhatLiesBefore) {
  const std::vector<LogAppend> appends = ThreeRecords();
  const auto fs = DiskWith(appends, /*mark=*/false);
  const auto whole = ReadWholeLog(fs.get());
  ASSERT_TRUE(HoldsFirst(*whole, appends, 3));
  const std::string bytes = fs->Contents(kFirst);
  const uint64_t end = whole->end.position + kLogSegmentHeaderBytes;
  for (uint64_t cut = kLogSegmentHeaderBytes; cut <= end; ++cut) {
    fs->SetContents(kFirst, bytes.substr(0, cut));
    size_t before = 0;
    while (before < 3 && whole->entries[before].place.end + kLogSegmentHeaderBytes <= cut) ++before;
    const auto read = ReadWholeLog(fs.get());
    ASSERT_TRUE(read.ok()) << "cut at " << cut << ": " << read.status();
    ASSERT_TRUE(HoldsFirst(*read, appends, before)) << "cut at " << cut;
  }
  // A header that is cut was durable before the segment had a name: damage.
  for (uint64_t cut = 0; cut < kLogSegmentHeaderBytes; cut += 97) {
    fs->SetContents(kFirst, bytes.substr(0, cut));
    ASSERT_EQ(ReadWholeLog(fs.get()).status().code(), StatusCode::kDataLoss) << "cut at " << cut;
  }
}

// A tail whose sectors are as preallocated, whichever they are, was not acknowledged.
TEST(StoreLogDamage, AnyTornLastBatchIsDroppedAndTheLogGoesOn) {
  const std::vector<LogAppend> appends = ThreeRecords();
  int torn = 0;
  for (uint64_t seed = 1; seed <= 200; ++seed) {
    auto fs = LogDisk(seed);
    auto log = ContinueLog(fs.get(), {.segment_bytes = 20'480});
    ASSERT_TRUE(AppendOne(log->get(), appends[0]).ok());
    ASSERT_TRUE(AppendOne(log->get(), appends[1]).ok());
    fs->FailCallsMatching("syncdata", absl::UnavailableError("the machine is down"));
    ASSERT_FALSE(AppendOne(log->get(), appends[2]).ok());
    fs->FailCallsMatching("", absl::OkStatus());
    fs->Crash(FakeFileSystem::Unsynced::kTorn);
    const auto read = ReadWholeLog(fs.get());
    ASSERT_TRUE(read.ok()) << "seed " << seed << ": " << read.status();
    ASSERT_TRUE(HoldsFirst(*read, appends, 2) || HoldsFirst(*read, appends, 3)) << "seed " << seed;
    torn += read->report.torn_bytes > 0 ? 1 : 0;
    // Whatever lies behind the end, the next record follows the last whole one.
    std::vector<LogAppend> expected(appends.begin(), appends.begin() + read->entries.size());
    expected.push_back(TestAppend(9, 100));
    auto next = ContinueLog(fs.get());
    ASSERT_TRUE(AppendOne(next->get(), expected.back()).ok());
    ASSERT_TRUE(HoldsFirst(*ReadWholeLog(fs.get()), expected, expected.size())) << "seed " << seed;
  }
  EXPECT_GT(torn, 50);
}

// The commit of the first record may lie in a lost sector of its own while the second record is there.
TEST(StoreLogDamage, ATornBatchOfSeveralRecordsIsDroppedFromTheFirstHoleOn) {
  const std::vector<LogAppend> appends = {TestAppend(0, 700), TestAppend(1, 1200), TestAppend(2, 500)};
  std::set<size_t> survived;
  for (uint64_t seed = 1; seed <= 300; ++seed) {
    auto fs = LogDisk(seed);
    auto log = ContinueLog(fs.get(), {.segment_bytes = 20'480});
    ASSERT_TRUE(AppendOne(log->get(), appends[0]).ok());
    fs->FailCallsMatching("syncdata", absl::UnavailableError("the machine is down"));
    const LogAppend* const batch[] = {&appends[1], &appends[2]};
    std::vector<LogPlace> places;
    ASSERT_FALSE((*log)->Write(batch, &places).ok());
    fs->FailCallsMatching("", absl::OkStatus());
    fs->Crash(FakeFileSystem::Unsynced::kTorn);
    const auto read = ReadWholeLog(fs.get());
    ASSERT_TRUE(read.ok()) << "seed " << seed << ": " << read.status();
    survived.insert(read->entries.size());
    ASSERT_TRUE(HoldsFirst(*read, appends, read->entries.size())) << "seed " << seed;
  }
  EXPECT_THAT(survived, testing::ElementsAre(1u, 2u, 3u));
}

TEST(StoreLogDamage, NoFlippedBitIsLoadedSilently) {
  const uint64_t seed = TestSeed();
  std::cout << "STEPBACK_SEED=" << seed << "\n";
  std::mt19937_64 random(seed);
  const std::vector<LogAppend> appends = ThreeRecords();
  const auto fs = DiskWith(appends, /*mark=*/true);
  const std::string bytes = fs->Contents(kFirst);
  int refused = 0;
  for (int i = 0; i < 100'000; ++i) {
    const uint64_t bit = random() % (bytes.size() * 8);
    std::string changed = bytes;
    changed[bit / 8] ^= static_cast<char>(1 << (bit % 8));
    fs->SetContents(kFirst, changed);
    const auto read = ReadWholeLog(fs.get());
    if (!read.ok()) {
      ++refused;
      ASSERT_EQ(read.status().code(), StatusCode::kDataLoss) << "bit " << bit << ": " << read.status();
    } else {
      // In what holds no record: the fill, the mark, the room behind.
      ASSERT_TRUE(HoldsFirst(*read, appends, 3)) << "bit " << bit;
    }
  }
  EXPECT_GT(refused, 20'000);
}

// Without a mark there is no proof, but a record without an untouched sector was not torn.
TEST(StoreLogDamage, AChangedLastRecordIsDamageAlsoWithoutAMark) {
  const std::vector<LogAppend> appends = ThreeRecords();
  const auto fs = DiskWith(appends, /*mark=*/false);
  const LogPlace last = ReadWholeLog(fs.get())->entries[2].place;
  for (uint64_t at = last.position; at < last.end; at += 13) {
    fs->FlipBit(kFirst, (at + kLogSegmentHeaderBytes) * 8);
    EXPECT_EQ(ReadWholeLog(fs.get()).status().code(), StatusCode::kDataLoss) << at;
    fs->FlipBit(kFirst, (at + kLogSegmentHeaderBytes) * 8);
  }
}

TEST(StoreLogDamage, TheRecoveryModesKeepWhatTheySay) {
  std::vector<LogAppend> appends;
  for (uint64_t i = 0; i < 8; ++i) appends.push_back(TestAppend(i, 3000));
  const auto fs = DiskWith(appends, /*mark=*/true);  // several segments
  const LogPlace third = ReadWholeLog(fs.get())->entries[2].place;
  fs->FlipBit(kFirst, (third.position + kLogSegmentHeaderBytes + 500) * 8);

  const auto strict = ReadWholeLog(fs.get());
  EXPECT_EQ(strict.status().code(), StatusCode::kDataLoss) << strict.status();
  const auto point = ReadWholeLog(fs.get(), {.recovery = LogRecovery::kPointInTime});
  ASSERT_TRUE(point.ok()) << point.status();
  EXPECT_TRUE(HoldsFirst(*point, appends, 2));
  EXPECT_THAT(point->report.damaged, SizeIs(1));
  const auto salvaged = ReadWholeLog(fs.get(), {.recovery = LogRecovery::kSalvage});
  ASSERT_TRUE(salvaged.ok()) << salvaged.status();
  appends.erase(appends.begin() + 2);
  EXPECT_TRUE(HoldsFirst(*salvaged, appends, 7));
  EXPECT_THAT(salvaged->report.damaged, SizeIs(1));
}

TEST(StoreLogDamage, AMissingOrDamagedSegmentIsAGap) {
  std::vector<LogAppend> appends;
  for (uint64_t i = 0; i < 9; ++i)
    appends.push_back(TestAppend(i, 7000));  // two blocks each, two to a segment
  for (const bool missing : {true, false}) {
    const auto fs = DiskWith(appends, /*mark=*/true);
    ASSERT_GE(fs->List(kLogDir)->size(), 4u);
    if (missing) {
      ASSERT_TRUE(fs->RemoveFile("/log/wal-000002.log").ok());
    } else {
      fs->FlipBit("/log/wal-000002.log", 100);
    }
    EXPECT_EQ(ReadWholeLog(fs.get()).status().code(), StatusCode::kDataLoss);
    const auto point = ReadWholeLog(fs.get(), {.recovery = LogRecovery::kPointInTime});
    ASSERT_TRUE(point.ok()) << point.status();
    EXPECT_TRUE(HoldsFirst(*point, appends, 2));
    const auto salvaged = ReadWholeLog(fs.get(), {.recovery = LogRecovery::kSalvage});
    ASSERT_TRUE(salvaged.ok()) << salvaged.status();
    std::vector<LogAppend> rest = appends;
    rest.erase(rest.begin() + 2, rest.begin() + 4);
    EXPECT_TRUE(HoldsFirst(*salvaged, rest, 7)) << salvaged->entries.size();
  }
}

TEST(StoreLogDamage, ASegmentBeginsWhereALogCanReach) {
  std::array<std::byte, kLogSegmentHeaderBytes> bytes;
  EncodeLogSegment({.number = 1, .base = kLogPositionMax}, bytes.data());
  EXPECT_TRUE(DecodeLogSegment(bytes).ok());
  EncodeLogSegment({.number = 1, .base = kLogPositionMax + 8}, bytes.data());
  EXPECT_EQ(DecodeLogSegment(bytes).status().code(), StatusCode::kDataLoss);
  const auto fs = DiskWith(ThreeRecords(), /*mark=*/true);
  EXPECT_EQ(ReadWholeLog(fs.get(), {.from = UINT64_MAX - 7}).status().code(), StatusCode::kDataLoss);
}

// What is not verified is not given out: a commit's body would be.
TEST(StoreLogDamage, OnlyRecordsAndChunksHaveBodies) {
  for (const LogFrameKind kind :
       {LogFrameKind::kRecord, LogFrameKind::kChunk, LogFrameKind::kCommit, LogFrameKind::kMark}) {
    for (const uint32_t bytes : {0u, 8u}) {
      LogFrame frame{.body_bytes = bytes, .kind = kind};
      std::array<std::byte, kLogFrameHeaderBytes> header;
      EncodeLogFrame(1, &frame, header.data());
      const bool may = bytes == 0 || kind == LogFrameKind::kRecord || kind == LogFrameKind::kChunk;
      EXPECT_EQ(DecodeLogFrame(1, 0, header).ok(), may) << int(kind) << " with " << bytes;
    }
  }
}

// Its header is right in itself, but no writer goes back over an entry: positions would come twice.
TEST(StoreLogDamage, ASegmentThatBeginsInsideAnOlderOnesEntriesIsDamaged) {
  std::vector<LogAppend> appends;
  for (uint64_t i = 0; i < 6; ++i) appends.push_back(TestAppend(i, 7000));  // two to a segment
  const auto fs = DiskWith(appends, /*mark=*/true);
  std::string third = fs->Contents("/log/wal-000003.log");
  auto header = DecodeLogSegment(std::as_bytes(std::span(third)).first(kLogSegmentHeaderBytes));
  ASSERT_TRUE(header.ok()) << header.status();
  header->base = 8;
  EncodeLogSegment(*header, reinterpret_cast<std::byte*>(third.data()));
  fs->SetContents("/log/wal-000003.log", third);
  EXPECT_EQ(ReadWholeLog(fs.get()).status().code(), StatusCode::kDataLoss);
  const auto point = ReadWholeLog(fs.get(), {.recovery = LogRecovery::kPointInTime});
  ASSERT_TRUE(point.ok()) << point.status();
  EXPECT_TRUE(HoldsFirst(*point, appends, 2)) << "all of the second one lies behind where the third says it ends";
}

// What a recovery that stepped over damage does: the damaged files stay for people, and nobody reads them any
// more.
TEST(StoreLogDamage, ALogBeginsAnewBehindEverythingThatWasDamaged) {
  std::vector<LogAppend> appends;
  for (uint64_t i = 0; i < 8; ++i) appends.push_back(TestAppend(i, 3000));
  const auto fs = DiskWith(appends, /*mark=*/true);
  const LogPlace last = ReadWholeLog(fs.get())->entries.back().place;
  fs->FlipBit(kFirst, (kLogSegmentHeaderBytes + 500) * 8);
  auto reader = LogReader::Open(fs.get(), kLogDir, kLogModel, {.recovery = LogRecovery::kPointInTime});
  LogEntry entry;
  ASSERT_FALSE(*(*reader)->Next(&entry));
  const auto beyond = (*reader)->EndBeyondAll();
  ASSERT_TRUE(beyond.ok()) << beyond.status();
  EXPECT_GE(beyond->position, last.end);

  const LogAppend fresh = TestAppend(20, 500);
  auto log = LogWriter::Open(fs.get(), kLogDir, kLogModel, *beyond, {.segment_bytes = 16'384});
  ASSERT_TRUE(log.ok()) << log.status();
  ASSERT_TRUE(SetLogSegmentsAside(fs.get(), kLogDir, beyond->last_segment).ok());
  ASSERT_TRUE(AppendOne(log->get(), fresh).ok());
  fs->Crash(FakeFileSystem::Unsynced::kLost);
  const auto read = ReadWholeLog(fs.get(), {.from = beyond->position});
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_TRUE(HoldsFirst(*read, {fresh}, 1));
  EXPECT_TRUE(fs->Exists(std::string(kFirst) + ".damaged"));
}

TEST(StoreLogDamage, SwappedBlocksAreFound) {
  const auto fs = DiskWith({TestAppend(1, 3000), TestAppend(2, 3000), TestAppend(3, 3000)}, /*mark=*/true);
  std::string bytes = fs->Contents(kFirst);
  const std::string block = bytes.substr(4096, 4096);
  bytes.replace(4096, 4096, bytes, 8192, 4096);
  bytes.replace(8192, 4096, block);
  fs->SetContents(kFirst, bytes);
  EXPECT_EQ(ReadWholeLog(fs.get()).status().code(), StatusCode::kDataLoss);
}

// Headers that lie under a checksum that fits (a bug, or someone with a disk editor): every length and count
// is checked against what is there before it is believed. Run with the sanitizers, this is the test of the
// parser.
TEST(StoreLogDamage, LyingHeadersAreSurvivedInEveryMode) {
  const uint64_t seed = TestSeed();
  std::cout << "STEPBACK_SEED=" << seed << "\n";
  std::mt19937_64 random(seed);
  const std::vector<LogAppend> appends = ThreeRecords();
  const auto fs = DiskWith(appends, /*mark=*/true);
  const std::string bytes = fs->Contents(kFirst);
  std::vector<uint64_t> frames;
  for (uint64_t at = 0; at + kLogFrameHeaderBytes <= bytes.size() - kLogSegmentHeaderBytes;
       at += kLogFrameAlign) {
    const std::span<const std::byte> here =
        std::as_bytes(std::span(bytes)).subspan(kLogSegmentHeaderBytes + at);
    if (DecodeLogFrame(/*salt=*/1, at, here).ok()) frames.push_back(at);
  }
  ASSERT_EQ(frames.size(), 8u);  // 3 + 1 + 3 of the entries, and the mark
  const auto lie = [&](auto* field) {
    *field = static_cast<std::decay_t<decltype(*field)>>(random() >> random() % 64);
  };
  int refused = 0;
  for (int i = 0; i < 5'000; ++i) {
    std::string changed = bytes;
    auto* const header = reinterpret_cast<std::byte*>(changed.data()) + kLogSegmentHeaderBytes;
    const uint64_t at = frames[random() % frames.size()];
    LogFrame frame = *DecodeLogFrame(/*salt=*/1, at, {header + at, kLogFrameHeaderBytes});
    uint8_t kind = 0;
    switch (random() % 7) {
      case 0:
        lie(&frame.body_bytes);
        break;
      case 1:
        lie(&frame.client_bytes);
        break;
      case 2:
        lie(&frame.chunks);
        break;
      case 3:
        lie(&frame.synced);
        break;
      case 4:
        lie(&frame.sequence);
        break;
      case 5:
        lie(&frame.body_crc);
        break;
      default:
        lie(&kind), frame.kind = static_cast<LogFrameKind>(kind);
        break;
    }
    EncodeLogFrame(/*salt=*/1, &frame, header + at);
    fs->SetContents(kFirst, changed);
    for (const auto recovery : {LogRecovery::kStrict, LogRecovery::kPointInTime, LogRecovery::kSalvage}) {
      const auto read = ReadWholeLog(fs.get(), {.recovery = recovery});
      if (!read.ok()) {
        ASSERT_EQ(recovery, LogRecovery::kStrict) << read.status();
        ASSERT_EQ(read.status().code(), StatusCode::kDataLoss) << read.status();
        ++refused;
        continue;
      }
      // A frame may pass for another kind, but nothing is read twice or from beyond the file.
      ASSERT_LE(read->entries.size(), frames.size());
      uint64_t payload_bytes = 0;
      for (const LogEntry& entry : read->entries) payload_bytes += entry.payload.size();
      ASSERT_LE(payload_bytes, bytes.size());
    }
  }
  EXPECT_GT(refused, 2'500);
}

// A payload may hold the bytes of a frame; it must not pass for one.
TEST(StoreLogDamage, AFrameInsideAPayloadIsNotSalvaged) {
  const auto fs = LogDisk();
  auto log = ContinueLog(fs.get(), {.segment_bytes = 16'384, .salt = 77});
  const LogAppend first = TestAppend(1, 600);
  LogFrame forged{.kind = LogFrameKind::kRecord, .type = 1};
  std::vector<std::byte> payload(4096 + 1024, std::byte{1});
  for (uint64_t position = 4096; position + 80 < 4096 + payload.size(); position += 80) {
    forged.position = position;
    EncodeLogFrame(/*salt=*/1, &forged, payload.data() + (position - 4096));
  }
  ASSERT_TRUE(AppendOne(log->get(), first).ok());
  ASSERT_TRUE(AppendOne(log->get(), {.record = {.type = 9}, .payload = PayloadOfBytes(payload)}).ok());
  fs->FlipBit(kFirst, (4096 + 4096 + 3) * 8);
  const auto salvaged = ReadWholeLog(fs.get(), {.recovery = LogRecovery::kSalvage});
  ASSERT_TRUE(salvaged.ok()) << salvaged.status();
  EXPECT_TRUE(HoldsFirst(*salvaged, {first}, 1));
}

}  // namespace
}  // namespace stepback
