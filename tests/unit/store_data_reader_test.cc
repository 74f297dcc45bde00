// Several files at a time: the arrays and the errors are those of one reader alone.
#include "server/store/data_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/store/direct_buffer.h"
#include "server/store/file_queue.h"
#include "server/store/snapshot_format.h"
#include "server/store/stream_cursor.h"
#include "tests/unit/store_support.h"

namespace stepback {
namespace {

using absl::StatusCode;
using testing::HasSubstr;

TEST(FileQueue, EveryFileIsTakenOnceWhoeverAsks) {
  constexpr uint64_t kFiles = 1000;
  FileQueue queue(kFiles);
  std::vector<std::atomic<int>> taken(kFiles);
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      while (const auto index = queue.Take()) {
        ++taken[*index];
        queue.Finish(*index, absl::OkStatus());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const auto& times : taken) EXPECT_EQ(times, 1);
  EXPECT_TRUE(queue.status().ok());
}

TEST(FileQueue, TheFirstFileThatFailsIsReportedWheneverItFails) {
  FileQueue queue(5);
  for (uint64_t i = 0; i < 3; ++i) EXPECT_EQ(queue.Take(), i);
  queue.Finish(2, absl::DataLossError("third"));
  EXPECT_FALSE(queue.GivenUp(0));  // its own error would come first
  EXPECT_FALSE(queue.GivenUp(1));
  EXPECT_FALSE(queue.GivenUp(2));
  EXPECT_TRUE(queue.GivenUp(3));
  queue.Finish(0, absl::DataLossError("first"));
  EXPECT_TRUE(queue.GivenUp(1));
  queue.Finish(1, absl::CancelledError("given up"));
  EXPECT_EQ(queue.status(), absl::DataLossError("first"));
}

TEST(FileQueue, NothingIsBegunBehindAFailure) {
  FileQueue queue(3);
  EXPECT_EQ(queue.Take(), 0u);
  queue.Finish(0, absl::DataLossError("first"));
  EXPECT_EQ(queue.Take(), std::nullopt);
  EXPECT_EQ(FileQueue(0).Take(), std::nullopt);
}

TEST(StreamCursor, SeekGoesToThePlaceThatTheFormatSays) {
  const std::vector<ArrayInfo> arrays = {{"a", 5000}, {"b", 0}, {"c", 4096}, {"d", 1}, {"e", 0}};
  struct Place {
    uint64_t at;
    std::optional<size_t> array;
    uint64_t offset;
    uint64_t bytes;  // until the array, or its padding, ends
  };
  // Arrays lie from 0, 8192, 8192, 12288: multiples of 4096.
  for (const Place& place : std::vector<Place>{{0, 0, 0, 5000},
                                               {4999, 0, 4999, 1},
                                               {5000, std::nullopt, 5000, 3192},
                                               {8191, std::nullopt, 8191, 1},
                                               {8192, 2, 0, 4096},
                                               {12288, 3, 0, 1},
                                               {12289, std::nullopt, 1, 4095}}) {
    StreamCursor cursor(arrays);
    cursor.Next(1);  // from wherever it was
    cursor.Seek(place.at);
    const StreamSegment segment = cursor.Next(1 << 20);
    EXPECT_EQ(segment.array, place.array) << place.at;
    EXPECT_EQ(segment.offset, place.offset) << place.at;
    EXPECT_EQ(segment.bytes, place.bytes) << place.at;
  }
}

TEST(DirectBuffer, OnHugePagesItIsAlignedAndAsLongAsAsked) {
  for (const size_t bytes : {kBlockBytes, kBlockBytes + 4096}) {
    const auto buffer = DirectBuffer::MakeOnHugePages(bytes);
    ASSERT_TRUE(buffer.ok());
    EXPECT_EQ(buffer->bytes().size(), bytes);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(buffer->bytes().data()) % (2 << 20), 0u);
    std::memset(buffer->bytes().data(), 'x', bytes);  // all of it is there
  }
}

// Three files: arrays end inside of one, and reach across the ends of two. Written once: every test leaves
// them whole.
class ManyFiles : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    snapshot_ = new TestSnapshot(5, {kFileBytes / 2 + 77, kFileBytes + 3, kFileBytes / 2 + 5000});
    fs_ = new FakeFileSystem;
    store_ = OpenTestStore(fs_).release();
    ASSERT_TRUE(snapshot_->WriteTo(store_).ok());
  }
  static void TearDownTestSuite() {
    delete store_;
    delete fs_;
    delete snapshot_;
  }

  static std::string Path(uint64_t file) {
    return absl::StrCat(kModelDir, "/snap-000001/block-00000", file, ".bin");
  }
  // Load after a bit of each of these blocks (file, block) was flipped; then back.
  absl::Status LoadDamaged(const std::vector<std::pair<uint64_t, uint64_t>>& blocks) {
    const auto flip = [&] {
      for (const auto& [file, block] : blocks) fs_->FlipBit(Path(file), (block * kBlockBytes + 4321) * 8);
    };
    flip();
    const absl::Status status = store_->Load(1, catcher_.Allocator()).status();
    flip();
    return status;
  }

  static TestSnapshot* snapshot_;
  static FakeFileSystem* fs_;
  static ModelStore* store_;
  Catcher catcher_;
};

TestSnapshot* ManyFiles::snapshot_;
FakeFileSystem* ManyFiles::fs_;
ModelStore* ManyFiles::store_;

TEST_F(ManyFiles, ComeBackWhole) {
  const auto meta = store_->Load(1, catcher_.Allocator());
  ASSERT_TRUE(meta.ok()) << meta.status();
  EXPECT_TRUE(catcher_.Is(*snapshot_, *meta));
}

TEST_F(ManyFiles, TheFirstDamagedBlockIsNamedThoughALaterOneIsMetEarlier) {
  const absl::Status status = LoadDamaged({{2, 0}, {1, 0}, {0, kFileBytes / kBlockBytes - 1}});
  EXPECT_EQ(status.code(), StatusCode::kDataLoss);
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("block-000000.bin': checksum of the block at byte 62914560 differs"));
}

TEST_F(ManyFiles, DamageInTheLastFileAloneIsFound) {
  const absl::Status status = LoadDamaged({{2, 0}});
  EXPECT_EQ(status.code(), StatusCode::kDataLoss);
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("block-000002.bin': checksum of the block at byte 0 differs"));
}

// A file system that tells of a short read, or of an I/O error, says so of the file.
TEST_F(ManyFiles, AReadThatFailsInAnyFileIsTheError) {
  for (uint64_t file = 0; file < 3; ++file) {
    fs_->FailCallsMatching("read " + Path(file), absl::DataLossError("it ends at byte 7"));
    const absl::Status status = store_->Load(1, catcher_.Allocator()).status();
    EXPECT_EQ(status.code(), StatusCode::kDataLoss);
    EXPECT_THAT(std::string(status.message()),
                HasSubstr(absl::StrCat("'", Path(file), "': it ends at byte 7")));
    fs_->StopFailing();
  }
}

}  // namespace
}  // namespace stepback
