// The offline commands: they find the models of a directory, say what its files hold and what is damaged, and
// change nothing.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "server/tools/call_words.h"
#include "server/tools/inspect_log.h"
#include "server/tools/inspect_snapshots.h"
#include "stepback/v1/durable.pb.h"
#include "tests/unit/log_support.h"
#include "tests/unit/store_support.h"

namespace stepback {
namespace {

using absl::StatusCode;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

constexpr char kLogFile[] = "/data/models/lm/wal-000001.log";

// Model "lm" with generations 1 ("first") and 2 and a log of three entries; model "team/a" with one snapshot.
class ToolsInspect : public testing::Test {
 protected:
  ToolsInspect() {
    auto store = OpenTestStore(&fs_);
    EXPECT_TRUE(TestSnapshot(1, {5000, 0, 4096}, "first").WriteTo(store.get()).ok());
    EXPECT_TRUE(TestSnapshot(2).WriteTo(store.get()).ok());
    auto log = LogWriter::Open(&fs_, kModelDir, kModel, {}, {.segment_bytes = 8192});
    for (uint64_t i = 0; i < 3; ++i) EXPECT_TRUE(AppendOne(log->get(), TestAppend(i, 3000 * i)).ok());
    EXPECT_TRUE((*log)->Mark().ok());
    auto other = ModelStore::Open(&fs_, kDataDir, "team/a", {.create = true});
    EXPECT_TRUE((*other)->RaiseTerm(1).ok());
    EXPECT_TRUE(TestSnapshot(7).WriteTo(other->get()).ok());
  }

  absl::StatusOr<InspectedLog> Log(LogRecovery recovery = LogRecovery::kStrict) {
    sequences_.clear();
    return InspectLog(&fs_, {kModel, kModelDir}, recovery,
                      [this](const LogEntry& entry) { sequences_.push_back(entry.record.sequence); });
  }

