// Which bytes of a payload are which elements, and how ranks share a push.
#include <gtest/gtest.h>

#include <numeric>

#include "client/cpp/payload_layout.h"

namespace stepback::client {
namespace {

const kernels::CodecInfo& F32() { return *kernels::FindCodec("f32"); }
const kernels::CodecInfo& Bf16() { return *kernels::FindCodec("bf16"); }

// A form in blocks of 16 elements: a scale and one byte each.
uint64_t BlockBytes(uint64_t elements) { return (elements + 15) / 16 * 4 + elements; }
const kernels::CodecInfo kBlocks{
    .name = "blocks", .id = 99, .block_elements = 16, .encoded_bytes = BlockBytes};

std::vector<Tensor> Table() {
  return {{"w", {3, 7}},
          {"steps", {3}, DataType::kU8, Role::kCarried},
          {"base", {5}, DataType::kF32, Role::kFrozen},
          {"mean", {4}, DataType::kF32, Role::kAveraged},
          {"empty", {0, 4}},
          {"scale", {}}};
}

TEST(ClientLayout, APushIsEverythingButTheFrozenInTableOrder) {
  const PayloadLayout layout = PayloadLayout::Make(Table(), F32(), Direction::kPush, {}, {}).value();
  ASSERT_EQ(layout.runs().size(), 4u);
  EXPECT_EQ(layout.runs()[0].bytes, 84u);
  EXPECT_TRUE(layout.runs()[1].raw);
  EXPECT_EQ(layout.runs()[1].byte_offset, 84u);
  EXPECT_EQ(layout.runs()[1].bytes, 3u);
  EXPECT_EQ(layout.runs()[2].tensor, 3u);
  EXPECT_EQ(layout.runs()[2].byte_offset, 87u);
  EXPECT_EQ(layout.runs()[3].tensor, 5u);
  EXPECT_EQ(layout.total_bytes(), 84u + 3 + 16 + 4);
}

TEST(ClientLayout, APullHasTheFrozenToo) {
  const PayloadLayout layout = PayloadLayout::Make(Table(), Bf16(), Direction::kPull, {}, {}).value();
  EXPECT_EQ(layout.total_bytes(), 2u * (21 + 5 + 4 + 1) + 3);
}

TEST(ClientLayout, RangesAndAbsentTensorsLeaveTheirElementsOut) {
  const std::vector<bool> present = {true, true, true, false, true, true};
  const std::vector<ElementRange> ranges = {{2, 3}, {10, 20}, {32, 2}};
  const PayloadLayout layout = PayloadLayout::Make(Table(), F32(), Direction::kPush, present, ranges).value();
  ASSERT_EQ(layout.runs().size(), 4u);
  EXPECT_EQ(layout.runs()[0].first, 2u);
  EXPECT_EQ(layout.runs()[0].count, 3u);
  EXPECT_EQ(layout.runs()[1].first, 10u);
  EXPECT_EQ(layout.runs()[1].count, 11u);
  EXPECT_TRUE(layout.runs()[2].raw);
  EXPECT_EQ(layout.runs()[3].tensor, 5u);
  EXPECT_EQ(layout.total_bytes(), 12u + 44 + 3 + 4);
}

TEST(ClientLayout, RunAtFindsTheRunOfEveryByte) {
  const PayloadLayout layout = PayloadLayout::Make(Table(), F32(), Direction::kPush, {}, {}).value();
  for (uint64_t byte = 0; byte < layout.total_bytes(); ++byte) {
    const client::Run& run = *layout.RunAt(byte);
    EXPECT_LE(run.byte_offset, byte);
    EXPECT_LT(byte, run.byte_offset + run.bytes);
  }
}

TEST(ClientLayout, BadRangesAreRefusedWithTheirBounds) {
  const auto refused = [](std::vector<ElementRange> ranges, const kernels::CodecInfo& codec) {
    return PayloadLayout::Make(Table(), codec, Direction::kPush, {}, ranges).status();
  };
  EXPECT_EQ(refused({{0, 0}}, F32()).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(refused({{5, 2}, {6, 2}}, F32()).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(refused({{0, 35}}, F32()).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(refused({{UINT64_MAX, 2}}, F32()).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(refused({{1, UINT64_MAX}}, F32()).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(refused({{0, 22}}, F32()).message().find("'steps' is carried"), absl::string_view::npos);
  EXPECT_NE(refused({{0, 20}}, kBlocks).message().find("blocks of 16"), absl::string_view::npos);
  EXPECT_TRUE(refused({{0, 16}}, kBlocks).ok());
}

TEST(ClientLayout, PartsOfAllRanksTileThePush) {
  std::vector<Tensor> table = Table();
  table.push_back({"big", {1000}});
  table.push_back({"ids", {40}, DataType::kI64, Role::kCarried});
  table.push_back({"tail", {333}});
  const uint64_t elements = std::accumulate(table.begin(), table.end(), uint64_t{0},
                                            [](uint64_t sum, const Tensor& t) { return sum + t.elements(); });
  for (const kernels::CodecInfo* codec : {&F32(), &Bf16(), &kBlocks}) {
    const uint64_t whole = PayloadLayout::Make(table, *codec, Direction::kPush, {}, {})->total_bytes();
    for (const uint32_t ranks : {1, 2, 3, 5, 8}) {
      uint64_t next = 0, bytes = 0;
      for (uint32_t rank = 0; rank < ranks; ++rank) {
        const auto part = EvenPart(table, *codec, rank, ranks);
        ASSERT_TRUE(part.ok()) << part.status();
        ASSERT_EQ(part->size(), 1u);
        EXPECT_EQ((*part)[0].begin, next);
        next += (*part)[0].count;
        const auto layout = PayloadLayout::Make(table, *codec, Direction::kPush, {}, *part);
        ASSERT_TRUE(layout.ok()) << layout.status();
        bytes += layout->total_bytes();
        EXPECT_LE(layout->total_bytes(), whole / ranks + 400) << "rank " << rank << " of " << ranks;
      }
      EXPECT_EQ(next, elements);
      EXPECT_EQ(bytes, whole);
    }
  }
}

TEST(ClientLayout, ARankWithoutElementsIsAnError) {
  const std::vector<Tensor> table = {{"ids", {100}, DataType::kI64, Role::kCarried}};
  EXPECT_EQ(EvenPart(table, F32(), 0, 2).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(EvenPart(table, F32(), 2, 2).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(ClientLayout, SplittingALargeModelDoesNotOverflow) {
  const std::vector<Tensor> table = {{"w", {uint64_t{1} << 38}}};
  EXPECT_EQ(EvenPart(table, F32(), 3, 4)->at(0), (ElementRange{3ull << 36, 1ull << 36}));
}

TEST(ClientLayout, UnknownCodecsAreNamed) {
  EXPECT_EQ((*CodecNamed(""))->name, "f32");
  const absl::Status status = CodecNamed("int3").status();
  EXPECT_NE(status.message().find("'int3' is not one of: f32 bf16"), absl::string_view::npos) << status;
}

}  // namespace
}  // namespace stepback::client
