// Messages of the client streams (Push, Step, CreateModel, ImportModel): all are `oneof {header = 1; chunk =
// 2}`. The header is handed to protobuf; the chunk is read by hand, so that its data stays in the slices
// where the transport put it. Accepts every legal protobuf encoding: fields in any order, repeated (the last
// wins, messages merge), unknown.
//
// Thread: any; pure.
//
//   ASSIGN_OR_RETURN(StreamMessage message, ParseStreamMessage(buffer));
//   if (message.kind == StreamMessage::Kind::kChunk) upload->AddChunk(message.chunk.offset, ...);
#pragma once

#include <cstdint>
#include <string>

#include <grpcpp/support/byte_buffer.h>

#include "absl/status/statusor.h"
#include "server/base/payload.h"

namespace stepback {

inline constexpr int kReceiveBytesMax = 8 << 20;  // of one message; the transport refuses more

struct ChunkIn {
  uint64_t offset = 0;
  uint32_t crc32c = 0;
  Payload data;
};

struct StreamMessage {
  enum class Kind : uint8_t { kNeither, kHeader, kChunk };
  Kind kind = Kind::kNeither;
  std::string header;  // serialised
  ChunkIn chunk;
};

// INVALID_ARGUMENT: MALFORMED_MESSAGE, or BAD_CHUNK for data of no or too many bytes.
absl::StatusOr<StreamMessage> ParseStreamMessage(const grpc::ByteBuffer& message);

}  // namespace stepback
