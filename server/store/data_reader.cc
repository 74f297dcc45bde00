#include "server/store/data_reader.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/base/crc32c.h"
#include "server/base/status_macros.h"
#include "server/store/snapshot_format.h"
#include "server/store/store_paths.h"

namespace stepback {
DataReader::DataReader(FileSystem* fs, std::string directory, const Manifest& manifest,
                       std::vector<std::byte*> arrays)
    : fs_(fs),
      directory_(std::move(directory)),
      manifest_(manifest),
      arrays_(std::move(arrays)),
      stream_bytes_(StreamBytes(manifest.meta.arrays)),
      cursor_(manifest.meta.arrays),
      side_(/*threaded=*/stream_bytes_ > kBlockBytes) {}

absl::Status DataReader::Read() {
  if (stream_bytes_ == 0) return absl::OkStatus();
  for (int i = 0; i < (stream_bytes_ > kBlockBytes ? 2 : 1); ++i) {
    ASSIGN_OR_RETURN(DirectBuffer buffer, DirectBuffer::Make(nullptr, std::min(kBlockBytes, stream_bytes_)));
    buffers_.push_back(std::move(buffer));
  }
  RETURN_IF_ERROR(side_.Start([this] { return Fetch(0); }));
  for (uint64_t start = 0; start < stream_bytes_; start += kBlockBytes) {
    RETURN_IF_ERROR(side_.Wait());
    const uint64_t next = start + kBlockBytes;
    if (next < stream_bytes_) RETURN_IF_ERROR(side_.Start([this, next] { return Fetch(next); }));
    RETURN_IF_ERROR(Consume(start, BlockAt(start)));
  }
  return absl::OkStatus();
}

// The part of a buffer that holds the block at `start` of the stream; neighbours use different buffers.
std::span<std::byte> DataReader::BlockAt(uint64_t start) const {
  return buffers_[start / kBlockBytes % 2].bytes().first(std::min(kBlockBytes, stream_bytes_ - start));
}

absl::Status DataReader::Consume(uint64_t start, std::span<const std::byte> block) {
  uint32_t crc = 0;
  for (uint64_t at = 0; at < block.size(); at += kCachedPieceBytes) {
    const auto piece = block.subspan(at, std::min<uint64_t>(kCachedPieceBytes, block.size() - at));
    crc = ExtendCrc32c(crc, piece.data(), piece.size());
    file_hash_.Update(piece.data(), piece.size());
    Scatter(piece);
  }
  const uint64_t index = start / kFileBytes, offset = start % kFileBytes;
  const DataFileInfo& file = manifest_.files[index];
  const std::string name = BlockFileName(index);
  if (crc != file.block_crc32c[offset / kBlockBytes]) {
    return absl::DataLossError(absl::StrCat("'", JoinPath(directory_, name),
                                            "': checksum of the block at byte ", offset, " differs"));
  }
  if (offset + block.size() < file.bytes) return absl::OkStatus();
  const bool same = file_hash_.Value() == file.hash128;
  file_hash_.Reset();
  return same ? absl::OkStatus()
              : absl::DataLossError(
                    absl::StrCat("'", JoinPath(directory_, name), "': hash of the file differs"));
}

void DataReader::Scatter(std::span<const std::byte> piece) {
  while (!piece.empty()) {
    const StreamSegment segment = cursor_.Next(piece.size());
    if (segment.array.has_value() && arrays_[*segment.array] != nullptr) {
      std::memcpy(arrays_[*segment.array] + segment.offset, piece.data(), segment.bytes);
    }
    piece = piece.subspan(segment.bytes);
  }
}

absl::Status DataReader::Fetch(uint64_t start) {
  if (start % kFileBytes == 0) {
    const std::string path = JoinPath(directory_, BlockFileName(start / kFileBytes));
    ASSIGN_OR_RETURN(file_, fs_->OpenForRead(path, ReadMode::kDirect));
  }
  return file_->ReadAt(start % kFileBytes, BlockAt(start));
}

}  // namespace stepback
