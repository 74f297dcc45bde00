#include "server/engine/chunk_check.h"

#include <fmt/format.h>

#include <string>

#include "server/base/crc32c.h"
#include "server/base/errors.h"
#include "server/base/status_macros.h"

namespace stepback {
namespace {

absl::Status BadChunk(const char* reason, const std::string& message) {
  return Error(absl::StatusCode::kInvalidArgument, reason, message);
}

}  // namespace

absl::Status CheckChunkPlace(uint64_t offset, uint64_t size, uint64_t received, uint64_t total_bytes) {
  if (size == 0 || size > kChunkBytesMax) {
    return BadChunk("BAD_CHUNK", fmt::format("chunk at offset {} has {} bytes, expected 1 to {}", offset,
                                             size, kChunkBytesMax));
  }
  if (offset != received || offset % kChunkAlignBytes != 0) {
    return BadChunk(
        "BAD_OFFSET",
        fmt::format("chunk at offset {}, expected {} (all but the last chunk are multiples of {} bytes)",
                    offset, received, kChunkAlignBytes));
  }
  if (size > total_bytes - received) {
    return BadChunk("TOO_MANY_BYTES",
                    fmt::format("chunk of {} bytes at offset {} exceeds the {} bytes announced", size, offset,
                                total_bytes));
  }
  return absl::OkStatus();
}

absl::Status CheckChunkCrc(uint64_t offset, uint32_t announced, uint32_t computed) {
  if (announced == computed) return absl::OkStatus();
  return BadChunk("BAD_CRC", fmt::format("chunk at offset {} has CRC32C {:#010x}, its header says {:#010x}",
                                         offset, computed, announced));
}

absl::Status CheckChunk(uint64_t offset, uint32_t crc32c, const Payload& data, uint64_t received,
                        uint64_t total_bytes) {
  RETURN_IF_ERROR(CheckChunkPlace(offset, data.size(), received, total_bytes));
  return CheckChunkCrc(offset, crc32c, Crc32c(data.view()));
}

}  // namespace stepback
