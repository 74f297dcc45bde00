// The format of event files (docs/on_disk_format.md): a header, then frames one after the other. What a body
// means is the engine's. Changing a constant or a field is a new format version.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "absl/status/statusor.h"

namespace stepback {

inline constexpr uint32_t kEventFormatVersion = 1;
inline constexpr char kEventMagic[] = "SBEVENT\n";
inline constexpr size_t kEventFileHeaderBytes = 32;
inline constexpr size_t kEventFrameHeaderBytes = 24;
inline constexpr size_t kEventFrameAlign = 8;
inline constexpr uint32_t kEventBodyBytesMax = 4u << 20;

struct EventFileHeader {
  uint32_t salt = 0;       // of this file: nobody who sends what records hold knows it
  uint64_t number = 0;     // as in the file's name
  uint32_t model_crc = 0;  // CRC32C of the model's name
};

// One record: its number in the model's history (0: repeats what the file before said), and its body.
struct EventFrame {
  uint64_t number = 0;
  std::string body;
};

// Where a frame of `body_bytes` ends, from its beginning.
inline constexpr uint64_t EventFrameBytes(uint64_t body_bytes) {
  return (kEventFrameHeaderBytes + body_bytes + kEventFrameAlign - 1) / kEventFrameAlign * kEventFrameAlign;
}

void AppendEventFileHeader(const EventFileHeader& header, std::string* bytes);
// DATA_LOSS; FAILED_PRECONDITION for a newer format.
absl::StatusOr<EventFileHeader> DecodeEventFileHeader(std::span<const std::byte> bytes);

// `offset`: of the frame in its file.
void AppendEventFrame(const EventFileHeader& file, uint64_t offset, const EventFrame& frame,
                      std::string* bytes);
// How long the frame says that its body is; nullopt: not a frame. `bytes` has kEventFrameHeaderBytes.
std::optional<uint32_t> EventBodyBytes(std::span<const std::byte> bytes);
// The frame whose bytes (EventFrameBytes) these are; nullopt: it does not verify.
std::optional<EventFrame> DecodeEventFrame(const EventFileHeader& file, uint64_t offset,
                                           std::span<const std::byte> bytes);

}  // namespace stepback
