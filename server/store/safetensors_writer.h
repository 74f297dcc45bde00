// Writes a safetensors file piece by piece to any output, and refuses to finish one that is not whole.
// Threads: one.
//
//   SafetensorsWriter writer(header, [&](std::span<const std::byte> bytes) { return file->Append(bytes); });
//   for (const SafetensorsTensor& tensor : writer.header().tensors)
//   RETURN_IF_ERROR(writer.Write(BytesOf(tensor.name))); RETURN_IF_ERROR(writer.Finish());
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <utility>

#include "absl/status/status.h"
#include "server/store/safetensors_header.h"

namespace stepback {

class SafetensorsWriter {
 public:
  using Output = std::function<absl::Status(std::span<const std::byte>)>;

  // `header` comes from LayOutSafetensors.
  SafetensorsWriter(SafetensorsHeader header, Output output)
      : header_(std::move(header)), output_(std::move(output)) {}

  const SafetensorsHeader& header() const { return header_; }
  // The next bytes of the data, in the order of header().tensors. INVALID_ARGUMENT beyond the last byte.
  absl::Status Write(std::span<const std::byte> bytes);
  // FAILED_PRECONDITION when data is missing.
  absl::Status Finish();

 private:
  absl::Status WriteHeaderOnce();

  const SafetensorsHeader header_;
  const Output output_;
  bool header_written_ = false;
  uint64_t position_ = 0;
};

}  // namespace stepback
