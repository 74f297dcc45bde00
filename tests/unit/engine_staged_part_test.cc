#include "server/engine/staged_part.h"

#include <gtest/gtest.h>

#include <limits>

#include "tests/unit/engine_fixture.h"

namespace stepback {
namespace {

using absl::StatusCode;

struct Staging {
  explicit Staging(uint64_t elements, const char* codec = "f32") {
    layout = *Layout::Make({{.name = "w", .shape = {elements}}});
    wire = std::make_shared<const WireLayout>(
        *WireLayout::Make(*layout, *kernels::FindCodec(codec), Direction::kPush, {}, {}));
    part = std::make_unique<StagedPart>(wire, &pool, &metrics);
    EXPECT_TRUE(part->TakeOver(1, 0).ok());
  }

  absl::Status Add(const std::vector<std::byte>& bytes, uint64_t offset, size_t size,
                   size_t slice_bytes = 1 << 20) {
    const std::vector<std::byte> chunk(bytes.begin() + offset, bytes.begin() + offset + size);
    return part->Add(1, offset, Crc32c(chunk.data(), chunk.size()), SlicedPayload(chunk, slice_bytes));
  }

  std::vector<std::byte> Bytes() const {
    std::vector<std::byte> all;
    for (const kernels::ByteSpan& span : part->spans())
      all.insert(all.end(), span.data, span.data + span.size);
    return all;
  }

