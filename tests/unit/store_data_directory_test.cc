#include "server/store/data_directory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "server/store/model_store.h"
#include "tests/unit/store_support.h"

namespace stepback {
namespace {

using absl::StatusCode;
using testing::ElementsAre;
using testing::IsEmpty;

void WriteModel(FileSystem* fs, const std::string& name) {
  auto store = ModelStore::Open(fs, kDataDir, name, {.create = true});
  ASSERT_TRUE(store.ok()) << store.status();
  ASSERT_TRUE((*store)->RaiseTerm((*store)->term() + 1).ok());
  ASSERT_TRUE(TestSnapshot(1).WriteTo(store->get()).ok());
}

TEST(DataDirectory, IsCreatedAndHeldByOneServer) {
  FakeFileSystem fs;
  auto claim = DataDirectory::Open(&fs, kDataDir);
  ASSERT_TRUE(claim.ok()) << claim.status();
  EXPECT_EQ(DataDirectory::Open(&fs, kDataDir).status().code(), StatusCode::kFailedPrecondition);
  claim->reset();
  EXPECT_TRUE(DataDirectory::Open(&fs, kDataDir).ok());
}

TEST(DataDirectory, ADirectoryThatIsNotThereHasNoModels) {
  FakeFileSystem fs;
  EXPECT_THAT(*ListModels(&fs, kDataDir), IsEmpty());
}

TEST(DataDirectory, ListsModelsByNameWhateverTheName) {
  FakeFileSystem fs;
  for (const char* name : {"lm", "team/lm", "..", "größe"}) WriteModel(&fs, name);
  ASSERT_TRUE(ModelStore::Open(&fs, kDataDir, "never-saved", {.create = true}).ok());
  ASSERT_TRUE(fs.CreateDirectory("/data/models/lost+found").ok());
  EXPECT_THAT(*ListModels(&fs, kDataDir), ElementsAre("..", "größe", "lm", "team/lm"));
}

TEST(DataDirectory, ARemovedModelIsGoneAndMayBeMadeAgain) {
  FakeFileSystem fs;
  WriteModel(&fs, "lm");
  WriteModel(&fs, "other");
  EXPECT_TRUE(RemoveModel(&fs, kDataDir, "lm").ok());
  EXPECT_THAT(*ListModels(&fs, kDataDir), ElementsAre("other"));
  EXPECT_EQ(RemoveModel(&fs, kDataDir, "lm").code(), StatusCode::kNotFound);
  for (const std::string& path : fs.AllFiles()) EXPECT_EQ(path.find("lm"), std::string::npos) << path;
  WriteModel(&fs, "lm");
  EXPECT_THAT(*ListModels(&fs, kDataDir), ElementsAre("lm", "other"));
}

TEST(DataDirectory, AnOpenModelIsNotRemoved) {
  FakeFileSystem fs;
  WriteModel(&fs, "lm");
  auto store = ModelStore::Open(&fs, kDataDir, "lm", {});
  EXPECT_EQ(RemoveModel(&fs, kDataDir, "lm").code(), StatusCode::kFailedPrecondition);
  EXPECT_THAT(*ListModels(&fs, kDataDir), ElementsAre("lm"));
}

TEST(DataDirectory, ARemovalThatDiesAtAnyCallLeavesTheModelWholeOrGone) {
  int64_t calls = 0;
  {
    FakeFileSystem fs;
    WriteModel(&fs, "lm");
    fs.ResetCalls();
    ASSERT_TRUE(RemoveModel(&fs, kDataDir, "lm").ok());
    calls = fs.calls();
  }
  for (int64_t n = 1; n <= calls + 1; ++n) {
    for (uint64_t seed = 0; seed < 20; ++seed) {
      FakeFileSystem fs(seed);
      WriteModel(&fs, "lm");
      fs.ResetCalls();
      fs.FailCallsFrom(n);
      const bool acknowledged = RemoveModel(&fs, kDataDir, "lm").ok();
      if (seed % 2 == 1) {  // the process dies alone, and the machine under the next one
        fs.Crash(FakeFileSystem::Unsynced::kKept);
        ASSERT_TRUE(DataDirectory::Open(&fs, kDataDir).ok());
      }
      fs.Crash(FakeFileSystem::Unsynced::kTorn);
      auto claim = DataDirectory::Open(&fs, kDataDir);
      ASSERT_TRUE(claim.ok()) << claim.status();
      const std::vector<std::string> models = *ListModels(&fs, kDataDir);
      if (models.empty()) {
        EXPECT_THAT(fs.AllFiles(), ElementsAre("/data/LOCK")) << n << " " << seed;
        continue;
      }
      ASSERT_FALSE(acknowledged);
      auto store = ModelStore::Open(&fs, kDataDir, "lm", {});
      ASSERT_TRUE(store.ok());
      Catcher catcher;
      LoadReport report;
      const auto meta = (*store)->LoadLatest(catcher.Allocator(), &report);
      ASSERT_TRUE(meta.ok()) << meta.status();
      EXPECT_TRUE(catcher.Is(TestSnapshot(1), *meta));
    }
  }
}

}  // namespace
}  // namespace stepback
