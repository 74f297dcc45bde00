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
namespace {

constexpr uint64_t kBlocksAhead = 3;  // in flight; more made no difference

}  // namespace

DataReader::DataReader(FileSystem* fs, std::string directory, const Manifest& manifest,
                       std::vector<std::byte*> arrays)
    : fs_(fs),
      directory_(std::move(directory)),
      manifest_(manifest),
      arrays_(std::move(arrays)),
      stream_bytes_(StreamBytes(manifest.meta.arrays)),
      cursor_(manifest.meta.arrays) {}

absl::Status DataReader::Read() {
  if (stream_bytes_ == 0) return absl::OkStatus();
  RETURN_IF_ERROR(MakeLanes());
  for (uint64_t lane = 0; lane < lanes_.size(); ++lane) RETURN_IF_ERROR(StartFetch(lane * kBlockBytes));
  for (uint64_t start = 0; start < stream_bytes_; start += kBlockBytes) {
    RETURN_IF_ERROR(LaneOf(start).side.Wait());
    RETURN_IF_ERROR(Consume(start, BlockAt(start)));
    RETURN_IF_ERROR(StartFetch(start + lanes_.size() * kBlockBytes));
  }
  return absl::OkStatus();
}

absl::Status DataReader::MakeLanes() {
  const uint64_t blocks = (stream_bytes_ + kBlockBytes - 1) / kBlockBytes;
  for (uint64_t lane = 0; lane < std::min(blocks, kBlocksAhead); ++lane) {
    ASSIGN_OR_RETURN(DirectBuffer buffer, DirectBuffer::Make(nullptr, std::min(kBlockBytes, stream_bytes_)));
    lanes_.push_back(std::make_unique<Lane>(std::move(buffer), /*threaded=*/blocks > 1));
  }
  return absl::OkStatus();
}

std::span<std::byte> DataReader::BlockAt(uint64_t start) {
  return LaneOf(start).buffer.bytes().first(std::min(kBlockBytes, stream_bytes_ - start));
}

absl::Status DataReader::StartFetch(uint64_t start) {
  if (start >= stream_bytes_) return absl::OkStatus();
  return LaneOf(start).side.Start([this, start] { return Fetch(start); });
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
  Lane& lane = LaneOf(start);
  const uint64_t index = start / kFileBytes, before = start - lanes_.size() * kBlockBytes;
  if (lane.file == nullptr || before / kFileBytes != index) {
    const std::string path = JoinPath(directory_, BlockFileName(index));
    ASSIGN_OR_RETURN(lane.file, fs_->OpenForRead(path, ReadMode::kDirect));
  }
  return lane.file->ReadAt(start % kFileBytes, BlockAt(start));
}

}  // namespace stepback