  BufferPool pool;
  telemetry::Metrics metrics;
  std::shared_ptr<const Layout> layout;
  std::shared_ptr<const WireLayout> wire;
  std::unique_ptr<StagedPart> part;
};

TEST(StagedPart, KeepsTheBytesWhateverTheChunksAndSlices) {
  const std::vector<std::byte> bytes = BytesOfFloats(Ramp(100'000));
  for (const size_t chunk : {8u, 4096u, 65528u, 65536u, 131072u}) {
    Staging staging(100'000);
    for (size_t at = 0; at < bytes.size(); at += chunk) {
      ASSERT_TRUE(staging.Add(bytes, at, std::min(chunk, bytes.size() - at), 1000).ok());
    }
    EXPECT_EQ(staging.part->received(), bytes.size());
    EXPECT_TRUE(staging.part->finite());
    EXPECT_EQ(staging.Bytes(), bytes);
  }
}

TEST(StagedPart, SmallChunksDoNotPinTheirSlices) {
  Staging staging(100'000);
  const std::vector<std::byte> bytes = BytesOfFloats(Ramp(100'000));
  const auto small = std::make_shared<const std::vector<std::byte>>(bytes.begin(), bytes.begin() + 32768);
  const auto large =
      std::make_shared<const std::vector<std::byte>>(bytes.begin() + 32768, bytes.begin() + 32768 + 65536);
  Payload payload;
  payload.Append({small->data(), small->size()}, small);
  ASSERT_TRUE(staging.part->Add(1, 0, Crc32c(small->data(), small->size()), payload).ok());
  payload = Payload();
  EXPECT_EQ(small.use_count(), 1);
  payload.Append({large->data(), large->size()}, large);
  ASSERT_TRUE(staging.part->Add(1, 32768, Crc32c(large->data(), large->size()), std::move(payload)).ok());
  EXPECT_GT(large.use_count(), 1) << "a large chunk is kept where it is";
}

TEST(StagedPart, TinyChunksBetweenLargeOnesShareTheirBlocks) {
  Staging staging(10 * (16384 + 2));
  const std::vector<std::byte> bytes = BytesOfFloats(Ramp(10 * (16384 + 2)));
  size_t at = 0;
  for (int i = 0; i < 10; ++i) {
    ASSERT_TRUE(staging.Add(bytes, at, 8).ok());
    ASSERT_TRUE(staging.Add(bytes, at + 8, 65536).ok());
    at += 8 + 65536;
  }
  EXPECT_EQ(staging.Bytes(), bytes);
  EXPECT_EQ(staging.pool.stats().in_use_count, 1u);
}

TEST(StagedPart, RefusesChunksInTheWrongPlaceAndStaysAsItWas) {
  Staging staging(1000);
  const std::vector<std::byte> bytes = BytesOfFloats(Ramp(1000));
  ASSERT_TRUE(staging.Add(bytes, 0, 1000).ok());
  const uint32_t crc = Crc32c(bytes.data(), 8);
  const Payload eight = PayloadOf({bytes.begin(), bytes.begin() + 8});
  EXPECT_THAT(staging.part->Add(1, 0, crc, eight), Refused(StatusCode::kInvalidArgument, "BAD_OFFSET"));
  EXPECT_THAT(staging.part->Add(1, 1008, crc, eight), Refused(StatusCode::kInvalidArgument, "BAD_OFFSET"));
  EXPECT_THAT(staging.part->Add(1, UINT64_MAX - 7, crc, eight),
              Refused(StatusCode::kInvalidArgument, "BAD_OFFSET"));
  EXPECT_THAT(staging.part->Add(1, 1000, 0, Payload()), Refused(StatusCode::kInvalidArgument, "BAD_CHUNK"));
  EXPECT_THAT(staging.part->Add(1, 1000, crc + 1, eight), Refused(StatusCode::kInvalidArgument, "BAD_CRC"));
  EXPECT_THAT(staging.part->Add(1, 1000, crc, PayloadOf(std::vector<std::byte>(3008))),
              Refused(StatusCode::kInvalidArgument, "TOO_MANY_BYTES"));
  EXPECT_THAT(staging.part->Add(1, 1000, crc, PayloadOf(std::vector<std::byte>(kChunkBytesMax + 1))),
              Refused(StatusCode::kInvalidArgument, "BAD_CHUNK"));
  EXPECT_EQ(staging.part->received(), 1000u);
  ASSERT_TRUE(staging.Add(bytes, 1000, 3000).ok());
  EXPECT_EQ(staging.Bytes(), bytes);
  EXPECT_THAT(staging.part->Add(1, 4000, crc, eight),
              Refused(StatusCode::kInvalidArgument, "TOO_MANY_BYTES"));
}

TEST(StagedPart, AChunkOfOddLengthMayOnlyBeTheLast) {
  Staging staging(3, "bf16");  // 6 bytes in all
  EXPECT_TRUE(staging.Add(std::vector<std::byte>(6), 0, 6).ok());
  Staging longer(100, "bf16");
  ASSERT_TRUE(longer.Add(std::vector<std::byte>(200), 0, 6).ok());
  EXPECT_THAT(longer.Add(std::vector<std::byte>(200), 6, 8),
              Refused(StatusCode::kInvalidArgument, "BAD_OFFSET"));
}

// Every bad value at every position, with chunks and slices that cut elements apart.
TEST(StagedPart, SeesEveryNanAndInfinityWhereverItLies) {
  constexpr size_t kElements = 37;
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
                          -std::numeric_limits<float>::infinity()}) {
    for (size_t position = 0; position < kElements; ++position) {
      std::vector<float> values = Ramp(kElements);
      values[position] = bad;
      const std::vector<std::byte> bytes = BytesOfFloats(values);
      for (const size_t slice : {1u, 3u, 7u, 64u}) {
        Staging staging(kElements);
        for (size_t at = 0; at < bytes.size(); at += 24) {
          ASSERT_TRUE(staging.Add(bytes, at, std::min<size_t>(24, bytes.size() - at), slice).ok());
        }
        EXPECT_FALSE(staging.part->finite())
            << "value " << bad << " at " << position << ", slices of " << slice;
      }
    }
  }
}

TEST(StagedPart, SeesANanThatTwoChunksShare) {
  // After a bool tensor, floats straddle the chunks' multiples of 8.
  const auto layout =
      *Layout::Make({{.name = "flag", .shape = {1}, .dtype = DataType::kBool, .role = Role::kCarried},
                     {.name = "w", .shape = {8}}});
  const auto wire = std::make_shared<const WireLayout>(
      *WireLayout::Make(*layout, *kernels::FindCodec("f32"), Direction::kPush, {}, {}));
  for (size_t position = 0; position < 8; ++position) {
    std::vector<float> values = Ramp(8);
    values[position] = std::numeric_limits<float>::quiet_NaN();
    std::vector<std::byte> bytes = {std::byte{1}};
    for (std::byte b : BytesOfFloats(values)) bytes.push_back(b);
    BufferPool pool;
    telemetry::Metrics metrics;
    StagedPart part(wire, &pool, &metrics);
    ASSERT_TRUE(part.TakeOver(1, 0).ok());
    for (size_t at = 0; at < bytes.size(); at += 8) {
      const std::vector<std::byte> chunk(bytes.begin() + at, bytes.begin() + std::min(bytes.size(), at + 8));
      ASSERT_TRUE(part.Add(1, at, Crc32c(chunk.data(), chunk.size()), PayloadOf(chunk)).ok());
    }
    EXPECT_FALSE(part.finite()) << position;
  }
}

TEST(StagedPart, CarriedBytesMayLookLikeNan) {
  const auto layout =
      *Layout::Make({{.name = "count", .shape = {4}, .dtype = DataType::kI64, .role = Role::kCarried},
                     {.name = "w", .shape = {1}}});
  const auto wire = std::make_shared<const WireLayout>(
      *WireLayout::Make(*layout, *kernels::FindCodec("f32"), Direction::kPush, {}, {}));
  std::vector<std::byte> bytes(36, std::byte{0xff});
  std::memset(bytes.data() + 32, 0, 4);
  BufferPool pool;
  telemetry::Metrics metrics;
  StagedPart part(wire, &pool, &metrics);
  ASSERT_TRUE(part.TakeOver(1, 0).ok());
  ASSERT_TRUE(part.Add(1, 0, Crc32c(bytes.data(), bytes.size()), PayloadOf(bytes)).ok());
  EXPECT_TRUE(part.finite());
}

TEST(StagedPart, ABadChunkDoesNotSpoilTheFinitenessOfTheNext) {
  Staging staging(4);
  const std::vector<std::byte> good = BytesOfFloats({1, 2, 3, 4});
  const std::vector<std::byte> bad = BytesOfFloats({1, std::numeric_limits<float>::quiet_NaN(), 3, 4});
  EXPECT_THAT(staging.part->Add(1, 0, 0x12345678, PayloadOf(bad)),
              Refused(StatusCode::kInvalidArgument, "BAD_CRC"));
  ASSERT_TRUE(staging.Add(good, 0, 16).ok());
  EXPECT_TRUE(staging.part->finite());
  EXPECT_EQ(staging.Bytes(), good);
}

TEST(StagedPart, AnotherOwnerGoesOnWhereTheFirstStopped) {
  Staging staging(1000);
  const std::vector<std::byte> bytes = BytesOfFloats(Ramp(1000));
  ASSERT_TRUE(staging.Add(bytes, 0, 1600).ok());
  EXPECT_THAT(staging.part->TakeOver(2, 800), Refused(StatusCode::kInvalidArgument, "BAD_OFFSET"));
  ASSERT_TRUE(staging.part->TakeOver(2, 1600).ok());
  EXPECT_EQ(staging.Add(bytes, 1600, 2400).code(), StatusCode::kCancelled) << "the first owner";
  const std::vector<std::byte> rest(bytes.begin() + 1600, bytes.end());
  ASSERT_TRUE(staging.part->Add(2, 1600, Crc32c(rest.data(), rest.size()), PayloadOf(rest)).ok());
  EXPECT_EQ(staging.Bytes(), bytes);
}

TEST(StagedPart, AnOwnerThatStartsAnewDropsWhatWasHeld) {
  Staging staging(1000);
  std::vector<float> values = Ramp(1000);
  values[3] = std::numeric_limits<float>::infinity();
  ASSERT_TRUE(staging.Add(BytesOfFloats(values), 0, 1600).ok());
  EXPECT_GT(staging.pool.stats().in_use_bytes, 0u);
  ASSERT_TRUE(staging.part->TakeOver(1, 0).ok());
  EXPECT_EQ(staging.part->received(), 0u);
  EXPECT_EQ(staging.pool.stats().in_use_bytes, 0u);
  const std::vector<std::byte> bytes = BytesOfFloats(Ramp(1000));
  ASSERT_TRUE(staging.Add(bytes, 0, 4000).ok());
  EXPECT_TRUE(staging.part->finite());
  EXPECT_EQ(staging.Bytes(), bytes);
}

TEST(StagedPart, NoMemoryRefusesTheChunkAndALaterOneMaySucceed) {
  Staging staging(1000);
  const std::vector<std::byte> bytes = BytesOfFloats(Ramp(1000));
  staging.pool.FailAllocation(1);
  EXPECT_THAT(staging.Add(bytes, 0, 4000), Refused(StatusCode::kResourceExhausted, "MEMORY_FULL"));
  EXPECT_EQ(staging.part->received(), 0u);
  ASSERT_TRUE(staging.Add(bytes, 0, 4000).ok());
  EXPECT_EQ(staging.Bytes(), bytes);
}

}  // namespace
}  // namespace stepback
