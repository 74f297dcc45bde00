#include "server/rpc/wire_pull.h"

#include <memory>
#include <random>
#include <string>

#include "gtest/gtest.h"
#include "stepback/v1/model.pb.h"
#include "stepback/v1/training.pb.h"
#include "tests/support/slices.h"

namespace stepback {
namespace {

// A payload in `pieces` spans that share one owner.
Payload PayloadOf(const std::string& bytes, size_t pieces = 1) {
  const auto owner = std::make_shared<const std::string>(bytes);
  Payload payload;
  const size_t step = std::max<size_t>(1, bytes.size() / pieces);
  for (size_t begin = 0; begin < bytes.size(); begin += step) {
    const size_t size = std::min(step, bytes.size() - begin);
    payload.Append({reinterpret_cast<const std::byte*>(owner->data()) + begin, size}, owner);
  }
  return payload;
}

TEST(EncodeChunkMessage, WritesWhatProtobufWouldWrite) {
  std::mt19937_64 random(1);
  for (int i = 0; i < 1000; ++i) {
    v1::PullResponse expected;
    v1::Chunk* const chunk = expected.mutable_chunk();
    if (i % 5 != 0) chunk->set_offset(random() >> (random() % 64));
    if (i % 7 != 0) chunk->set_crc32c(static_cast<uint32_t>(random()));
    chunk->set_data(std::string(random() % 40'000, static_cast<char>(random())));
    const grpc::ByteBuffer actual =
        EncodeChunkMessage(3, chunk->offset(), chunk->crc32c(), PayloadOf(chunk->data(), 1 + i % 4));
    ASSERT_EQ(BytesIn(actual), expected.SerializeAsString());
  }
}

TEST(EncodeChunkMessage, PutsTheSuffixBehindTheChunk) {
  v1::ExportModelResponse expected;
  expected.mutable_chunk()->set_offset(8);
  expected.mutable_chunk()->set_data("data");
  expected.mutable_version()->set_term(3);
  expected.set_total_bytes(12);
  v1::ExportModelResponse rest = expected;
  rest.clear_chunk();
  EXPECT_EQ(BytesIn(EncodeChunkMessage(1, 8, 0, PayloadOf("data"), rest.SerializeAsString())),
            expected.SerializeAsString());
}

TEST(EncodeChunkMessage, PointsAtThePayloadInsteadOfCopyingIt) {
  const auto owner = std::make_shared<const std::string>(std::string(1 << 20, 'x'));
  Payload payload;
  payload.Append({reinterpret_cast<const std::byte*>(owner->data()), owner->size()}, owner);
  const grpc::ByteBuffer message = EncodeChunkMessage(3, 0, 1, payload);
  std::vector<grpc::Slice> slices;
  ASSERT_TRUE(message.Dump(&slices).ok());
  ASSERT_EQ(slices.size(), 2u);
  EXPECT_EQ(reinterpret_cast<const char*>(slices[1].begin()), owner->data());
}

TEST(EncodeChunkMessage, HoldsThePayloadUntilTheLastSliceIsGone) {
  std::weak_ptr<const std::string> watched;
  std::vector<grpc::Slice> slices;
  {
    const auto owner = std::make_shared<const std::string>(std::string(5000, 'x'));
    watched = owner;
    Payload payload;
    payload.Append({reinterpret_cast<const std::byte*>(owner->data()), 3000}, owner);
    payload.Append({reinterpret_cast<const std::byte*>(owner->data()) + 3000, 2000}, owner);
    const grpc::ByteBuffer message = EncodeChunkMessage(3, 0, 1, std::move(payload));
    ASSERT_TRUE(message.Dump(&slices).ok());
  }
  ASSERT_EQ(slices.size(), 3u);
  slices.resize(2);
  EXPECT_FALSE(watched.expired());
  slices.clear();
  EXPECT_TRUE(watched.expired());
}

TEST(EncodeMessageField, WritesWhatProtobufWouldWrite) {
  v1::StepResponse expected;
  v1::PullHeader* const header = expected.mutable_header();
  header->mutable_version()->set_counter(7);
  header->set_codec("f32");
  header->set_fingerprint(std::string(32, '\xab'));
  header->mutable_settings()->set_sync_period(5);
  EXPECT_EQ(BytesIn(EncodeMessageField(3, *header)), expected.SerializeAsString());

  v1::PullResponse empty;
  empty.mutable_waiting();
  EXPECT_EQ(BytesIn(EncodeMessageField(1, v1::Waiting())), empty.SerializeAsString());
}

}  // namespace
}  // namespace stepback
