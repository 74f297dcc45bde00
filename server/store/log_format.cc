#include "server/store/log_format.h"

#include <cstring>

#include "absl/strings/str_cat.h"
#include "server/base/crc32c.h"
#include "server/base/little_endian.h"

namespace stepback {
namespace {

constexpr size_t kFrameCrcAt = kLogFrameHeaderBytes - 4;
constexpr size_t kSegmentCrcAt = 44;

absl::Status BadFrame(absl::string_view what) { return absl::OutOfRangeError(what); }
absl::Status BadSegment(absl::string_view what) {
  return absl::DataLossError(absl::StrCat("log segment: ", what));
}

// Nobody reads the bodies of commits and marks, so they have none.
bool IsPlausible(const LogFrame& frame) {
  const auto kind = static_cast<int>(frame.kind);
  const bool bodiless = frame.kind == LogFrameKind::kCommit || frame.kind == LogFrameKind::kMark;
  return kind >= 1 && kind <= static_cast<int>(LogFrameKind::kMark) &&
         frame.body_bytes <= (bodiless ? 0 : kLogBodyBytesMax) && frame.client_bytes <= frame.body_bytes &&
         frame.chunks <= kLogChunksMax && frame.synced <= frame.position;
}

}  // namespace

// The first byte is, and each equals the next: as fast as memory.
bool AllZero(std::span<const std::byte> bytes) {
  return bytes.empty() ||
         (bytes[0] == std::byte{0} && std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0);
}

void EncodeLogFrame(uint32_t salt, LogFrame* frame, std::byte* to) {
  StoreLittle32(frame->body_bytes, to);
  to[4] = static_cast<std::byte>(frame->kind);
  to[5] = static_cast<std::byte>(frame->type);
  to[6] = static_cast<std::byte>(frame->client_bytes);
  to[7] = static_cast<std::byte>(frame->client_bytes >> 8);
  StoreLittle64(frame->term, to + 8);
  StoreLittle64(frame->counter, to + 16);
  StoreLittle64(frame->epoch, to + 24);
  StoreLittle64(frame->sequence, to + 32);
  StoreLittle64(frame->position, to + 40);
  StoreLittle64(frame->synced, to + 48);
  StoreLittle32(frame->chunks, to + 56);
  StoreLittle32(frame->body_crc, to + 60);
  StoreLittle32(frame->previous, to + 64);
  frame->chain = ExtendCrc32c(salt, to, kFrameCrcAt);
  StoreLittle32(frame->chain, to + kFrameCrcAt);
}

absl::StatusOr<LogFrame> DecodeLogFrame(uint32_t salt, uint64_t position, std::span<const std::byte> bytes) {
  if (bytes.size() < kLogFrameHeaderBytes) return BadFrame("its header is cut off");
  const std::byte* const from = bytes.data();
  LogFrame frame{.body_bytes = LoadLittle32(from),
                 .kind = static_cast<LogFrameKind>(from[4]),
                 .type = static_cast<uint8_t>(from[5]),
                 .client_bytes = static_cast<uint16_t>(static_cast<uint16_t>(from[6]) |
                                                       static_cast<uint16_t>(from[7]) << 8),
                 .term = LoadLittle64(from + 8),
                 .counter = LoadLittle64(from + 16),
                 .epoch = LoadLittle64(from + 24),
                 .sequence = LoadLittle64(from + 32),
                 .position = LoadLittle64(from + 40),
                 .synced = LoadLittle64(from + 48),
                 .chunks = LoadLittle32(from + 56),
                 .body_crc = LoadLittle32(from + 60),
                 .previous = LoadLittle32(from + 64),
                 .chain = LoadLittle32(from + kFrameCrcAt)};
  // The cheap comparison first: a search through damage calls this at every eighth byte.
  if (frame.position != position) return BadFrame("another position");
  if (frame.chain != ExtendCrc32c(salt, from, kFrameCrcAt)) return BadFrame("header checksum differs");
  if (!IsPlausible(frame)) return BadFrame("impossible header");
  return frame;
}

void EncodeLogSegment(const LogSegmentHeader& header, std::byte* to) {
  std::memset(to, 0, kLogSegmentHeaderBytes);
  std::memcpy(to, kLogMagic, sizeof kLogMagic);
  StoreLittle32(kLogFormatVersion, to + 8);
  StoreLittle32(header.salt, to + 12);
  StoreLittle64(header.number, to + 16);
  StoreLittle64(header.base, to + 24);
  StoreLittle32(header.previous, to + 32);
  StoreLittle32(header.model_crc, to + 36);
  StoreLittle32(Crc32c(to, kSegmentCrcAt), to + kSegmentCrcAt);
}

absl::StatusOr<LogSegmentHeader> DecodeLogSegment(std::span<const std::byte> bytes) {
  if (bytes.size() < kLogSegmentHeaderBytes) return BadSegment("its header is cut off");
  const std::byte* const from = bytes.data();
  if (std::memcmp(from, kLogMagic, sizeof kLogMagic) != 0) return BadSegment("wrong magic number");
  if (LoadLittle32(from + kSegmentCrcAt) != Crc32c(from, kSegmentCrcAt))
    return BadSegment("header checksum differs");
  // The header is intact, so a version above ours is a fact and not damage.
  const uint32_t version = LoadLittle32(from + 8);
  if (version > kLogFormatVersion) {
    return absl::FailedPreconditionError(absl::StrCat("log segment: format version ", version,
                                                      ", this program reads up to ", kLogFormatVersion,
                                                      "; use a newer one"));
  }
  if (version == 0 || LoadLittle32(from + 40) != 0 ||
      !AllZero(bytes.subspan(kSegmentCrcAt + 4, kLogSegmentHeaderBytes - kSegmentCrcAt - 4))) {
    return BadSegment("unknown header");
  }
  if (LoadLittle64(from + 24) > kLogPositionMax) return BadSegment("it begins where no log reaches");
  return LogSegmentHeader{.salt = LoadLittle32(from + 12),
                          .number = LoadLittle64(from + 16),
                          .base = LoadLittle64(from + 24),
                          .previous = LoadLittle32(from + 32),
                          .model_crc = LoadLittle32(from + 36)};
}

}  // namespace stepback
