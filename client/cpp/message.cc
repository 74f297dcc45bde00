#include "client/cpp/message.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <memory>

#include "server/base/crc32c.h"
#include "server/base/little_endian.h"
#include "server/base/status_macros.h"

namespace stepback::client {
namespace {

// Protobuf's wire types, and the tags of Chunk's fields.
constexpr uint32_t kVarint = 0, kFixed64 = 1, kLengthDelimited = 2, kFixed32 = 5;
constexpr uint32_t kOffsetTag = 1 << 3 | kVarint, kCrcTag = 2 << 3 | kFixed32,
                   kDataTag = 3 << 3 | kLengthDelimited;
constexpr int kVarintBytesMax = 10;

void AppendVarint(uint64_t value, std::string* out) {
  for (; value >= 0x80; value >>= 7) out->push_back(static_cast<char>(value | 0x80));
  out->push_back(static_cast<char>(value));
}

// Reads fields of a message that lies in pieces. Every read is checked against `end`.
class FieldReader {
 public:
  FieldReader(const kernels::EncodedView& view, uint64_t begin, uint64_t end)
      : view_(view), at_(begin), end_(end) {}

  bool done() const { return at_ == end_; }
  uint64_t at() const { return at_; }

  bool Varint(uint64_t* value) {
    *value = 0;
    for (int i = 0; i < kVarintBytesMax; ++i) {
      std::byte scratch;
      if (at_ >= end_) return false;
      const uint64_t byte = std::to_integer<uint64_t>(*view_.Read(at_++, 1, &scratch));
      *value |= (byte & 0x7f) << (7 * i);
      if (byte < 0x80) return true;
    }
    return false;
  }
  bool Fixed32(uint32_t* value) {
    std::byte scratch[4];
    if (end_ - at_ < 4) return false;
    *value = LoadLittle32(view_.Read(at_, 4, scratch));
    at_ += 4;
    return true;
  }
  // [*begin, *begin + *size) is the field's content.
  bool Bytes(uint64_t* begin, uint64_t* size) {
    if (!Varint(size) || *size > end_ - at_) return false;
    *begin = at_;
    at_ += *size;
    return true;
  }
  bool Skip(uint32_t tag) {
    uint64_t ignored, size;
    switch (tag & 7) {
      case kVarint:
        return Varint(&ignored);
      case kFixed64:
        return Advance(8);
      case kFixed32:
        return Advance(4);
      case kLengthDelimited:
        return Bytes(&ignored, &size);
      default:
        return false;
    }
  }

 private:
  bool Advance(uint64_t bytes) {
    if (end_ - at_ < bytes) return false;
    at_ += bytes;
    return true;
  }

  const kernels::EncodedView& view_;
  uint64_t at_;
  const uint64_t end_;
};

// The fields of one Chunk in any order; the last of each counts, as protobuf says.
bool ReadChunkFields(const Payload& message, FieldReader reader, ReceivedChunk* chunk) {
  uint64_t data_begin = 0, data_size = 0, tag = 0;
  while (!reader.done()) {
    if (!reader.Varint(&tag)) return false;
    bool read = false;
    if (tag == kOffsetTag) {
      read = reader.Varint(&chunk->offset);
    } else if (tag == kCrcTag) {
      read = reader.Fixed32(&chunk->crc32c);
    } else if (tag == kDataTag) {
      read = reader.Bytes(&data_begin, &data_size);
    } else {
      read = reader.Skip(static_cast<uint32_t>(tag));
    }
    if (!read) return false;
  }
  chunk->data = Slice(message, data_begin, data_size);
  return true;
}

}  // namespace

OutMessage EncodeChunk(uint32_t field, uint64_t offset, uint32_t crc32c, Payload data) {
  std::string fields;
  if (offset != 0) {  // proto3 leaves zeros out
    AppendVarint(kOffsetTag, &fields);
    AppendVarint(offset, &fields);
  }
  if (crc32c != 0) {
    char crc_bytes[4];
    StoreLittle32(crc32c, crc_bytes);
    AppendVarint(kCrcTag, &fields);
    fields.append(crc_bytes, sizeof crc_bytes);
  }
  AppendVarint(kDataTag, &fields);
  AppendVarint(data.size(), &fields);

  OutMessage message;
  AppendVarint(field << 3 | kLengthDelimited, &message.head);
  AppendVarint(fields.size() + data.size(), &message.head);
  message.head += fields;
  message.payload = std::move(data);
  return message;
}

OutMessage EncodeChunk(uint32_t field, uint64_t offset, Payload data) {
  const uint32_t crc32c = Crc32c(data.view());
  return EncodeChunk(field, offset, crc32c, std::move(data));
}

absl::Status ParseMessage(const Payload& bytes, google::protobuf::MessageLite* out) {
  if (out->ParseFromString(Flatten(bytes))) return absl::OkStatus();
  return absl::InternalError(
      fmt::format("the server sent {} bytes that are no {}", bytes.size(), std::string(out->GetTypeName())));
}

absl::StatusOr<bool> DecodeChunk(const Payload& message, uint32_t field, ReceivedChunk* chunk) {
  FieldReader reader(message.view(), 0, message.size());
  uint64_t tag = 0, begin = 0, size = 0;
  if (!reader.Varint(&tag)) return absl::InternalError("the server sent an empty message");
  if (tag != (field << 3 | kLengthDelimited)) return false;
  if (!reader.Bytes(&begin, &size) ||
      !ReadChunkFields(message, FieldReader(message.view(), begin, begin + size), chunk)) {
    return absl::InternalError(fmt::format("the server sent a malformed chunk of {} bytes", message.size()));
  }
  return true;
}

Payload Slice(const Payload& whole, uint64_t offset, uint64_t size) {
  const auto owner = std::make_shared<const Payload>(whole);
  Payload out;
  uint64_t begin = 0;
  for (const kernels::ByteSpan& span : owner->view().spans()) {
    const uint64_t end = begin + span.size;
    const uint64_t from = std::max(begin, offset), to = std::min(end, offset + size);
    if (from < to) out.Append({span.data + (from - begin), to - from}, owner);
    begin = end;
  }
  return out;
}

std::string Flatten(const Payload& payload) {
  std::string out;
  out.reserve(payload.size());
  for (const kernels::ByteSpan& span : payload.view().spans()) {
    out.append(reinterpret_cast<const char*>(span.data), span.size);
  }
  return out;
}

}  // namespace stepback::client
