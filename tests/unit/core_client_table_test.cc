#include "server/core/client_table.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <map>
#include <random>

#include "server/base/errors.h"
#include "server/core/client_log.h"
#include "tests/unit/core_support.h"

namespace stepback {
namespace {

std::shared_ptr<const ClientRecord> Record(uint64_t last_sequence) {
  return std::make_shared<const ClientRecord>(ClientRecord{.last_sequence = last_sequence});
}

std::map<std::string, uint64_t> Contents(const ClientTable& table) {
  std::map<std::string, uint64_t> contents;
  std::string previous;
  for (const auto& [id, record] : table) {
    EXPECT_TRUE(contents.empty() || previous < id) << "ascending ids";
    contents[id] = record->last_sequence;
    previous = id;
  }
  EXPECT_EQ(contents.size(), table.size());
  return contents;
}

TEST(ClientTable, BehavesAsAMapAndItsCopiesNeverChange) {
  SCOPED_TRACE(testing::Message() << "seed " << core_test::Seed());
  std::mt19937_64 random(core_test::Seed());
  ClientTable table;
  std::map<std::string, uint64_t> model;
  std::vector<std::pair<ClientTable, std::map<std::string, uint64_t>>> copies;
  for (int i = 0; i < 20000; ++i) {
    const std::string id = fmt::format("worker-{}", random() % 700);
    if (random() % 5 == 0) {
      EXPECT_EQ(table.erase(id), model.erase(id) == 1);
    } else if (random() % 4 == 0) {
      EXPECT_EQ(table.emplace(id, Record(i)), model.emplace(id, i).second);
    } else {
      table.insert_or_assign(id, Record(i));
      model[id] = i;
    }
    ASSERT_EQ(table.size(), model.size());
    const ClientRecord* found = table.Find(id);
    ASSERT_EQ(found != nullptr, model.contains(id));
    ASSERT_EQ(found == nullptr ? 0 : found->last_sequence, model.contains(id) ? model[id] : 0);
    if (i % 1000 == 0) copies.emplace_back(table, model);
  }
  EXPECT_EQ(Contents(table), model);
  for (const auto& [copy, contents] : copies) EXPECT_EQ(Contents(copy), contents);
}

TEST(ClientTable, HasNothingInItAtFirst) {
  const ClientTable table;
  EXPECT_TRUE(table.empty());
  EXPECT_EQ(table.begin(), table.end());
  EXPECT_FALSE(table.contains("a"));
}

TEST(ClientLog, RemembersTheLastEightAnswersOfAClient) {
  ClientLog log;
  for (uint64_t n = 1; n <= 20; ++n)
    log.Remember("a", {.outcome = PushOutcome::kBuffered, .sequence = n, .staleness = n});
  EXPECT_EQ(log.last_sequence("a"), 20u);
  EXPECT_EQ(log.pushes("a"), 20u);
  for (uint64_t n = 13; n <= 20; ++n) {
    ASSERT_TRUE(log.Recall("a", n).has_value());
    EXPECT_EQ(log.Recall("a", n)->outcome, PushOutcome::kBuffered);
    EXPECT_EQ(log.Recall("a", n)->staleness, n);
  }
  for (const uint64_t n : {0, 1, 12, 21}) EXPECT_FALSE(log.Recall("a", n).has_value()) << n;
  EXPECT_FALSE(log.Recall("b", 1).has_value());
}

TEST(ClientLog, RepeatsARefusalToo) {
  ClientLog log;
  log.Remember("a", {.sequence = 1, .refusal = Error(absl::StatusCode::kAborted, "STALE_BASE", "too old")});
  EXPECT_EQ(ReasonOf(log.Recall("a", 1)->refusal), "STALE_BASE");
}

TEST(ClientLog, ForgetsOnlyClientsThatNeverPushedWhenItIsFull) {
  ClientTable table;
  for (size_t i = 0; i < kMaxClients; ++i)
    table.insert_or_assign(fmt::format("c{}", i), Record(i % 1000 == 7 ? 0 : 1));
  ClientLog log(table);
  std::set<std::string> forgotten;
  const auto forget = [&](const std::string& id) { return id != "c7" && forgotten.insert(id).second; };
  EXPECT_TRUE(log.Admit("c1", forget).ok()) << "known already";
  for (size_t i = 0; i < kMaxClients / 1000 - 1; ++i) {
    const std::string id = fmt::format("new{}", i);
    ASSERT_TRUE(log.Admit(id, forget).ok()) << i;
    log.Remember(id, {.sequence = 1});
  }
  EXPECT_EQ(log.table().size(), kMaxClients);
  EXPECT_TRUE(log.table().contains("c7")) << "in use";
  const absl::Status full = log.Admit("one-more", forget);
  EXPECT_EQ(full.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(ReasonOf(full), "TOO_MANY_CLIENTS");
}

TEST(ClientLog, MergingKeepsTheRecordThatKnowsMore) {
  ClientLog log;
  for (uint64_t n = 1; n <= 3; ++n) log.Remember("a", {.sequence = n});
  log.SetEpoch("a", 2);
  log.Remember("b", {.sequence = 1});
  ClientTable other;
  other.insert_or_assign("a",
                         std::make_shared<const ClientRecord>(ClientRecord{.epoch = 7, .last_sequence = 2}));
  other.insert_or_assign("b",
                         std::make_shared<const ClientRecord>(ClientRecord{.epoch = 1, .last_sequence = 9}));
  log.Merge(other);
  EXPECT_EQ(log.last_sequence("a"), 3u);
  EXPECT_EQ(log.epoch("a"), 7u);
  EXPECT_EQ(log.last_sequence("b"), 9u);
}

// A commit among 5,000 clients must not cost milliseconds: one decision and one frozen copy for a version.
TEST(ClientLog, ACommitAmongThousandsOfClientsTakesMicroseconds) {
  ClientTable table;
  for (int i = 0; i < 5000; ++i)
    table.insert_or_assign(fmt::format("worker-with-a-long-name-{}", i), Record(0));
  ClientLog log(table);
  constexpr int kCommits = 2000;
  const auto start = std::chrono::steady_clock::now();
  std::shared_ptr<const ClientTable> version;
  for (int i = 0; i < kCommits; ++i) {
    const std::string id = fmt::format("worker-with-a-long-name-{}", i);
    log.Remember(id, {.sequence = 1, .reason = "applied at once"});
    version = log.Freeze();
  }
  const double micros =
      std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - start).count();
  RecordProperty("microseconds_per_commit", std::to_string(micros / kCommits));
  std::printf("%.1f us per commit\n", micros / kCommits);
  EXPECT_LT(micros / kCommits, 500) << "on a busy machine too";
}

}  // namespace
}  // namespace stepback