  FakeFileSystem fs_;
  std::vector<uint64_t> sequences_;
};

TEST_F(ToolsInspect, ADataDirectoryHasAllModelsAndAModelsDirectoryItself) {
  const auto all = FindModelDirectories(&fs_, "/data/");
  ASSERT_TRUE(all.ok()) << all.status();
  ASSERT_THAT(*all, SizeIs(2));
  EXPECT_EQ((*all)[0].model, "lm");
  EXPECT_EQ((*all)[1].model, "team/a");
  const auto one = FindModelDirectories(&fs_, "/data/models/team%2Fa");
  ASSERT_TRUE(one.ok()) << one.status();
  ASSERT_THAT(*one, SizeIs(1));
  EXPECT_EQ((*one)[0].model, "team/a");
  EXPECT_EQ(FindModelDirectories(&fs_, "/data/models/lm/snap-000001").status().code(),
            StatusCode::kInvalidArgument);
  EXPECT_EQ(FindModelDirectories(&fs_, "/nowhere").status().code(), StatusCode::kNotFound);
}

TEST_F(ToolsInspect, ManifestsAreShownNewestFirst) {
  const auto snapshots = InspectManifests(&fs_, {kModel, kModelDir});
  ASSERT_TRUE(snapshots.ok()) << snapshots.status();
  ASSERT_THAT(*snapshots, SizeIs(2));
  EXPECT_EQ((*snapshots)[0].generation, 2u);
  EXPECT_EQ((*snapshots)[1].manifest.meta.label, "first");
  EXPECT_EQ((*snapshots)[1].manifest.meta.arrays.size(), 3u);
}

// A server may run beside them: its locks stay, and so does what it has not finished yet.
TEST_F(ToolsInspect, LookingChangesNothingAndNeedsNoLock) {
  const auto store = OpenTestStore(&fs_);
  const std::string leftover = std::string(kModelDir) + "/MANIFEST-000009.tmp";
  ASSERT_TRUE(fs_.OpenForWrite(leftover, WriteMode::kCreate).ok());
  const std::vector<std::string> before = fs_.AllFiles();
  fs_.ResetCalls();
  EXPECT_TRUE(FindModelDirectories(&fs_, "/data").ok());
  EXPECT_TRUE(VerifySnapshots(&fs_, {kModel, kModelDir}).ok());
  EXPECT_TRUE(Log().ok());
  EXPECT_EQ(fs_.AllFiles(), before);
  for (const std::string& call : fs_.call_log()) {
    const std::string what = call.substr(0, call.find(' '));
    EXPECT_THAT(what, testing::AnyOf("list", "open", "read", "size")) << call;
  }
}

// Each byte of the data files is under a checksum: wherever a bit flips, that generation is named and the
// other is not.
TEST_F(ToolsInspect, VerifyFindsDamageAnywhereInADataFile) {
  const std::string file = std::string(kModelDir) + "/snap-000001/block-000000.bin";
  for (uint64_t byte = 0; byte < fs_.Contents(file).size(); byte += 401) {
    fs_.FlipBit(file, byte * 8 + 3);
    const auto snapshots = VerifySnapshots(&fs_, {kModel, kModelDir});
    ASSERT_TRUE(snapshots.ok()) << snapshots.status();
    EXPECT_TRUE((*snapshots)[0].status.ok()) << (*snapshots)[0].status;
    EXPECT_EQ((*snapshots)[1].status.code(), StatusCode::kDataLoss) << byte;
    fs_.FlipBit(file, byte * 8 + 3);
  }
  fs_.FlipBit(std::string(kModelDir) + "/MANIFEST-000002", 300);
  EXPECT_EQ((*VerifySnapshots(&fs_, {kModel, kModelDir}))[0].status.code(), StatusCode::kDataLoss);
  EXPECT_EQ(VerifySnapshots(&fs_, {"x", "/data/models"}).status().code(), StatusCode::kNotFound);
}

TEST_F(ToolsInspect, TheLogIsShownWithItsEnd) {
  const auto log = Log();
  ASSERT_TRUE(log.ok()) << log.status();
  EXPECT_TRUE(log->status.ok()) << log->status;
  EXPECT_THAT(sequences_, ElementsAre(1u, 2u, 3u));
  EXPECT_EQ(log->entries, 3u);
  EXPECT_EQ(log->payload_bytes, 9000u);
  EXPECT_THAT(log->report.damaged, IsEmpty());
}

TEST_F(ToolsInspect, ALogThatASnapshotHasShortenedBeginsLater) {
  ASSERT_GE(Log()->segments.size(), 2u);
  ASSERT_TRUE(fs_.RemoveFile(kLogFile).ok());
  const auto log = Log();
  ASSERT_TRUE(log.ok() && log->status.ok()) << log->status;
  EXPECT_THAT(sequences_, ElementsAre(3u));
}

TEST_F(ToolsInspect, DamageInTheLogIsNamed) {
  fs_.FlipBit(kLogFile, (4096 + 20) * 8);
  const auto strict = Log();
  ASSERT_TRUE(strict.ok()) << strict.status();
  EXPECT_EQ(strict->status.code(), StatusCode::kDataLoss);
  EXPECT_THAT(sequences_, IsEmpty());
  const auto salvaged = Log(LogRecovery::kSalvage);
  ASSERT_TRUE(salvaged.ok() && salvaged->status.ok());
  EXPECT_THAT(sequences_, ElementsAre(2u, 3u));
  EXPECT_THAT(salvaged->report.damaged, SizeIs(1));
}

TEST(ToolsCallWords, ACallIsShownInWords) {
  v1::LoggedCall tick;
  tick.mutable_tick()->add_lapsed("w0");
  tick.mutable_tick()->add_lapsed("w1");
  EXPECT_EQ(CallName({.type = 5}), "tick");
  EXPECT_EQ(CallDetails({.type = 5, .body = tick.SerializeAsString()}), "ends w0, w1");
  v1::LoggedCall push;
  push.mutable_push()->set_kind(2);
  push.mutable_push()->set_base_term(1);
  push.mutable_push()->set_base_counter(5);
  push.mutable_push()->set_samples(64);
  push.mutable_push()->set_local_steps(10);
  push.mutable_push()->set_loss_scale(1);
  EXPECT_EQ(CallDetails({.type = 1, .body = push.SerializeAsString()}),
            "delta on 1.5, codec 0, 64 samples, 10 steps");
  EXPECT_EQ(CallName({.type = 99}), "type 99");
  EXPECT_EQ(CallDetails({.type = 1, .body = tick.SerializeAsString()}), "not a call");
}

}  // namespace
}  // namespace stepback
