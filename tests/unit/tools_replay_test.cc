// Weights made again from snapshot and log: every version that a server published, bit for bit, from a disk
// that nobody touches; and what they would have become under another outer rule.
#include <gtest/gtest.h>

#include <cmath>

#include "server/store/safetensors_reader.h"
#include "server/tools/weight_replay.h"
#include "tests/unit/push_server.h"

namespace stepback {
namespace {

using absl::StatusCode;

constexpr size_t kElements = 60;
const ModelDirectory kWhere{"m", "/data/models/m"};

ModelSpec ReplaySpec(const std::string& outer, double lr) {
  ModelSpec spec = DeltaSpec("m", {40, 20});
  spec.outer = {.name = outer};
  if (outer == "nesterov") spec.outer.values = {{"lr", lr}};
  if (outer == "average") spec.outer.values = {{"alpha", lr}};
  spec.durability = Durability::kPush;
  spec.rounds.policy = RoundPolicy::kBuffered;
  spec.rounds.buffer_pushes = 2;
  spec.rounds.max_staleness = 1000;
  spec.snapshot_interval_seconds = 1e6;
  return spec;
}

// What a server published, by version, with the hash that it gave.
using Published = std::map<Version, std::string>;

class ToolsReplay : public testing::Test {
 protected:
  void Open() {
    const auto opened =
        server_.Ask<SessionOpened>([&](auto done) { server_.model->Open({.client_id = "w"}, done); });
    ASSERT_TRUE(opened.ok()) << opened.status();
    epoch_ = opened->session.epoch;
  }
  void Push(float value) {
    const std::vector<std::byte> bytes = BytesOfFloats(Constant(kElements, value));
    UploadRequest request;
    request.header = {.client_id = "w",
                      .epoch = epoch_,
                      .sequence = ++sequence_,
                      .base = server_.model->Info().version->version};
    request.total_bytes = bytes.size();
    const auto answer = server_.Send(request, bytes);
    ASSERT_TRUE(answer.ok()) << answer.status();
    Note();
  }
  void Note() {
    const auto version = server_.model->Info().version;
    published_[version->version] = *StateHash(*version, server_.backend.get());
  }
  // Rounds of pushes, a snapshot in the middle of one, and a power failure in the middle of another.
  void Run(const std::string& outer, double lr) {
    ASSERT_TRUE(server_.Start().ok());
    ASSERT_TRUE(server_.Create(ReplaySpec(outer, lr), Constant(kElements, 1)).ok());
    Note();
    Open();
    for (int i = 1; i <= 5; ++i) Push(0.1f * static_cast<float>(i));
    ASSERT_TRUE(server_.Ask<SnapshotInfo>([&](auto done) { server_.model->SaveSnapshot("", done); }).ok());
    for (int i = 1; i <= 4; ++i) Push(0.3f);
    ASSERT_TRUE(server_.PowerCycle(FakeFileSystem::Unsynced::kLost).ok());
    Note();
    Open();
    for (int i = 1; i <= 4; ++i) Push(-0.2f * static_cast<float>(i));
    server_.model.reset();
    server_.engine.reset();
  }

