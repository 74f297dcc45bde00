// The rules of a chunk, whatever stream it belongs to. Pure.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "server/base/payload.h"

namespace stepback {

inline constexpr uint64_t kChunkBytesMax = 4 << 20;
inline constexpr uint64_t kChunkAlignBytes = 8;  // of the offsets

// Size, place and end of a chunk of a stream of `total_bytes` of which `received` are there. INVALID_ARGUMENT
// (BAD_CHUNK, BAD_OFFSET, TOO_MANY_BYTES).
absl::Status CheckChunkPlace(uint64_t offset, uint64_t size, uint64_t received, uint64_t total_bytes);
// INVALID_ARGUMENT(BAD_CRC) unless the header's checksum is the data's.
absl::Status CheckChunkCrc(uint64_t offset, uint32_t announced, uint32_t computed);
// Both, reading `data` once.
absl::Status CheckChunk(uint64_t offset, uint32_t crc32c, const Payload& data, uint64_t received,
                        uint64_t total_bytes);

}  // namespace stepback
