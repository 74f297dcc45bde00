#include "server/core/wire_layout.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <random>

#include "server/base/errors.h"
#include "server/core/fold_plan.h"
#include "server/core/round.h"
#include "tests/unit/core_support.h"

namespace stepback {
namespace {

using testing::HasSubstr;

// A codec of 4 elements in 3 bytes, a short block in one byte per element.
const kernels::CodecInfo kBlocky = {
    .name = "blocky", .block_elements = 4, .encoded_bytes = [](uint64_t n) { return n / 4 * 3 + n % 4; }};
const kernels::CodecInfo& F32() { return *kernels::FindCodec("f32"); }

// 0 trained [10], 1 carried i64 [3], 2 averaged [2,2], 3 frozen [5], 4 empty, 5 trained scalar
std::shared_ptr<const Layout> Mixed() {
  return *Layout::Make({{"w", {10}, DataType::kF32, Role::kTrained},
                        {"steps", {3}, DataType::kI64, Role::kCarried},
                        {"bn", {2, 2}, DataType::kF32, Role::kAveraged},
                        {"base", {5}, DataType::kF16, Role::kFrozen},
                        {"empty", {0}, DataType::kF32, Role::kTrained},
                        {"scalar", {}, DataType::kF64, Role::kTrained}});
}

absl::StatusOr<WireLayout> Make(const kernels::CodecInfo& codec, std::vector<ElementRange> ranges,
                                std::vector<uint8_t> present = {}, Direction direction = Direction::kPush) {
  return WireLayout::Make(*Mixed(), codec, direction, present, ranges);
}

std::string Refusal(const absl::StatusOr<WireLayout>& made) {
  EXPECT_EQ(made.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ReasonOf(made.status()), "LAYOUT_MISMATCH");
  return std::string(made.status().message());
}

std::string Show(const WireLayout& wire) {
  std::string text;
  for (const WireRun& run : wire.runs()) {
    text += std::to_string(run.tensor) + ":" + std::to_string(run.first) + "+" + std::to_string(run.count) +
            "@" + std::to_string(run.byte_offset) + "/" + std::to_string(run.bytes) +
            (run.raw ? "raw " : " ");
  }
  return text + "= " + std::to_string(wire.total_bytes());
}

TEST(WireLayout, APushHoldsEverythingButFrozenTensors) {
  EXPECT_EQ(Show(*Make(F32(), {})), "0:0+10@0/40 1:0+3@40/24raw 2:0+4@64/16 5:0+1@80/4 = 84");
}

TEST(WireLayout, APullHoldsFrozenTensorsToo) {
  EXPECT_EQ(Show(*Make(F32(), {}, {}, Direction::kPull)),
            "0:0+10@0/40 1:0+3@40/24raw 2:0+4@64/16 3:0+5@80/20 5:0+1@100/4 = 104");
}

TEST(WireLayout, BlocksRestartAtEveryTensor) {
  EXPECT_EQ(Show(*Make(kBlocky, {})), "0:0+10@0/8 1:0+3@8/24raw 2:0+4@32/3 5:0+1@35/1 = 36");
}

TEST(WireLayout, AbsentTensorsAreSkippedWhereverTheRangesLie) {
  EXPECT_EQ(Show(*Make(F32(), {}, {0b100101})), "0:0+10@0/40 2:0+4@40/16 5:0+1@56/4 = 60");
  EXPECT_EQ(Show(*Make(F32(), {{.begin = 4, .count = 10}}, {0b000101})), "0:4+6@0/24 2:0+1@24/4 = 28");
  EXPECT_EQ(Show(*Make(F32(), {}, {0})), "= 0");
}

TEST(WireLayout, RangesTakeTheirShareOfEveryTensor) {
  EXPECT_EQ(Show(*Make(F32(), {{2, 3}, {5, 1}, {8, 6}, {22, 1}})),
            "0:2+3@0/12 0:5+1@12/4 0:8+2@16/8 1:0+3@24/24raw 2:0+1@48/4 5:0+1@52/4 = 56");
  // Frozen tensors may be cut anywhere: nothing of them travels.
  EXPECT_EQ(Show(*Make(F32(), {{19, 2}})), "= 0");
}

TEST(WireLayout, RefusesCutsInsideACodecBlockOrACarriedTensor) {
  EXPECT_TRUE(Make(kBlocky, {{4, 6}, {13, 4}}).ok());
  EXPECT_THAT(Refusal(Make(kBlocky, {{4, 5}})),
              HasSubstr("takes elements 4..9 of the 10 of tensor 0, a cut must be"));
  EXPECT_THAT(Refusal(Make(kBlocky, {{3, 7}})), HasSubstr("multiple of 4"));
  EXPECT_THAT(Refusal(Make(F32(), {{10, 2}})), HasSubstr("0..2 of the 3 of tensor 1, which is carried"));
  EXPECT_THAT(Refusal(Make(F32(), {{10, 1}, {11, 2}})), HasSubstr("carried"));
  EXPECT_THAT(Refusal(Make(F32(), {{12, 1}})), HasSubstr("2..3 of the 3"));
}

TEST(WireLayout, RefusesRangesThatLieOrOverlap) {
  const uint64_t huge = uint64_t{1} << 63;
  EXPECT_THAT(Refusal(Make(F32(), {{0, 24}})), HasSubstr("ends after the model's 23 elements"));
  EXPECT_THAT(Refusal(Make(F32(), {{huge, huge}})), HasSubstr("ends after"));  // begin + count wraps to 0
  EXPECT_THAT(Refusal(Make(F32(), {{1, ~uint64_t{0}}})), HasSubstr("ends after"));
  EXPECT_THAT(Refusal(Make(F32(), {{23, 1}})), HasSubstr("ends after"));
  EXPECT_THAT(Refusal(Make(F32(), {{0, 0}})), HasSubstr("is empty"));
  EXPECT_THAT(Refusal(Make(F32(), {{0, 5}, {4, 2}})), HasSubstr("begins before 5"));
  EXPECT_THAT(Refusal(Make(F32(), {{6, 2}, {0, 2}})), HasSubstr("begins before 8"));
}

TEST(WireLayout, RefusesBitmapsOfTheWrongLengthAndBitsThatNameNothing) {
  EXPECT_THAT(Refusal(Make(F32(), {}, {1, 0})), HasSubstr("2 bytes, expected 1 for 6 tensors"));
  EXPECT_THAT(Refusal(Make(F32(), {}, {0b1000000})), HasSubstr("names tensor 6, the table has 6"));
  EXPECT_THAT(Refusal(Make(F32(), {}, {0b0001000})), HasSubstr("tensor 3, which is frozen"));
  EXPECT_TRUE(Make(F32(), {}, {0b0001000}, Direction::kPull).ok());
}

// --- folds: where the runs of a payload go in the arena ---

TEST(PlanFolds, PutsEveryRunAtItsPlaceInTheArenaInPiecesOfBoundedSize) {
  const auto layout = *Layout::Make({{"w", {100}, DataType::kF32, Role::kTrained},
                                     {"big", {200000}, DataType::kF32, Role::kTrained},
                                     {"steps", {3}, DataType::kI64, Role::kCarried}});
  const std::vector<ElementRange> ranges = {{40, 20}, {100 + 4096, 150000}, {200100, 3}};
  const auto wire = *WireLayout::Make(*layout, *kernels::FindCodec("bf16"), Direction::kPush, {}, ranges);
  Round round(layout);
  std::vector<kernels::Fold> folds = PlanFolds(*layout, wire, round, FoldPart::kTrained);
  ASSERT_EQ(folds.size(), 4u) << "the carried one is not among the trained";
  const std::vector<kernels::Fold> others = PlanFolds(*layout, wire, round, FoldPart::kOthers);
  folds.insert(folds.end(), others.begin(), others.end());
  ASSERT_EQ(folds.size(), 5u);
  // byte offset, first arena float, count (bytes for the carried one)
  const std::vector<std::array<uint64_t, 3>> expected = {{0, 40, 20},
                                                         {40, 112 + 4096, 65536},
                                                         {40 + 131072, 112 + 4096 + 65536, 65536},
                                                         {40 + 262144, 112 + 4096 + 131072, 150000 - 131072},
                                                         {40 + 300000, 200112, 24}};
  for (size_t i = 0; i < folds.size(); ++i) {
    EXPECT_EQ((std::array<uint64_t, 3>{folds[i].byte_offset, folds[i].arena_begin, folds[i].count}),
              expected[i])
        << i;
    EXPECT_EQ(folds[i].raw, i == 4);
    EXPECT_TRUE(folds[i].first) << "the round holds nothing yet";
    EXPECT_LE(folds[i].count, kFoldElements);
  }
}

// Any way to tile the model by legal ranges carries the same bytes as the whole.
TEST(WireLayout, TilesAddUpToTheWhole) {
  SCOPED_TRACE(testing::Message() << "seed " << core_test::Seed());
  std::mt19937_64 random(core_test::Seed());
  const auto layout = Mixed();
  const std::vector<uint64_t> cuts = {0, 1, 4, 7, 9, 10, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22};
  for (int i = 0; i < 2000; ++i) {
    std::vector<ElementRange> ranges;
    uint64_t begin = 0;
    for (size_t c = 1; c < cuts.size(); ++c) {
      if (random() % 3 == 0) ranges.push_back({begin, cuts[c] - begin}), begin = cuts[c];
    }
    ranges.push_back({begin, layout->elements() - begin});
    uint64_t bytes = 0, covered = 0;
    for (const ElementRange& range : ranges) {
      const auto part = Make(F32(), {range});
      ASSERT_TRUE(part.ok()) << part.status();
      bytes += part->total_bytes();
      for (const WireRun& run : part->runs()) covered += run.count;
    }
    EXPECT_EQ(bytes, 84u);
    EXPECT_EQ(covered, 18u);
    EXPECT_EQ(Make(F32(), ranges)->total_bytes(), 84u);
  }
}

}  // namespace
}  // namespace stepback
