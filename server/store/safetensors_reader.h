// Reads a safetensors file from a stream of pieces, cut anywhere: the header is checked whole before the
// first tensor byte is handed on, and nothing is kept but the header. Never holds more than was fed. Threads:
// one.
//
//   SafetensorsReader reader(&sink, {});
//   while (more) RETURN_IF_ERROR(reader.Feed(piece));
//   RETURN_IF_ERROR(reader.Finish());
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "absl/status/status.h"
#include "server/store/file_system.h"
#include "server/store/safetensors_header.h"

namespace stepback {

class SafetensorsReader {
 public:
  class Sink {
   public:
    virtual ~Sink() = default;
    // Once, before any data. An error ends the read: refuse here what does not fit the model.
    virtual absl::Status OnHeader(const SafetensorsHeader& header) = 0;
    // Bytes [offset, offset + bytes.size()) of one tensor, in file order; every byte once.
    virtual absl::Status OnData(const SafetensorsTensor& tensor, uint64_t offset,
                                std::span<const std::byte> bytes) = 0;
  };

  struct Limits {
    uint64_t header_bytes_max = kSafetensorsHeaderBytesMax;
    uint64_t data_bytes_max = UINT64_MAX;
  };

  // `sink` outlives the reader.
  SafetensorsReader(Sink* sink, const Limits& limits) : sink_(sink), limits_(limits) {}

  // INVALID_ARGUMENT (or the sink's error) is final: the same answer follows to every later call.
  absl::Status Feed(std::span<const std::byte> piece);
  // INVALID_ARGUMENT when the file is not whole.
  absl::Status Finish();

  const std::optional<SafetensorsHeader>& header() const { return header_; }

 private:
  absl::Status Consume(std::span<const std::byte> piece);
  absl::Status TakeLength(std::span<const std::byte>* piece);
  absl::Status TakeHeader(std::span<const std::byte>* piece);
  absl::Status TakeData(std::span<const std::byte>* piece);

  Sink* const sink_;
  const Limits limits_;
  absl::Status status_;
  std::string start_;  // length and header, until decoded
  uint64_t header_bytes_ = 0;
  std::optional<SafetensorsHeader> header_;
  size_t tensor_ = 0;      // being read
  uint64_t position_ = 0;  // in the data
};

// The same from a file. NOT_FOUND, DATA_LOSS from the file system; INVALID_ARGUMENT from the format.
absl::Status ReadSafetensorsFile(FileSystem* fs, const std::string& path, SafetensorsReader::Sink* sink,
                                 const SafetensorsReader::Limits& limits);

}  // namespace stepback
