// What a model's store does on good days, and what it refuses.
#include "server/store/model_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>

#include "server/base/pool.h"
#include "server/store/snapshot_format.h"
#include "tests/unit/store_support.h"

namespace stepback {
namespace {

using absl::StatusCode;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class ModelStoreTest : public testing::Test {
 protected:
  ModelStoreTest() : store_(OpenTestStore(&fs_)) {}

  void Reopen() {
    store_.reset();
    store_ = OpenTestStore(&fs_);
  }

  std::vector<uint64_t> Generations() {
    LoadReport report;
    std::vector<uint64_t> generations;
    const auto list = store_->List(&report);
    EXPECT_TRUE(list.ok()) << list.status();
    for (const SnapshotMeta& meta : *list) generations.push_back(meta.generation);
    return generations;
  }

  FakeFileSystem fs_;
  std::unique_ptr<ModelStore> store_;
  Catcher catcher_;
  LoadReport report_;
};

TEST_F(ModelStoreTest, ANewStoreHasNoSnapshot) {
  EXPECT_EQ(store_->LoadLatest(catcher_.Allocator(), &report_).status().code(), StatusCode::kNotFound);
  EXPECT_THAT(Generations(), IsEmpty());
}

TEST_F(ModelStoreTest, OpenWithoutCreateWantsAModelThatIsThere) {
  EXPECT_EQ(ModelStore::Open(&fs_, kDataDir, "other", {}).status().code(), StatusCode::kNotFound);
  EXPECT_EQ(ModelStore::Open(&fs_, kDataDir, "", {}).status().code(), StatusCode::kInvalidArgument);
  store_.reset();
  EXPECT_TRUE(ModelStore::Open(&fs_, kDataDir, kModel, {}).ok());
}

TEST_F(ModelStoreTest, WhatWasWrittenIsLoaded) {
  const TestSnapshot snapshot(1);
  const auto written = snapshot.WriteTo(store_.get());
  ASSERT_TRUE(written.ok()) << written.status();
  EXPECT_EQ(written->meta.generation, 1u);
  EXPECT_EQ(written->meta.model_name, kModel);
  EXPECT_EQ(written->file_bytes, 8192u + 4096 + 16384);
  EXPECT_TRUE(written->direct_io);
  Reopen();
  const auto meta = store_->LoadLatest(catcher_.Allocator(), &report_);
  ASSERT_TRUE(meta.ok()) << meta.status();
  EXPECT_TRUE(catcher_.Is(snapshot, *meta));
  EXPECT_THAT(report_.damaged, IsEmpty());
}

TEST_F(ModelStoreTest, ArraysMayBeOfAnySize) {
  for (const std::vector<size_t>& sizes :
       std::vector<std::vector<size_t>>{{},
                                        {0},
                                        {1},
                                        {4095, 1, 4097},
                                        {kBlockBytes},
                                        {kBlockBytes - 4096, 4096, 1},
                                        {kBlockBytes + 1, 3 * kBlockBytes}}) {
    const TestSnapshot snapshot(sizes.size(), sizes);
    ASSERT_TRUE(snapshot.WriteTo(store_.get()).ok());
    const auto meta = store_->LoadLatest(catcher_.Allocator(), &report_);
    ASSERT_TRUE(meta.ok()) << meta.status();
    EXPECT_TRUE(catcher_.Is(snapshot, *meta)) << sizes.size();
  }
}

TEST_F(ModelStoreTest, ASnapshotLargerThanOneFileIsCutIntoSeveral) {
  const TestSnapshot snapshot(1, {100, kFileBytes, kBlockBytes + 5});
  ASSERT_TRUE(snapshot.WriteTo(store_.get()).ok());
  EXPECT_EQ(fs_.Contents("/data/models/lm/snap-000001/block-000000.bin").size(), kFileBytes);
  EXPECT_EQ(fs_.Contents("/data/models/lm/snap-000001/block-000001.bin").size(), kBlockBytes + 2 * 4096);
  const auto meta = store_->LoadLatest(catcher_.Allocator(), &report_);
  ASSERT_TRUE(meta.ok()) << meta.status();
  EXPECT_TRUE(catcher_.Is(snapshot, *meta));
}

TEST_F(ModelStoreTest, WithoutDirectIoTheBytesAreTheSame) {
  const TestSnapshot snapshot(1, {kBlockBytes + 1});
  ASSERT_TRUE(snapshot.WriteTo(store_.get()).ok());
  fs_.SupportDirectIo(false);
  const auto buffered = snapshot.WriteTo(store_.get());
  ASSERT_TRUE(buffered.ok());
  EXPECT_FALSE(buffered->direct_io);
  EXPECT_EQ(fs_.Contents("/data/models/lm/snap-000001/block-000000.bin"),
            fs_.Contents("/data/models/lm/snap-000002/block-000000.bin"));
}

TEST_F(ModelStoreTest, ArraysOutsideHostMemoryAreReadPartByPart) {
  const TestSnapshot snapshot(1, {kBlockBytes + 777, 5000});
  std::vector<ArrayView> views = snapshot.Views();
  for (ArrayView& view : views) {
    view.read = [from = view.data](uint64_t offset, std::span<std::byte> to) {
      std::memcpy(to.data(), from + offset, to.size());
      return absl::OkStatus();
    };
    view.data = nullptr;
  }
  ASSERT_TRUE(store_->Write(snapshot.meta, views, {}).ok());
  const auto meta = store_->LoadLatest(catcher_.Allocator(), &report_);
  EXPECT_TRUE(catcher_.Is(snapshot, *meta));

  views[1].read = [](uint64_t, std::span<std::byte>) { return absl::InternalError("the device is lost"); };
  EXPECT_EQ(store_->Write(snapshot.meta, views, {}).status().code(), StatusCode::kInternal);
  EXPECT_THAT(Generations(), ElementsAre(1));
}

TEST_F(ModelStoreTest, EveryGenerationCanBeLoadedByNumberAndLabel) {
  const TestSnapshot first(1, {100}, "start"), second(2), third(3, {200}, "end");
  for (const TestSnapshot* snapshot : {&first, &second, &third})
    ASSERT_TRUE(snapshot->WriteTo(store_.get()).ok());
  auto meta = store_->Load(*store_->FindLabel("start"), catcher_.Allocator());
  ASSERT_TRUE(meta.ok());
  EXPECT_TRUE(catcher_.Is(first, *meta));
  meta = store_->Load(2, catcher_.Allocator());
  EXPECT_TRUE(catcher_.Is(second, *meta));
  EXPECT_EQ(store_->Load(4, catcher_.Allocator()).status().code(), StatusCode::kNotFound);
  EXPECT_EQ(store_->FindLabel("middle").status().code(), StatusCode::kNotFound);
  EXPECT_EQ(store_->FindLabel("").status().code(), StatusCode::kNotFound);
}

TEST_F(ModelStoreTest, ListSaysWhatIsThereNewestFirstWithoutState) {
  ASSERT_TRUE(TestSnapshot(1, {100}, "start").WriteTo(store_.get()).ok());
  ASSERT_TRUE(TestSnapshot(2, {100, 28}).WriteTo(store_.get()).ok());
  const auto list = store_->List(&report_);
  ASSERT_TRUE(list.ok());
  ASSERT_EQ(list->size(), 2u);
  EXPECT_EQ((*list)[0].generation, 2u);
  EXPECT_EQ((*list)[0].counter, 2u);
  EXPECT_EQ((*list)[0].DataBytes(), 128u);
  EXPECT_EQ((*list)[1].label, "start");
  EXPECT_EQ((*list)[1].state, "");
  EXPECT_EQ(store_->Describe(1)->state, TestSnapshot(1).meta.state);
}

TEST_F(ModelStoreTest, ALabelIsGivenOnce) {
  ASSERT_TRUE(TestSnapshot(1, {100}, "best").WriteTo(store_.get()).ok());
  EXPECT_EQ(TestSnapshot(2, {100}, "best").WriteTo(store_.get()).status().code(), StatusCode::kAlreadyExists);
  ASSERT_TRUE(TestSnapshot(3).WriteTo(store_.get()).ok());
  ASSERT_TRUE(store_->Delete(1).ok());
  EXPECT_TRUE(TestSnapshot(4, {100}, "best").WriteTo(store_.get()).ok());
}

TEST_F(ModelStoreTest, PruneKeepsTheNewestAndTheLabelled) {
  for (uint64_t i = 1; i <= 5; ++i)
    ASSERT_TRUE(TestSnapshot(i, {100}, i == 2 ? "kept" : "").WriteTo(store_.get()).ok());
  ASSERT_TRUE(store_->Prune(2).ok());
  EXPECT_THAT(Generations(), ElementsAre(5, 4, 2));
  EXPECT_FALSE(fs_.Exists("/data/models/lm/snap-000003"));
  EXPECT_TRUE(fs_.Exists("/data/models/lm/snap-000002"));
}

TEST_F(ModelStoreTest, PruneSparesTheLastOneKnownToVerify) {
  for (uint64_t i = 1; i <= 4; ++i) ASSERT_TRUE(TestSnapshot(i).WriteTo(store_.get()).ok());
  Reopen();
  ASSERT_TRUE(store_->Load(2, catcher_.Allocator()).ok());
  ASSERT_TRUE(store_->Prune(2).ok());
  EXPECT_THAT(Generations(), ElementsAre(4, 3, 2));
}

TEST_F(ModelStoreTest, DeleteSparesTheLastOneKnownToVerify) {
  ASSERT_TRUE(TestSnapshot(1).WriteTo(store_.get()).ok());
  EXPECT_EQ(store_->Delete(1).code(), StatusCode::kFailedPrecondition);
  EXPECT_EQ(store_->Delete(2).code(), StatusCode::kNotFound);
  ASSERT_TRUE(TestSnapshot(2).WriteTo(store_.get()).ok());
  EXPECT_TRUE(store_->Delete(1).ok());
  EXPECT_FALSE(fs_.Exists("/data/models/lm/snap-000001"));
  EXPECT_EQ(store_->Delete(2).code(), StatusCode::kFailedPrecondition);
}

TEST_F(ModelStoreTest, GenerationsGoOnAfterAReopen) {
  ASSERT_TRUE(TestSnapshot(1).WriteTo(store_.get()).ok());
  Reopen();
  EXPECT_EQ(TestSnapshot(2).WriteTo(store_.get())->meta.generation, 2u);
}

TEST_F(ModelStoreTest, NamesAndSizesAreBounded) {
  const std::byte byte{};
  const auto write = [&](const SnapshotMeta& meta, std::vector<ArrayView> arrays) {
    return store_->Write(meta, arrays, {}).status().code();
  };
  EXPECT_EQ(write({}, {{"a", 1, &byte, {}}, {"a", 1, &byte, {}}}), StatusCode::kInvalidArgument);
  EXPECT_EQ(write({}, {{"", 1, &byte, {}}}), StatusCode::kInvalidArgument);
  EXPECT_EQ(write({}, {{std::string(256, 'a'), 1, &byte, {}}}), StatusCode::kInvalidArgument);
  EXPECT_EQ(write({}, {{"a", UINT64_MAX, &byte, {}}}), StatusCode::kInvalidArgument);
  EXPECT_EQ(write({.label = std::string(256, 'l')}, {}), StatusCode::kInvalidArgument);
  EXPECT_EQ(write({.state = std::string(kStateBytesMax + 1, 's')}, {}), StatusCode::kInvalidArgument);
  EXPECT_EQ(fs_.AllFiles().size(), 2u);  // LOCK and TERM
}

TEST_F(ModelStoreTest, ACancelledWriteLeavesNothing) {
  const std::vector<std::string> before = fs_.AllFiles();
  int blocks = 0;
  const auto status = TestSnapshot(1, {3 * kBlockBytes})
                          .WriteTo(store_.get(), {.cancelled = [&] { return ++blocks == 3; }})
                          .status();
  EXPECT_EQ(status.code(), StatusCode::kCancelled);
  EXPECT_EQ(fs_.AllFiles(), before);
}

TEST_F(ModelStoreTest, AWriteTakesTwoBlocksFromThePoolAndGivesThemBack) {
  BufferPool pool;
  ASSERT_TRUE(TestSnapshot(1).WriteTo(store_.get(), {.allocator = &pool}).ok());
  EXPECT_EQ(pool.stats().fresh_count, 1u);
  EXPECT_EQ(pool.stats().in_use_count, 0u);
  pool.FailAllocation(1);
  EXPECT_EQ(TestSnapshot(2).WriteTo(store_.get(), {.allocator = &pool}).status().code(),
            StatusCode::kResourceExhausted);
  EXPECT_TRUE(TestSnapshot(3).WriteTo(store_.get(), {.allocator = &pool}).ok());
}

TEST_F(ModelStoreTest, NoMemoryForAnArrayIsNotDamage) {
  ASSERT_TRUE(TestSnapshot(1).WriteTo(store_.get()).ok());
  ASSERT_TRUE(TestSnapshot(2).WriteTo(store_.get()).ok());
  const auto none = [](const SnapshotMeta&, const ArrayInfo&) -> std::byte* { return nullptr; };
  const absl::Status status = store_->LoadLatest(none, &report_).status();
  EXPECT_EQ(status.code(), StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("model 'lm': no memory for array 'array 0' of 5000 bytes"));
  EXPECT_THAT(report_.damaged, IsEmpty());
}

TEST_F(ModelStoreTest, OnlyOneStoreHoldsAModel) {
  EXPECT_EQ(ModelStore::Open(&fs_, kDataDir, kModel, {}).status().code(), StatusCode::kFailedPrecondition);
  EXPECT_TRUE(ModelStore::Open(&fs_, kDataDir, "other", {.create = true}).ok());
  store_.reset();
  EXPECT_TRUE(ModelStore::Open(&fs_, kDataDir, kModel, {}).ok());
}

TEST_F(ModelStoreTest, TheTermRisesAndNeverFalls) {
  EXPECT_EQ(store_->term(), 1u);
  EXPECT_TRUE(store_->RaiseTerm(5).ok());
  EXPECT_EQ(store_->RaiseTerm(5).code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(store_->RaiseTerm(4).code(), StatusCode::kInvalidArgument);
  Reopen();
  EXPECT_EQ(store_->term(), 5u);
  for (uint64_t term = 6; term < 20; ++term) ASSERT_TRUE(store_->RaiseTerm(term).ok());
  EXPECT_THAT(fs_.AllFiles(), ElementsAre("/data/models/lm/LOCK", "/data/models/lm/TERM-000018",
                                          "/data/models/lm/TERM-000019"));
}

TEST_F(ModelStoreTest, WithoutTermFilesTheSnapshotsSayHowFarItGot) {
  ASSERT_TRUE(store_->RaiseTerm(9).ok());
  TestSnapshot snapshot(1);
  snapshot.meta.term = 9;
  ASSERT_TRUE(snapshot.WriteTo(store_.get()).ok());
  ASSERT_TRUE(fs_.RemoveFile("/data/models/lm/TERM-000009").ok());
  ASSERT_TRUE(fs_.RemoveFile("/data/models/lm/TERM-000001").ok());
  Reopen();
  EXPECT_EQ(store_->term(), 9u);
}

TEST_F(ModelStoreTest, ASnapshotsTermIsMadeDurableBefore) {
  TestSnapshot snapshot(1);
  snapshot.meta.term = 2;
  EXPECT_EQ(snapshot.WriteTo(store_.get()).status().code(), StatusCode::kFailedPrecondition);
  ASSERT_TRUE(store_->RaiseTerm(2).ok());
  EXPECT_TRUE(snapshot.WriteTo(store_.get()).ok());
}

TEST_F(ModelStoreTest, OpenRemovesWhatNothingRefersTo) {
  ASSERT_TRUE(TestSnapshot(1).WriteTo(store_.get()).ok());
  const std::vector<std::string> before = fs_.AllFiles();
  ASSERT_TRUE(fs_.CreateDirectory("/data/models/lm/snap-000002").ok());
  for (const char* name : {"snap-000002/block-000000.bin", "MANIFEST-000002.tmp"}) {
    ASSERT_TRUE(fs_.OpenForWrite(std::string(kModelDir) + "/" + name, WriteMode::kCreate).ok());
  }
  Reopen();
  EXPECT_EQ(fs_.AllFiles(), before);
  EXPECT_THAT(store_->swept(), ElementsAre("MANIFEST-000002.tmp", "snap-000002"));
}

TEST_F(ModelStoreTest, OpenLeavesStrangersAlone) {
  ASSERT_TRUE(fs_.OpenForWrite("/data/models/lm/notes.txt", WriteMode::kCreate).ok());
  Reopen();
  EXPECT_TRUE(fs_.Exists("/data/models/lm/notes.txt"));
}

TEST_F(ModelStoreTest, ASnapshotOfAnotherModelIsNotLoaded) {
  ASSERT_TRUE(TestSnapshot(1).WriteTo(store_.get()).ok());
  auto other = ModelStore::Open(&fs_, kDataDir, "other", {.create = true});
  ASSERT_TRUE(fs_.OpenForWrite("/data/models/other/MANIFEST-000001", WriteMode::kCreate).ok());
  fs_.SetContents("/data/models/other/MANIFEST-000001", fs_.Contents("/data/models/lm/MANIFEST-000001"));
  const absl::Status status = (*other)->LoadLatest(catcher_.Allocator(), &report_).status();
  EXPECT_EQ(status.code(), StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("belongs to model 'lm'"));
}

// The same on the real file system, between processes.
TEST(PosixModelStore, AnotherProcessCannotOpenItAndAKilledOneLeavesItWhole) {
  std::string pattern = testing::TempDir() + "/stepback_store_XXXXXX";
  const std::string root = mkdtemp(pattern.data());
  const TestSnapshot snapshot(1, {2 * kBlockBytes + 100});
  int ready[2];
  ASSERT_EQ(pipe(ready), 0);
  const pid_t child = fork();
  if (child == 0) {
    auto store = OpenTestStore(FileSystem::Posix(), root);
    if (store == nullptr || !snapshot.WriteTo(store.get()).ok() || write(ready[1], "y", 1) != 1) _exit(1);
    for (;;) snapshot.WriteTo(store.get()).status().IgnoreError();
  }
  char written = '?';
  ASSERT_EQ(read(ready[0], &written, 1), 1);
  EXPECT_EQ(ModelStore::Open(FileSystem::Posix(), root, kModel, {}).status().code(),
            StatusCode::kFailedPrecondition);
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);

  auto store = ModelStore::Open(FileSystem::Posix(), root, kModel, {});
  ASSERT_TRUE(store.ok()) << store.status();
  Catcher catcher;
  LoadReport report;
  const auto meta = (*store)->LoadLatest(catcher.Allocator(), &report);
  ASSERT_TRUE(meta.ok()) << meta.status();
  EXPECT_TRUE(catcher.Is(snapshot, *meta));
  EXPECT_THAT(report.damaged, IsEmpty());
  std::filesystem::remove_all(root);
}

}  // namespace
}  // namespace stepback
