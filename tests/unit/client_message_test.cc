// Chunks by hand are what protobuf writes and reads, byte for byte.
#include "client/cpp/message.h"

#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

#include "server/base/crc32c.h"
#include "stepback/v1/training.pb.h"

namespace stepback::client {
namespace {

// A payload of `bytes` cut at every multiple of `piece`; each piece lies in memory of its own.
Payload InPieces(const std::string& bytes, size_t piece) {
  Payload payload;
  for (size_t at = 0; at < bytes.size(); at += piece) {
    const auto copy = std::make_shared<const std::string>(bytes.substr(at, piece));
    payload.Append({reinterpret_cast<const std::byte*>(copy->data()), copy->size()}, copy);
  }
  return payload;
}

std::string Bytes(size_t size) {
  std::string bytes(size, '\0');
  for (size_t i = 0; i < size; ++i) bytes[i] = static_cast<char>(i * 131 + 7);
  return bytes;
}

v1::PushRequest AsProto(uint64_t offset, const std::string& data) {
  v1::PushRequest request;
  request.mutable_chunk()->set_offset(offset);
  request.mutable_chunk()->set_crc32c(Crc32c(data.data(), data.size()));
  request.mutable_chunk()->set_data(data);
  return request;
}

TEST(ClientMessage, AnEncodedChunkIsWhatProtobufWrites) {
  for (const uint64_t offset : {uint64_t{0}, uint64_t{1}, uint64_t{127}, uint64_t{128}, uint64_t{1} << 40}) {
    for (const size_t size : {1, 3, 127, 128, 300, 70000}) {
      const std::string data = Bytes(size);
      const OutMessage message =
          EncodeChunk(v1::PushRequest::kChunkFieldNumber, offset, InPieces(data, 1000));
      EXPECT_EQ(message.head + Flatten(message.payload), AsProto(offset, data).SerializeAsString())
          << "offset " << offset << ", size " << size;
    }
  }
}

TEST(ClientMessage, AChunkIsReadWhereverItsBytesAreCut) {
  const std::string data = Bytes(300);
  const std::string wire = AsProto(1 << 20, data).SerializeAsString();
  for (size_t piece = 1; piece <= wire.size(); ++piece) {
    ReceivedChunk chunk;
    const absl::StatusOr<bool> found = DecodeChunk(InPieces(wire, piece), 2, &chunk);
    ASSERT_TRUE(found.ok()) << found.status();
    ASSERT_TRUE(*found);
    EXPECT_EQ(chunk.offset, 1u << 20);
    EXPECT_EQ(chunk.crc32c, Crc32c(data.data(), data.size()));
    EXPECT_EQ(Flatten(chunk.data), data);
  }
}

TEST(ClientMessage, ReceivedDataStaysWhereTheTransportPutIt) {
  const auto wire = std::make_shared<const std::string>(AsProto(8, Bytes(64)).SerializeAsString());
  Payload message;
  message.Append({reinterpret_cast<const std::byte*>(wire->data()), wire->size()}, wire);
  ReceivedChunk chunk;
  ASSERT_TRUE(DecodeChunk(message, 2, &chunk).value());
  const auto* data = reinterpret_cast<const char*>(chunk.data.view().spans()[0].data);
  EXPECT_EQ(data, wire->data() + wire->size() - 64);
}

TEST(ClientMessage, FieldsInAnyOrderAndUnknownOnesAreRead) {
  // data, an unknown varint (9) and an unknown string (10), crc, offset.
  const std::string fields = std::string("\x1a\x02hi\x48\x05\x52\x03xyz\x15\x04\x03\x02\x01\x08\x10", 18);
  const std::string wire = std::string("\x12") + static_cast<char>(fields.size()) + fields;
  ReceivedChunk chunk;
  ASSERT_TRUE(DecodeChunk(InPieces(wire, 3), 2, &chunk).value());
  EXPECT_EQ(chunk.offset, 16u);
  EXPECT_EQ(chunk.crc32c, 0x01020304u);
  EXPECT_EQ(Flatten(chunk.data), "hi");
}

TEST(ClientMessage, AnotherFieldIsNoChunk) {
  v1::PushRequest request;
  request.mutable_header()->set_model("lm");
  ReceivedChunk chunk;
  EXPECT_FALSE(DecodeChunk(InPieces(request.SerializeAsString(), 2), 2, &chunk).value());
}

TEST(ClientMessage, EveryTruncationIsAnErrorOrShorterData) {
  const std::string wire = AsProto(77, Bytes(40)).SerializeAsString();
  for (size_t size = 0; size < wire.size(); ++size) {
    ReceivedChunk chunk;
    EXPECT_FALSE(DecodeChunk(InPieces(wire.substr(0, size), 5), 2, &chunk).ok()) << size << " bytes";
  }
}

TEST(ClientMessage, LengthsThatLieAreErrors) {
  for (const std::string& wire : {std::string("\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"),
                                  std::string("\x12\x04\x1a\x7fxy"), std::string("\x12\x02\x1b\x00", 4)}) {
    ReceivedChunk chunk;
    EXPECT_EQ(DecodeChunk(InPieces(wire, 1), 2, &chunk).status().code(), absl::StatusCode::kInternal);
  }
}

TEST(ClientMessage, ASliceSharesTheBytesOfTheWhole) {
  const std::string bytes = Bytes(100);
  Payload whole = InPieces(bytes, 9);
  for (size_t begin = 0; begin < 100; begin += 7) {
    for (size_t size = 0; begin + size <= 100; size += 11) {
      EXPECT_EQ(Flatten(Slice(whole, begin, size)), bytes.substr(begin, size));
    }
  }
  const Payload part = Slice(whole, 20, 30);
  whole = Payload();
  EXPECT_EQ(Flatten(part), bytes.substr(20, 30));  // kept alive by the slice
}

}  // namespace
}  // namespace stepback::client
