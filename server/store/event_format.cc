#include "server/store/event_format.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "server/base/crc32c.h"

namespace stepback {
namespace {

constexpr uint32_t kFrameMagic = 0x76654253;  // "SBev"

// Little-endian, as every machine that we build for.
template <typename T>
void PutNumber(T value, std::string* bytes) {
  bytes->append(reinterpret_cast<const char*>(&value), sizeof value);
}

template <typename T>
T NumberAt(std::span<const std::byte> bytes, size_t offset) {
  T value;
  std::memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}

// Where a frame lies is part of what is summed: bytes that were moved do not verify.
uint32_t FrameCrc(const EventFileHeader& file, uint64_t offset, const void* head, const void* body,
                  size_t body_bytes) {
  const uint64_t place[] = {file.number, offset};
  uint32_t crc = ExtendCrc32c(file.salt, place, sizeof place);
  crc = ExtendCrc32c(crc, head, 16);
  return ExtendCrc32c(crc, body, body_bytes);
}

}  // namespace

//  0 magic  8 version u32  12 salt u32  16 number u64  24 model_crc u32  28 crc u32, of the 28 bytes before
void AppendEventFileHeader(const EventFileHeader& header, std::string* bytes) {
  const size_t begin = bytes->size();
  bytes->append(kEventMagic, 8);
  PutNumber(kEventFormatVersion, bytes);
  PutNumber(header.salt, bytes);
  PutNumber(header.number, bytes);
  PutNumber(header.model_crc, bytes);
  PutNumber(Crc32c(bytes->data() + begin, bytes->size() - begin), bytes);
}

absl::StatusOr<EventFileHeader> DecodeEventFileHeader(std::span<const std::byte> bytes) {
  if (bytes.size() < kEventFileHeaderBytes || std::memcmp(bytes.data(), kEventMagic, 8) != 0 ||
      NumberAt<uint32_t>(bytes, 28) != Crc32c(bytes.data(), 28)) {
    return absl::DataLossError("the header of an event file does not verify");
  }
  if (const auto version = NumberAt<uint32_t>(bytes, 8); version != kEventFormatVersion) {
    return absl::FailedPreconditionError(
        absl::StrCat("event file of format version ", version, ", this program reads ", kEventFormatVersion));
  }
  return EventFileHeader{.salt = NumberAt<uint32_t>(bytes, 12),
                         .number = NumberAt<uint64_t>(bytes, 16),
                         .model_crc = NumberAt<uint32_t>(bytes, 24)};
}

//  0 magic u32  4 body_bytes u32  8 number u64  16 crc u32  20 zero u32  24 body, padded with zeros
void AppendEventFrame(const EventFileHeader& file, uint64_t offset, const EventFrame& frame,
                      std::string* bytes) {
  const size_t begin = bytes->size();
  PutNumber(kFrameMagic, bytes);
  PutNumber(static_cast<uint32_t>(frame.body.size()), bytes);
  PutNumber(frame.number, bytes);
  PutNumber(FrameCrc(file, offset, bytes->data() + begin, frame.body.data(), frame.body.size()), bytes);
  PutNumber(uint32_t{0}, bytes);
  bytes->append(frame.body);
  bytes->resize(begin + EventFrameBytes(frame.body.size()), '\0');
}

std::optional<uint32_t> EventBodyBytes(std::span<const std::byte> bytes) {
  const auto body_bytes = NumberAt<uint32_t>(bytes, 4);
  const bool frame = NumberAt<uint32_t>(bytes, 0) == kFrameMagic && body_bytes <= kEventBodyBytesMax &&
                     NumberAt<uint32_t>(bytes, 20) == 0;
  return frame ? std::optional(body_bytes) : std::nullopt;
}

std::optional<EventFrame> DecodeEventFrame(const EventFileHeader& file, uint64_t offset,
                                           std::span<const std::byte> bytes) {
  const std::optional<uint32_t> body_bytes = EventBodyBytes(bytes);
  if (!body_bytes.has_value() || bytes.size() != EventFrameBytes(*body_bytes)) return std::nullopt;
  const std::span<const std::byte> body = bytes.subspan(kEventFrameHeaderBytes, *body_bytes);
  const std::span<const std::byte> padding = bytes.subspan(kEventFrameHeaderBytes + *body_bytes);
  const bool zeros =
      std::all_of(padding.begin(), padding.end(), [](std::byte b) { return b == std::byte{0}; });
  if (!zeros ||
      NumberAt<uint32_t>(bytes, 16) != FrameCrc(file, offset, bytes.data(), body.data(), body.size())) {
    return std::nullopt;
  }
  return EventFrame{NumberAt<uint64_t>(bytes, 8),
                    std::string(reinterpret_cast<const char*>(body.data()), body.size())};
}

}  // namespace stepback
