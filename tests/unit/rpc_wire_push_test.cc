#include "server/rpc/wire_push.h"

#include <random>
#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "gtest/gtest.h"
#include "server/base/errors.h"
#include "server/engine/chunk_check.h"
#include "stepback/v1/training.pb.h"
#include "tests/support/slices.h"

namespace stepback {
namespace {

using Kind = StreamMessage::Kind;

std::string BytesOf(const Payload& payload) {
  std::string bytes;
  for (const kernels::ByteSpan& span : payload.view().spans()) {
    bytes.append(reinterpret_cast<const char*>(span.data), span.size);
  }
  return bytes;
}

// The reference: protobuf's own parser. Nothing when it refuses the bytes.
struct Reference {
  bool valid = false;
  v1::PushRequest message;
};
Reference Parse(const std::string& bytes) {
  Reference reference;
  reference.valid = reference.message.ParseFromString(bytes);
  return reference;
}

void ExpectEqual(const StreamMessage& actual, const v1::PushRequest& expected) {
  if (expected.has_header()) {
    ASSERT_EQ(actual.kind, Kind::kHeader);
    v1::PushHeader header;
    ASSERT_TRUE(header.ParseFromString(actual.header));
    EXPECT_EQ(header.SerializeAsString(), expected.header().SerializeAsString());
  } else if (expected.has_chunk()) {
    ASSERT_EQ(actual.kind, Kind::kChunk);
    EXPECT_EQ(actual.chunk.offset, expected.chunk().offset());
    EXPECT_EQ(actual.chunk.crc32c, expected.chunk().crc32c());
    EXPECT_EQ(BytesOf(actual.chunk.data), expected.chunk().data());
  } else {
    EXPECT_EQ(actual.kind, Kind::kNeither);
  }
}

std::string RandomBytes(std::mt19937_64& random, size_t size) {
  std::string bytes(size, '\0');
  for (char& c : bytes) c = static_cast<char>(random());
  return bytes;
}

v1::PushRequest RandomChunk(std::mt19937_64& random) {
  v1::PushRequest request;
  request.mutable_chunk()->set_offset(random() >> (random() % 64));
  request.mutable_chunk()->set_crc32c(static_cast<uint32_t>(random()));
  request.mutable_chunk()->set_data(RandomBytes(random, 1 + random() % 3000));
  return request;
}

v1::PushRequest RandomHeader(std::mt19937_64& random) {
  v1::PushRequest request;
  request.mutable_header()->set_model(std::to_string(random() % 100));
  request.mutable_header()->set_sequence(random());
  request.mutable_header()->set_present(RandomBytes(random, random() % 40));
  request.mutable_header()->mutable_base()->set_counter(random());
  return request;
}

std::string Varint(uint64_t value, int padding = 0) {
  std::string bytes;
  for (; value >= 0x80; value >>= 7) bytes += static_cast<char>(value | 0x80);
  bytes += static_cast<char>(value);
  for (int i = 0; i < padding; ++i) {  // legal, not minimal
    bytes.back() = static_cast<char>(bytes.back() | 0x80);
    bytes += '\0';
  }
  return bytes;
}
std::string Field(uint32_t number, uint32_t type) { return Varint(number << 3 | type); }
std::string Bytes(uint32_t number, const std::string& content) {
  return Field(number, 2) + Varint(content.size()) + content;
}
std::string Fixed32(uint32_t number, uint32_t value) {
  std::string bytes = Field(number, 5);
  for (int i = 0; i < 4; ++i) bytes += static_cast<char>(value >> (8 * i));
  return bytes;
}

TEST(ParseStreamMessage, ReadsWhatProtobufWroteHoweverItIsCut) {
  std::mt19937_64 random(1);
  for (int i = 0; i < 2000; ++i) {
    const v1::PushRequest request = i % 4 == 0 ? RandomHeader(random) : RandomChunk(random);
    const auto message = ParseStreamMessage(CutIntoSlices(request.SerializeAsString(), random, 1 + i % 200));
    ASSERT_TRUE(message.ok()) << message.status();
    ExpectEqual(*message, request);
  }
}

TEST(ParseStreamMessage, LeavesTheDataWhereItLies) {
  std::mt19937_64 random(2);
  v1::PushRequest request;
  request.mutable_chunk()->set_data(RandomBytes(random, 100'000));
  const grpc::Slice slice(request.SerializeAsString());
  const auto message = ParseStreamMessage(grpc::ByteBuffer(&slice, 1));
  ASSERT_TRUE(message.ok());
  ASSERT_EQ(message->chunk.data.view().spans().size(), 1u);
  const auto* data = reinterpret_cast<const uint8_t*>(message->chunk.data.view().spans()[0].data);
  EXPECT_EQ(data, slice.end() - 100'000);
}

TEST(ParseStreamMessage, KeepsTheDataAliveAfterTheMessageIsGone) {
  std::mt19937_64 random(3);
  const v1::PushRequest request = RandomChunk(random);
  Payload data;
  {
    const grpc::ByteBuffer buffer = CutIntoSlices(request.SerializeAsString(), random, 64);
    data = ParseStreamMessage(buffer)->chunk.data;
  }
  EXPECT_EQ(BytesOf(data), request.chunk().data());
}

TEST(ParseStreamMessage, AcceptsAnyLegalEncoding) {
  const std::string unknown = Field(77, 0) + Varint(5) + Field(78, 1) + std::string(8, 'x') +
                              Bytes(79, "abc") + Field(80, 3) + Bytes(1, "in a group") + Field(81, 3) +
                              Field(81, 4) + Field(80, 4) + Fixed32(82, 9);
  const std::string chunk = unknown + Bytes(3, "first") + Fixed32(2, 1) + Field(1, 0) + Varint(4, 3) +
                            Bytes(3, "last") + Fixed32(2, 0xdeadbeef) + unknown + Field(1, 0) + Varint(8, 6);
  const std::vector<std::string> encodings = {
      Bytes(2, chunk),
      unknown + Bytes(2, chunk) + unknown,
      Field(2, 2) + Varint(chunk.size(), 2) + chunk,  // length not minimal
      Bytes(1, "\x0a\x01x") + Bytes(2, chunk),        // the last member of the oneof counts
      Bytes(2, Field(1, 0) + Varint(8) + Fixed32(2, 1)) +
          Bytes(2, Bytes(3, "last") + Fixed32(2, 0xdeadbeef)),  // merged
  };
  std::mt19937_64 random(4);
  for (const std::string& encoding : encodings) {
    const Reference reference = Parse(encoding);
    ASSERT_TRUE(reference.valid);
    const auto message = ParseStreamMessage(CutIntoSlices(encoding, random, 7));
    ASSERT_TRUE(message.ok()) << message.status();
    ExpectEqual(*message, reference.message);
    EXPECT_EQ(message->chunk.offset, 8u);
    EXPECT_EQ(BytesOf(message->chunk.data), "last");
  }
}

TEST(ParseStreamMessage, TakesAFieldOfAnotherWireTypeForUnknown) {
  const std::string bytes = Bytes(2, Bytes(1, "offset as bytes") + Field(2, 0) + Varint(3) + Bytes(3, "d"));
  const auto message = ParseStreamMessage(OneSlice(bytes));
  ASSERT_TRUE(message.ok());
  ExpectEqual(*message, Parse(bytes).message);
  EXPECT_EQ(message->chunk.offset, 0u);
}

TEST(ParseStreamMessage, RefusesWhatIsNoMessage) {
  const std::string deep(300, static_cast<char>(0x03 | 10 << 3));
  const std::vector<std::string> malformed = {
      "\x12\x05"
      "abc",                                               // ends inside the chunk
      "\x12\xff\xff\xff\xff\x0f",                          // a length of 4 GiB
      "\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",      // a length of 2^64 - 1
      "\x12\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01",  // a varint of eleven bytes
      Bytes(2,
            "\x1a\x7f"
            "x"),                            // data longer than its chunk
      Bytes(2, Bytes(3, "x") + "\x15\x01"),  // a fixed32 cut short
      std::string("\x00\x01", 2),            // field number 0
      Field(5, 4),                           // a group that ends and never began
      Field(5, 3) + Field(6, 4),             // a group ended by another
      Field(5, 6),                           // no such wire type
      deep,                                  // groups without end
  };
  for (const std::string& bytes : malformed) {
    const auto message = ParseStreamMessage(OneSlice(bytes));
    EXPECT_EQ(message.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(ReasonOf(message.status()), "MALFORMED_MESSAGE");
  }
  EXPECT_EQ(ReasonOf(ParseStreamMessage(grpc::ByteBuffer()).status()), "MALFORMED_MESSAGE");
}

// As protobuf does: five bytes hold all that a tag or a length may be.
TEST(ParseStreamMessage, TakesNoTagAndNoLengthOfMoreThanFiveBytes) {
  const std::string chunk = Bytes(3, "x");
  const auto with = [&](int tag_padding, int length_padding) {
    return Varint(2 << 3 | 2, tag_padding) + Varint(chunk.size(), length_padding) + chunk;
  };
  for (const std::string& bytes : {with(4, 0), with(0, 4)}) {
    EXPECT_TRUE(Parse(bytes).valid);
    EXPECT_TRUE(ParseStreamMessage(OneSlice(bytes)).ok());
  }
  for (const std::string& bytes : {with(5, 0), with(0, 5)}) {
    EXPECT_FALSE(Parse(bytes).valid);
    EXPECT_EQ(ReasonOf(ParseStreamMessage(OneSlice(bytes)).status()), "MALFORMED_MESSAGE");
  }
}

TEST(ParseStreamMessage, BoundsTheDataOfAChunk) {
  v1::PushRequest request;
  request.mutable_chunk()->set_offset(5);
  EXPECT_EQ(ReasonOf(ParseStreamMessage(OneSlice(request.SerializeAsString())).status()), "BAD_CHUNK");
  request.mutable_chunk()->set_data(std::string(kChunkBytesMax, 'x'));
  EXPECT_TRUE(ParseStreamMessage(OneSlice(request.SerializeAsString())).ok());
  request.mutable_chunk()->mutable_data()->push_back('x');
  EXPECT_EQ(ReasonOf(ParseStreamMessage(OneSlice(request.SerializeAsString())).status()), "BAD_CHUNK");
}

// One random change: a byte, a cut, an insertion, a repetition.
std::string Mutated(std::string bytes, std::mt19937_64& random) {
  const size_t at = random() % (bytes.size() + 1);
  switch (random() % 5) {
    case 0:
      if (at < bytes.size()) bytes[at] = static_cast<char>(random());
      return bytes;
    case 1:
      return bytes.substr(0, at);
    case 2:
      return bytes.insert(at, RandomBytes(random, 1 + random() % 12));
    case 3:
      return bytes.substr(at) + bytes;
    default:
      return RandomBytes(random, random() % 64);
  }
}

TEST(ParseStreamMessage, SurvivesTenThousandBrokenMessagesAndAgreesWithProtobuf) {
  std::mt19937_64 random(5);
  int accepted = 0, refused = 0;
  for (int i = 0; i < 10'000; ++i) {
    std::string bytes = (i % 3 == 0 ? RandomHeader(random) : RandomChunk(random)).SerializeAsString();
    for (uint64_t changes = random() % 4; changes > 0; --changes) bytes = Mutated(std::move(bytes), random);
    const auto message = ParseStreamMessage(CutIntoSlices(bytes, random, 1 + i % 300));
    message.ok() ? ++accepted : ++refused;
    if (!message.ok()) {
      const std::string reason = ReasonOf(message.status());
      ASSERT_TRUE(reason == "MALFORMED_MESSAGE" || reason == "BAD_CHUNK" || reason == "BAD_CHUNK") << reason;
    }
    const Reference reference = Parse(bytes);
    if (!reference.valid) continue;  // ours may be more lenient: it leaves headers to protobuf
    if (reference.message.has_chunk() && reference.message.chunk().data().empty()) {
      EXPECT_EQ(ReasonOf(message.status()), "BAD_CHUNK");
      continue;
    }
    ASSERT_TRUE(message.ok()) << message.status() << " " << absl::BytesToHexString(bytes);
    ExpectEqual(*message, reference.message);
  }
  EXPECT_GT(accepted, 1000);
  EXPECT_GT(refused, 1000);
}

}  // namespace
}  // namespace stepback
