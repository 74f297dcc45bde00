#include "server/store/safetensors_reader.h"

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/base/little_endian.h"
#include "server/base/status_macros.h"
#include "server/store/safetensors_json.h"

namespace stepback {
namespace {

constexpr size_t kFilePieceBytes = 1 << 20;

// Moves up to `wanted` bytes from the front of `piece` to the end of `to`.
void Take(std::span<const std::byte>* piece, uint64_t wanted, std::string* to) {
  const size_t count = std::min<uint64_t>(wanted, piece->size());
  to->append(reinterpret_cast<const char*>(piece->data()), count);
  *piece = piece->subspan(count);
}

}  // namespace

absl::Status SafetensorsReader::Feed(std::span<const std::byte> piece) {
  if (status_.ok()) status_ = Consume(piece);
  return status_;
}

absl::Status SafetensorsReader::Finish() {
  RETURN_IF_ERROR(status_);
  if (!header_.has_value()) {
    const uint64_t expected = kSafetensorsLengthBytes + header_bytes_;
    status_ = InvalidSafetensors(absl::StrCat("ends inside the header, after ", start_.size(), " bytes",
                                   header_bytes_ > 0 ? absl::StrCat(" of ", expected) : ""));
  } else if (position_ != header_->data_bytes) {
    status_ =
        InvalidSafetensors(absl::StrCat("ends after ", position_, " bytes of data, expected ", header_->data_bytes));
  }
  return status_;
}

absl::Status SafetensorsReader::Consume(std::span<const std::byte> piece) {
  while (!piece.empty()) {
    if (start_.size() < kSafetensorsLengthBytes && !header_.has_value()) {
      RETURN_IF_ERROR(TakeLength(&piece));
    } else if (!header_.has_value()) {
      RETURN_IF_ERROR(TakeHeader(&piece));
    } else {
      RETURN_IF_ERROR(TakeData(&piece));
    }
  }
  return absl::OkStatus();
}

absl::Status SafetensorsReader::TakeLength(std::span<const std::byte>* piece) {
  Take(piece, kSafetensorsLengthBytes - start_.size(), &start_);
  if (start_.size() < kSafetensorsLengthBytes) return absl::OkStatus();
  header_bytes_ = LoadLittle64(start_.data());
  if (header_bytes_ == 0 || header_bytes_ > limits_.header_bytes_max) {
    return InvalidSafetensors(
        absl::StrCat("header of ", header_bytes_, " bytes, expected 2..", limits_.header_bytes_max));
  }
  return absl::OkStatus();
}

absl::Status SafetensorsReader::TakeHeader(std::span<const std::byte>* piece) {
  Take(piece, kSafetensorsLengthBytes + header_bytes_ - start_.size(), &start_);
  if (start_.size() < kSafetensorsLengthBytes + header_bytes_) return absl::OkStatus();
  ASSIGN_OR_RETURN(SafetensorsHeader header,
                   DecodeSafetensorsHeader(std::string_view(start_).substr(kSafetensorsLengthBytes)));
  if (header.data_bytes > limits_.data_bytes_max) {
    return InvalidSafetensors(absl::StrCat(header.data_bytes, " bytes of data, at most ", limits_.data_bytes_max));
  }
  std::string().swap(start_);
  header_ = std::move(header);
  return sink_->OnHeader(*header_);
}

absl::Status SafetensorsReader::TakeData(std::span<const std::byte>* piece) {
  while (tensor_ < header_->tensors.size() && header_->tensors[tensor_].end == position_) ++tensor_;
  if (tensor_ == header_->tensors.size()) {
    return InvalidSafetensors(absl::StrCat("goes on after its ", header_->data_bytes, " bytes of data"));
  }
  const SafetensorsTensor& tensor = header_->tensors[tensor_];
  const size_t count = std::min<uint64_t>(piece->size(), tensor.end - position_);
  RETURN_IF_ERROR(sink_->OnData(tensor, position_ - tensor.begin, piece->first(count)));
  position_ += count;
  *piece = piece->subspan(count);
  return absl::OkStatus();
}

absl::Status ReadSafetensorsFile(FileSystem* fs, const std::string& path, SafetensorsReader::Sink* sink,
                                 const SafetensorsReader::Limits& limits) {
  ASSIGN_OR_RETURN(auto file, fs->OpenForRead(path, ReadMode::kBuffered));
  ASSIGN_OR_RETURN(const uint64_t bytes, file->Size());
  SafetensorsReader reader(sink, limits);
  std::vector<std::byte> piece(std::min<uint64_t>(bytes, kFilePieceBytes));
  for (uint64_t at = 0; at < bytes; at += piece.size()) {
    piece.resize(std::min<uint64_t>(piece.size(), bytes - at));
    RETURN_IF_ERROR(file->ReadAt(at, piece));
    RETURN_IF_ERROR(reader.Feed(piece));
  }
  return reader.Finish();
}

}  // namespace stepback
