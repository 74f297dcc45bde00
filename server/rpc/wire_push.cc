#include "server/rpc/wire_push.h"

#include <utility>
#include <vector>

#include <fmt/format.h>

#include "server/base/errors.h"
#include "server/engine/chunk_check.h"
#include "server/rpc/slice_cursor.h"

namespace stepback {
namespace {

using Slices = std::vector<grpc::Slice>;

constexpr uint32_t Tag(uint32_t field, WireType type) { return field << 3 | static_cast<uint32_t>(type); }

// Field numbers of the streams' messages and of Chunk.
constexpr uint32_t kHeaderTag = Tag(1, WireType::kBytes);
constexpr uint32_t kChunkTag = Tag(2, WireType::kBytes);
constexpr uint32_t kOffsetTag = Tag(1, WireType::kVarint);
constexpr uint32_t kCrcTag = Tag(2, WireType::kFixed32);
constexpr uint32_t kDataTag = Tag(3, WireType::kBytes);

bool ReadData(SliceCursor* cursor, const std::shared_ptr<const Slices>& slices, Payload* data) {
  uint64_t length;
  if (!cursor->ReadLength(&length)) return false;
  *data = Payload();
  cursor->AppendTo(length, slices, data);
  return true;
}

bool ReadChunkField(uint32_t tag, SliceCursor* cursor, const std::shared_ptr<const Slices>& slices,
                    ChunkIn* chunk) {
  switch (tag) {
    case kOffsetTag:
      return cursor->ReadVarint(&chunk->offset);
    case kCrcTag:
      return cursor->ReadFixed32(&chunk->crc32c);
    case kDataTag:
      return ReadData(cursor, slices, &chunk->data);
    default:
      return cursor->SkipField(tag);
  }
}

bool ReadChunk(SliceCursor* cursor, const std::shared_ptr<const Slices>& slices, ChunkIn* chunk) {
  uint64_t length;
  if (!cursor->ReadLength(&length)) return false;
  const uint64_t outer = cursor->Enter(length);
  uint32_t tag;
  while (!cursor->done()) {
    if (!cursor->ReadTag(&tag) || !ReadChunkField(tag, cursor, slices, chunk)) return false;
  }
  cursor->Leave(outer);
  return true;
}

// The two members are a oneof: the one that comes last counts, and the same one again is merged into the
// first.
void Select(StreamMessage::Kind kind, StreamMessage* message) {
  if (message->kind == kind) return;
  *message = StreamMessage();
  message->kind = kind;
}

bool ReadField(uint32_t tag, SliceCursor* cursor, const std::shared_ptr<const Slices>& slices,
               StreamMessage* message) {
  if (tag == kChunkTag) {
    Select(StreamMessage::Kind::kChunk, message);
    return ReadChunk(cursor, slices, &message->chunk);
  }
  if (tag != kHeaderTag) return cursor->SkipField(tag);
  Select(StreamMessage::Kind::kHeader, message);
  uint64_t length;
  if (!cursor->ReadLength(&length)) return false;
  cursor->AppendTo(length, &message->header);  // concatenated messages parse as merged ones
  return true;
}

absl::Status CheckChunk(const ChunkIn& chunk) {
  if (chunk.data.empty()) {
    return Error(
        absl::StatusCode::kInvalidArgument, "BAD_CHUNK",
        fmt::format("chunk at offset {} has no data, expected 1 to {} bytes", chunk.offset, kChunkBytesMax));
  }
  if (chunk.data.size() > kChunkBytesMax) {
    return Error(absl::StatusCode::kInvalidArgument, "BAD_CHUNK",
                 fmt::format("chunk at offset {} has {} bytes of data, at most {}", chunk.offset,
                             chunk.data.size(), kChunkBytesMax));
  }
  return absl::OkStatus();
}

absl::Status Malformed(const grpc::ByteBuffer& message) {
  return Error(absl::StatusCode::kInvalidArgument, "MALFORMED_MESSAGE",
               fmt::format("message of {} bytes is no protobuf message of this stream", message.Length()));
}

}  // namespace

absl::StatusOr<StreamMessage> ParseStreamMessage(const grpc::ByteBuffer& message) {
  auto slices = std::make_shared<Slices>();
  if (!message.Valid() || !message.Dump(slices.get()).ok()) return Malformed(message);
  SliceCursor cursor(*slices);
  StreamMessage parsed;
  uint32_t tag;
  while (!cursor.done()) {
    if (!cursor.ReadTag(&tag) || !ReadField(tag, &cursor, slices, &parsed)) return Malformed(message);
  }
  if (parsed.kind == StreamMessage::Kind::kChunk) {
    if (absl::Status status = CheckChunk(parsed.chunk); !status.ok()) return status;
  }
  return parsed;
}

}  // namespace stepback
