#include "server/store/store_paths.h"

#include <gtest/gtest.h>

#include <random>
#include <set>
#include <string>

namespace stepback {
namespace {

TEST(StorePaths, PlainNamesStayAndOthersAreEscaped) {
  EXPECT_EQ(*EscapeModelName("lm-7b_v1.2"), "lm-7b_v1.2");
  EXPECT_EQ(*EscapeModelName("team/lm"), "team%2Flm");
  EXPECT_EQ(*EscapeModelName(".."), "%2E.");
  EXPECT_EQ(*EscapeModelName("."), "%2E");
  EXPECT_EQ(*EscapeModelName("100%"), "100%25");
  EXPECT_EQ(*EscapeModelName("größe"), "gr%C3%B6%C3%9Fe");
  EXPECT_EQ(*EscapeModelName(std::string("\0", 1)), "%00");
}

TEST(StorePaths, EscapingIsReversibleAndNeverAPath) {
  std::mt19937 random(3);
  std::set<std::string> names, ids;
  for (int i = 0; i < 20'000; ++i) {
    std::string name(1 + random() % 12, '\0');
    for (char& c : name) c = "./%aZ09_-\\ \0\xff\n"[random() % 14];
    auto id = EscapeModelName(name);
    ASSERT_TRUE(id.ok());
    ASSERT_EQ(UnescapeModelId(*id), name);
    ASSERT_EQ(id->find('/'), std::string::npos);
    ASSERT_EQ(id->find('\0'), std::string::npos);
    ASSERT_NE(id->front(), '.');
    names.insert(name);
    ids.insert(*id);
  }
  EXPECT_EQ(names.size(), ids.size());
}

TEST(StorePaths, NamesWithoutASafeDirectoryAreRefused) {
  EXPECT_EQ(EscapeModelName("").status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(EscapeModelName(std::string(200, 'a')).ok());
  EXPECT_EQ(EscapeModelName(std::string(201, 'a')).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(EscapeModelName(std::string(67, '/')).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(StorePaths, AStrangersDirectoryIsNotAModel) {
  for (const char* id : {"", ".removed-0-lm", "a%2", "a%zz", "%61", "a b", "lost+found", "a%2f", "."}) {
    EXPECT_EQ(UnescapeModelId(id), std::nullopt) << id;
  }
}

TEST(StorePaths, OnlyTheWrittenFormOfANumberIsRead) {
  EXPECT_EQ(ManifestName(12), "MANIFEST-000012");
  EXPECT_EQ(ParseManifestName("MANIFEST-000012"), 12u);
  EXPECT_EQ(ParseManifestName(ManifestName(UINT64_MAX)), UINT64_MAX);
  EXPECT_EQ(ParseSnapshotName(SnapshotName(1'234'567)), 1'234'567u);
  EXPECT_EQ(ParseTermName(TermName(0)), 0u);
  for (const char* name : {"MANIFEST-12", "MANIFEST-000012.tmp", "MANIFEST-+00012", "MANIFEST- 00012",
                           "MANIFEST-", "MANIFEST-99999999999999999999", "manifest-000012", "TERM-000012"}) {
    EXPECT_EQ(ParseManifestName(name), std::nullopt) << name;
  }
}

}  // namespace
}  // namespace stepback