  PushServer server_{7};
  uint64_t epoch_ = 0, sequence_ = 0;
  Published published_;
};

TEST_F(ToolsReplay, EveryVersionIsMadeAgainBitForBit) {
  Run("nesterov", 0.5);
  ASSERT_GE(published_.size(), 7u);
  std::map<std::string, std::string> before;
  for (const std::string& file : server_.disk.AllFiles()) before[file] = server_.disk.Contents(file);
  for (const auto& [version, hash] : published_) {
    const auto replay = WeightReplay::Open(&server_.disk, kWhere, std::nullopt);
    ASSERT_TRUE(replay.ok()) << replay.status();
    std::vector<Version> seen;
    const auto result =
        (*replay)->Run(version, [&](const ReplayedVersion& shown) { seen.push_back(shown.version); });
    ASSERT_TRUE(result.ok()) << result.status();
    EXPECT_EQ(result->version->version, version);
    EXPECT_EQ(result->state_hash, hash) << version.ToString();
    EXPECT_TRUE(std::is_sorted(seen.begin(), seen.end()));
    EXPECT_EQ(seen.size(), static_cast<size_t>(std::distance(published_.begin(), published_.find(version))));
  }
  const auto whole = WeightReplay::Open(&server_.disk, kWhere, std::nullopt);
  EXPECT_EQ((*whole)->Run(std::nullopt, [](const auto&) {})->state_hash, published_.rbegin()->second);
  for (const auto& [file, bytes] : before) EXPECT_EQ(server_.disk.Contents(file), bytes) << file;
  EXPECT_EQ(server_.disk.AllFiles().size(), before.size());
}

TEST_F(ToolsReplay, ItOnlyReads) {
  Run("nesterov", 0.5);
  server_.disk.ResetCalls();
  const auto replay = WeightReplay::Open(&server_.disk, kWhere, std::nullopt);
  ASSERT_TRUE((*replay)->Run(std::nullopt, [](const auto&) {}).ok());
  for (const std::string& call : server_.disk.call_log()) {
    const std::string what = call.substr(0, call.find(' '));
    EXPECT_TRUE(what == "list" || what == "open" || what == "read" || what == "size") << call;
  }
}

// phi moves by alpha x the mean of each round, so another alpha scales the whole way; independent of our
// rules.
TEST_F(ToolsReplay, AnotherRuleOnTheSamePushes) {
  Run("average", 1);
  const auto replay = WeightReplay::Open(&server_.disk, kWhere, *ParseOuterChange("alpha=0.5"));
  ASSERT_TRUE(replay.ok()) << replay.status();
  std::vector<double> distances;
  const auto result = (*replay)->Run(
      std::nullopt, [&](const ReplayedVersion& shown) { distances.push_back(shown.distance); });
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->real_hash, published_.rbegin()->second);
  EXPECT_NE(result->state_hash, result->real_hash);
  // Rounds of two: (.1 .2) (.3 .4) (.5 .3) (.3 .3) | (.3 -.2) (-.4 -.6); the last push waits in an open
  // round.
  const double moved[] = {0.15, 0.5, 0.9, 1.2, 1.2, 1.25, 0.75};
  ASSERT_EQ(distances.size(), std::size(moved));
  for (size_t i = 0; i < distances.size(); ++i)
    EXPECT_NEAR(distances[i], 0.5 * moved[i] * std::sqrt(static_cast<double>(kElements)), 1e-5) << i;
}

TEST_F(ToolsReplay, TheSameRuleIsNoChange) {
  Run("nesterov", 0.5);
  const auto replay = WeightReplay::Open(&server_.disk, kWhere, *ParseOuterChange("outer=nesterov,lr=0.5"));
  ASSERT_TRUE(replay.ok()) << replay.status();
  const auto result =
      (*replay)->Run(std::nullopt, [](const ReplayedVersion& shown) { EXPECT_EQ(shown.distance, 0); });
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->state_hash, result->real_hash);
}

// A rule with other state begins with its own.
TEST_F(ToolsReplay, ARuleWithOtherSlotsMayTakeTheOldOnesPlace) {
  Run("average", 1);
  const auto replay = WeightReplay::Open(&server_.disk, kWhere, *ParseOuterChange("outer=fed_adam,lr=0.1"));
  ASSERT_TRUE(replay.ok()) << replay.status();
  const auto result = (*replay)->Run(std::nullopt, [](const auto&) {});
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->version->outer_steps, 6u);
  EXPECT_NE(result->state_hash, result->real_hash);
}

TEST_F(ToolsReplay, WhatCannotBeIsRefused) {
  Run("average", 1);
  const auto open = [&](const char* with) {
    return WeightReplay::Open(&server_.disk, kWhere, *ParseOuterChange(with)).status();
  };
  EXPECT_EQ(open("outer=nosuchrule").code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(open("alpha=7").code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(ParseOuterChange("outer=").status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(ParseOuterChange("alpha").status().code(), StatusCode::kInvalidArgument);
  const auto replay = WeightReplay::Open(&server_.disk, kWhere, std::nullopt);
  EXPECT_EQ((*replay)->Run(Version{0, 99}, [](const auto&) {}).status().code(), StatusCode::kNotFound);
}

TEST(ToolsReplayOf, AModelWithoutALogHasNone) {
  EngineFixture server;
  ModelSpec spec = DeltaSpec("m", {kElements});
  ASSERT_NE(server.Create(spec, Constant(kElements, 1)), nullptr);
  EXPECT_EQ(WeightReplay::Open(&server.disk, kWhere, std::nullopt).status().code(),
            StatusCode::kFailedPrecondition);
}

TEST_F(ToolsReplay, TheWeightsAreWrittenAsAFile) {
  Run("average", 1);
  const auto replay = WeightReplay::Open(&server_.disk, kWhere, std::nullopt);
  const auto result = (*replay)->Run(Version{0, 1}, [](const auto&) {});
  ASSERT_TRUE(result.ok()) << result.status();
  ASSERT_TRUE((*replay)->WriteFile(*result->version, "/w.safetensors").ok());
  const std::string file = server_.disk.Contents("/w.safetensors");
  uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, file.data(), sizeof header_bytes);
  const auto header = DecodeSafetensorsHeader(std::string_view(file).substr(8, header_bytes));
  ASSERT_TRUE(header.ok()) << header.status();
  ASSERT_EQ(header->tensors.size(), 2u);
  EXPECT_EQ(header->metadata.at("stepback.version"), "1.1");
  ASSERT_EQ(file.size(), 8 + header_bytes + kElements * sizeof(float));
  std::vector<float> weights(kElements);
  std::memcpy(weights.data(), file.data() + 8 + header_bytes, kElements * sizeof(float));
  for (const float weight : weights) EXPECT_NEAR(weight, 1 - 0.15, 1e-6);
}

}  // namespace
}  // namespace stepback
