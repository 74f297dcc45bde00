#include "server/store/safetensors_writer.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "server/base/status_macros.h"

namespace stepback {

absl::Status SafetensorsWriter::Write(std::span<const std::byte> bytes) {
  if (bytes.size() > header_.data_bytes - position_) {
    return absl::InvalidArgumentError(absl::StrCat("safetensors: ", position_, " + ", bytes.size(),
                                                   " bytes of data, the header says ", header_.data_bytes));
  }
  RETURN_IF_ERROR(WriteHeaderOnce());
  RETURN_IF_ERROR(output_(bytes));
  position_ += bytes.size();
  return absl::OkStatus();
}

absl::Status SafetensorsWriter::Finish() {
  if (position_ != header_.data_bytes) {
    return absl::FailedPreconditionError(absl::StrCat(
        "safetensors: ", position_, " bytes of data written, the header says ", header_.data_bytes));
  }
  return WriteHeaderOnce();
}

absl::Status SafetensorsWriter::WriteHeaderOnce() {
  if (header_written_) return absl::OkStatus();
  header_written_ = true;
  const std::string start = EncodeSafetensorsHeader(header_);
  return output_(std::as_bytes(std::span(start)));
}

}  // namespace stepback
