// The log's format on disk (docs/on_disk_format.md): segments of frames. Changing a constant or a field is a
// new format version.
//
// A *position* counts the bytes of frames over all segments of a log, fill included, segment headers not; it
// never repeats. An *entry* is what is written and read whole: a record, then (with a payload) its chunks and
// a commit.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace stepback {

inline constexpr uint32_t kLogFormatVersion = 1;
inline constexpr char kLogMagic[8] = {'S', 'B', 'W', 'A', 'L', 'O', 'G', '\n'};
inline constexpr size_t kLogSegmentHeaderBytes = 4096;  // = the alignment of direct I/O
inline constexpr size_t kLogFrameHeaderBytes = 72;
inline constexpr size_t kLogFrameAlign = 8;
inline constexpr size_t kLogSector = 512;  // what a disk writes whole or not at all
inline constexpr uint64_t kLogBodyBytesMax = 4ull << 20;
inline constexpr size_t kLogClientBytesMax = 65535;
inline constexpr uint32_t kLogChunksMax = 1u << 30;
inline constexpr uint64_t kLogPositionMax = 1ull << 62;  // no log gets there; sums of positions do not overflow

enum class LogFrameKind : uint8_t {
  kRecord = 1,  // begins an entry; whole by itself when `chunks` is 0
  kChunk,       // a piece of the payload
  kCommit,      // ends an entry with a payload: from here on it counts
  kMark,        // no entry: proves that everything before `synced` was durable
};

struct LogFrame {
  uint32_t body_bytes = 0;  // client id and data, without padding
  LogFrameKind kind = LogFrameKind::kRecord;
  uint8_t type = 0;  // the writer's own, of records
  uint16_t client_bytes = 0;
  uint64_t term = 0, counter = 0;  // version of the model
  uint64_t epoch = 0, sequence = 0;
  uint64_t position = 0;  // of this frame
  uint64_t synced = 0;    // the log was durable up to there when this was written
  uint32_t chunks = 0;    // record, commit: of the entry; chunk: its number from 0
  uint32_t body_crc = 0;
  uint32_t previous = 0;  // chain of the frame before
  uint32_t chain = 0;     // over all of the above
};

struct LogSegmentHeader {
  uint32_t salt = 0;       // of this log, the same in all its segments; clients do not know it
  uint64_t number = 0;     // as in the file's name
  uint64_t base = 0;       // position of the first frame; the segment before ends there
  uint32_t previous = 0;   // chain of the frame before
  uint32_t model_crc = 0;  // CRC32C of the model's name
};

// Where a frame of `body_bytes` ends, from its beginning.
inline constexpr uint64_t LogFrameBytes(uint64_t body_bytes) {
  return kLogFrameHeaderBytes + (body_bytes + kLogFrameAlign - 1) / kLogFrameAlign * kLogFrameAlign;
}

// A batch takes whole blocks: direct I/O writes nothing smaller, and a torn batch never hurts the one before.
inline constexpr uint64_t LogBlockBytes(uint64_t bytes) {
  return (bytes + kLogSegmentHeaderBytes - 1) / kLogSegmentHeaderBytes * kLogSegmentHeaderBytes;
}

// Fills in frame->chain. `to` has kLogFrameHeaderBytes.
void EncodeLogFrame(uint32_t salt, LogFrame* frame, std::byte* to);
// OUT_OF_RANGE: not a frame header at all, or not the one of `position`. (Not DATA_LOSS: whether that is
// damage is for the caller to find out.) Says nothing of its predecessor or body.
absl::StatusOr<LogFrame> DecodeLogFrame(uint32_t salt, uint64_t position, std::span<const std::byte> bytes);

// kLogSegmentHeaderBytes each.
void EncodeLogSegment(const LogSegmentHeader& header, std::byte* to);
// DATA_LOSS, or FAILED_PRECONDITION for a newer format.
absl::StatusOr<LogSegmentHeader> DecodeLogSegment(std::span<const std::byte> bytes);

bool AllZero(std::span<const std::byte> bytes);

}  // namespace stepback
