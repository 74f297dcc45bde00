// A directory written by format version 1 and kept: it must load in every later version, and this version
// must still write the same bytes. STEPBACK_WRITE_GOLDEN=1 writes the files anew (only with a new format
// version, in its own folder).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "server/store/data_directory.h"
#include "server/store/model_store.h"
#include "tests/unit/store_support.h"

namespace stepback {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

constexpr char kGoldenDir[] = STEPBACK_GOLDEN_DIR "/store_v1";

// No library's random numbers: byte i of array a is (i * 31 + a * 7 + i / 251) mod 256.
TestSnapshot GoldenSnapshot(uint64_t counter, const std::string& label) {
  TestSnapshot snapshot(0, {3000, 0, 4096, 10}, label);
  snapshot.meta.term = 2;
  snapshot.meta.counter = counter;
  snapshot.meta.wall_nanos = 1'700'000'000'000'000'000;
  snapshot.meta.state = "golden state\n";
  for (size_t a = 0; a < snapshot.arrays.size(); ++a) {
    std::vector<std::byte>& bytes = snapshot.arrays[a].second;
    for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(i * 31 + a * 7 + i / 251);
  }
  return snapshot;
}

void WriteGolden(FileSystem* fs, const std::string& data_dir) {
  auto store = ModelStore::Open(fs, data_dir, "team/lm", {.create = true});
  ASSERT_TRUE(store.ok()) << store.status();
  ASSERT_TRUE((*store)->RaiseTerm(2).ok());
  ASSERT_TRUE(GoldenSnapshot(40, "first").WriteTo(store->get()).ok());
  ASSERT_TRUE(GoldenSnapshot(41, "").WriteTo(store->get()).ok());
}

std::string ReadFile(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

// The kept files, in a fake file system under /data (a store writes a lock, and the kept ones stay
// untouched).
void CopyGolden(FakeFileSystem* fs) {
  ASSERT_TRUE(fs->CreateDirectory("/data").ok());
  for (const auto& entry : std::filesystem::recursive_directory_iterator(kGoldenDir)) {
    const std::string to = "/data/" + std::filesystem::relative(entry.path(), kGoldenDir).string();
    if (entry.is_directory()) {
      ASSERT_TRUE(fs->CreateDirectory(to).ok());
    } else {
      ASSERT_TRUE(fs->OpenForWrite(to, WriteMode::kCreate).ok());
      fs->SetContents(to, ReadFile(entry.path()));
    }
  }
}

TEST(StoreGolden, VersionOneLoads) {
  if (std::getenv("STEPBACK_WRITE_GOLDEN") != nullptr) {
    std::filesystem::create_directories(kGoldenDir);
    WriteGolden(FileSystem::Posix(), kGoldenDir);
    std::filesystem::remove(std::string(kGoldenDir) + "/models/team%2Flm/LOCK");
  }
  FakeFileSystem fs;
  CopyGolden(&fs);
  EXPECT_THAT(*ListModels(&fs, "/data"), ElementsAre("team/lm"));
  auto store = ModelStore::Open(&fs, "/data", "team/lm", {});
  ASSERT_TRUE(store.ok()) << store.status();
  EXPECT_EQ((*store)->term(), 2u);
  EXPECT_THAT((*store)->swept(), IsEmpty());
  Catcher catcher;
  LoadReport report;
  auto meta = (*store)->LoadLatest(catcher.Allocator(), &report);
  ASSERT_TRUE(meta.ok()) << meta.status();
  EXPECT_TRUE(catcher.Is(GoldenSnapshot(41, ""), *meta));
  EXPECT_THAT(report.damaged, IsEmpty());
  meta = (*store)->Load(*(*store)->FindLabel("first"), catcher.Allocator());
  ASSERT_TRUE(meta.ok()) << meta.status();
  EXPECT_TRUE(catcher.Is(GoldenSnapshot(40, "first"), *meta));
}

// The worked example of the documentation is this directory.
TEST(StoreGolden, TheDocumentationShowsItsBytes) {
  const std::string page = ReadFile(STEPBACK_GOLDEN_DIR "/../../docs/on_disk_format.md");
  const std::string manifest = ReadFile(std::string(kGoldenDir) + "/models/team%2Flm/MANIFEST-000001");
  ASSERT_EQ(manifest.size() % 16, 0u);
  for (size_t at = 0; at < manifest.size(); at += 16) {
    char text[32];
    std::snprintf(text, sizeof text, "%08zx:", at);
    std::string line = text;
    for (size_t i = 0; i < 16; ++i) {
      std::snprintf(text, sizeof text, i % 2 == 0 ? " %02x" : "%02x",
                    static_cast<unsigned char>(manifest[at + i]));
      line += text;
    }
    EXPECT_THAT(page, testing::HasSubstr(line));
  }
}

TEST(StoreGolden, TheSameSnapshotIsWrittenToTheSameBytes) {
  FakeFileSystem kept, fresh;
  CopyGolden(&kept);
  WriteGolden(&fresh, "/data");
  ASSERT_TRUE(fresh.RemoveFile("/data/models/team%2Flm/LOCK").ok());
  ASSERT_EQ(fresh.AllFiles(), kept.AllFiles());
  for (const std::string& path : kept.AllFiles())
    EXPECT_EQ(fresh.Contents(path), kept.Contents(path)) << path;
}

}  // namespace
}  // namespace stepback
