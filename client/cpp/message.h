// Messages without protobuf copies: a chunk is a short prefix and the payload's own bytes, identical on the
// wire to what protobuf would write. Everything else is small and goes through protobuf.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "client/cpp/transport.h"
#include "google/protobuf/message_lite.h"

namespace stepback::client {

// The message that holds only `field` = Chunk{offset, crc32c, data}, where `field` is the number in its
// oneof.
OutMessage EncodeChunk(uint32_t field, uint64_t offset, Payload data);
// The same with a CRC32C computed before.
OutMessage EncodeChunk(uint32_t field, uint64_t offset, uint32_t crc32c, Payload data);

// Parses a small message; INTERNAL when it is not one.
absl::Status ParseMessage(const Payload& bytes, google::protobuf::MessageLite* out);

// A received Chunk; `data` refers to the message's slices and keeps them alive.
struct ReceivedChunk {
  uint64_t offset = 0;
  uint32_t crc32c = 0;
  Payload data;
};

// True and `*chunk` when the message's first field is `field`, a Chunk; false when it is another one.
// INTERNAL when it is malformed.
absl::StatusOr<bool> DecodeChunk(const Payload& message, uint32_t field, ReceivedChunk* chunk);

// Bytes [offset, offset + size) of `whole`, sharing its memory.
Payload Slice(const Payload& whole, uint64_t offset, uint64_t size);
// The bytes of `payload` joined.
std::string Flatten(const Payload& payload);

}  // namespace stepback::client
