#include "server/store/data_file_reader.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "server/base/crc32c.h"
#include "server/base/status_macros.h"
#include "server/store/snapshot_format.h"
#include "server/store/store_paths.h"

namespace stepback {
namespace {

absl::StatusOr<DirectBuffer> MakeBuffer(uint64_t bytes) {
  return bytes == kBlockBytes ? DirectBuffer::MakeOnHugePages(bytes) : DirectBuffer::Make(nullptr, bytes);
}

}  // namespace

DataFileReader::DataFileReader(FileSystem* fs, const std::string& directory, const Manifest& manifest,
                               std::span<std::byte* const> arrays)
    : fs_(fs),
      directory_(directory),
      manifest_(manifest),
      arrays_(arrays),
      cursor_(manifest.meta.arrays),
      side_(/*threaded=*/StreamBytes(manifest.meta.arrays) > kBlockBytes) {}

absl::Status DataFileReader::Read(uint64_t index, const std::function<bool()>& given_up) {
  RETURN_IF_ERROR(Begin(index));
  const uint64_t bytes = manifest_.files[index].bytes;
  RETURN_IF_ERROR(side_.Start([this] { return Fetch(0); }));
  for (uint64_t offset = 0; offset < bytes; offset += kBlockBytes) {
    RETURN_IF_ERROR(side_.Wait());
    if (given_up()) return absl::CancelledError(absl::StrCat("'", Path(), "': given up"));
    const uint64_t next = offset + kBlockBytes;
    if (next < bytes) RETURN_IF_ERROR(side_.Start([this, next] { return Fetch(next); }));
    RETURN_IF_ERROR(Consume(offset, BlockAt(offset)));
  }
  if (hash_.Value() == manifest_.files[index].hash128) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat("'", Path(), "': hash of the file differs"));
}

absl::Status DataFileReader::Begin(uint64_t index) {
  const uint64_t stream_bytes = StreamBytes(manifest_.meta.arrays);
  while (buffers_.size() < (stream_bytes > kBlockBytes ? 2 : 1)) {
    ASSIGN_OR_RETURN(DirectBuffer buffer, MakeBuffer(std::min(kBlockBytes, stream_bytes)));
    buffers_.push_back(std::move(buffer));
  }
  index_ = index;
  cursor_.Seek(index * kFileBytes);
  hash_.Reset();
  ASSIGN_OR_RETURN(file_, fs_->OpenForRead(Path(), ReadMode::kDirect));
  return absl::OkStatus();
}

std::span<std::byte> DataFileReader::BlockAt(uint64_t offset) const {
  const uint64_t bytes = std::min(kBlockBytes, manifest_.files[index_].bytes - offset);
  return buffers_[offset / kBlockBytes % 2].bytes().first(bytes);
}

absl::Status DataFileReader::Fetch(uint64_t offset) { return file_->ReadAt(offset, BlockAt(offset)); }

absl::Status DataFileReader::Consume(uint64_t offset, std::span<const std::byte> block) {
  uint32_t crc = 0;
  for (uint64_t at = 0; at < block.size(); at += kCachedPieceBytes) {
    const auto piece = block.subspan(at, std::min<uint64_t>(kCachedPieceBytes, block.size() - at));
    crc = ExtendCrc32c(crc, piece.data(), piece.size());
    hash_.Update(piece.data(), piece.size());
    Scatter(piece);
  }
  if (crc == manifest_.files[index_].block_crc32c[offset / kBlockBytes]) return absl::OkStatus();
  return absl::DataLossError(
      absl::StrCat("'", Path(), "': checksum of the block at byte ", offset, " differs"));
}

void DataFileReader::Scatter(std::span<const std::byte> piece) {
  while (!piece.empty()) {
    const StreamSegment segment = cursor_.Next(piece.size());
    if (segment.array.has_value() && arrays_[*segment.array] != nullptr) {
      std::memcpy(arrays_[*segment.array] + segment.offset, piece.data(), segment.bytes);
    }
    piece = piece.subspan(segment.bytes);
  }
}

std::string DataFileReader::Path() const { return JoinPath(directory_, BlockFileName(index_)); }

}  // namespace stepback
