#include "server/store/data_writer.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "server/base/crc32c.h"
#include "server/base/failpoint.h"
#include "server/base/status_macros.h"
#include "server/store/snapshot_format.h"
#include "server/store/store_paths.h"

namespace stepback {
DataWriter::DataWriter(FileSystem* fs, std::string directory, const std::vector<ArrayInfo>& infos,
                       std::span<const ArrayView> arrays, const WriteOptions& options)
    : fs_(fs),
      directory_(std::move(directory)),
      arrays_(arrays),
      options_(options),
      stream_bytes_(StreamBytes(infos)),
      cursor_(infos),
      finisher_(/*threaded=*/stream_bytes_ > kFileBytes),
      side_(/*threaded=*/stream_bytes_ > kBlockBytes) {}

absl::StatusOr<std::vector<DataFileInfo>> DataWriter::Write() {
  absl::Status status = WriteBlocks();
  status.Update(side_.Wait());  // also after an error: from here on nothing is written any more
  status.Update(finisher_.Wait());
  RETURN_IF_ERROR(status);
  return std::move(files_);
}

absl::Status DataWriter::WriteBlocks() {
  for (uint64_t start = 0; start < stream_bytes_; start += kBlockBytes) {
    if (options_.cancelled && options_.cancelled()) return absl::CancelledError("snapshot was cancelled");
    if (buffers_.size() < 2) {
      ASSIGN_OR_RETURN(DirectBuffer buffer, DirectBuffer::Make(options_.allocator, kBlockBytes));
      buffers_.push_back(std::move(buffer));
    }
    // The other buffer may be on its way to the disk; this one is not: Start waited for the block before.
    const DirectBuffer& buffer = buffers_[start / kBlockBytes % 2];
    const std::span<std::byte> block = buffer.bytes().first(std::min(kBlockBytes, stream_bytes_ - start));
    RETURN_IF_ERROR(Fill(block));
    EndBlock(start + block.size());
    RETURN_IF_ERROR(side_.Start([this, start, block] { return Put(start, block); }));
  }
  return absl::OkStatus();
}

absl::Status DataWriter::Fill(std::span<std::byte> block) {
  while (!block.empty()) {
    const std::span<std::byte> piece = block.first(std::min<uint64_t>(block.size(), kCachedPieceBytes));
    RETURN_IF_ERROR(CopyPiece(piece));
    block_crc_ = ExtendCrc32c(block_crc_, piece.data(), piece.size());
    file_hash_.Update(piece.data(), piece.size());
    block = block.subspan(piece.size());
  }
  return absl::OkStatus();
}

absl::Status DataWriter::CopyPiece(std::span<std::byte> piece) {
  while (!piece.empty()) {
    const StreamSegment segment = cursor_.Next(piece.size());
    const std::span<std::byte> to = piece.first(segment.bytes);
    if (!segment.array.has_value()) {
      std::memset(to.data(), 0, to.size());
    } else if (const ArrayView& array = arrays_[*segment.array]; array.data != nullptr) {
      std::memcpy(to.data(), array.data + segment.offset, to.size());
    } else {
      RETURN_IF_ERROR(array.read(segment.offset, to));
    }
    piece = piece.subspan(segment.bytes);
  }
  return absl::OkStatus();
}

// Notes what the manifest has to know about the block that ends at `end` of the stream, and about its file.
void DataWriter::EndBlock(uint64_t end) {
  const uint64_t file = (end - 1) / kFileBytes;
  if (files_.size() == file) files_.emplace_back();
  files_.back().bytes = end - file * kFileBytes;
  files_.back().block_crc32c.push_back(std::exchange(block_crc_, 0));
  if (end % kFileBytes != 0 && end != stream_bytes_) return;
  files_.back().hash128 = file_hash_.Value();
  file_hash_.Reset();
}

absl::Status DataWriter::Put(uint64_t start, std::span<const std::byte> block) {
  if (start % kFileBytes == 0) RETURN_IF_ERROR(OpenFile(start));
  FAILPOINT("block.before_write");
  RETURN_IF_ERROR(file_->WriteAt(start % kFileBytes, block));
  FAILPOINT("block.after_write");
  const uint64_t end = start + block.size();
  if (end % kFileBytes != 0 && end != stream_bytes_) return absl::OkStatus();
  return finisher_.Start(
      [this, file = std::shared_ptr<WritableFile>(std::move(file_))] { return FinishFile(file.get()); });
}

absl::Status DataWriter::OpenFile(uint64_t start) {
  const std::string path = JoinPath(directory_, BlockFileName(start / kFileBytes));
  ASSIGN_OR_RETURN(file_, fs_->OpenForWrite(path, WriteMode::kCreateDirect));
  return file_->Allocate(std::min(kFileBytes, stream_bytes_ - start));
}

absl::Status DataWriter::FinishFile(WritableFile* file) {
  FAILPOINT("block.before_sync");
  const absl::Status synced = file->SyncData();
  FAILPOINT("block.after_sync");
  // A full disk may show only now (delayed allocation): then the file is lost, the disk is sound.
  sync_failed_ = !synced.ok() && !absl::IsResourceExhausted(synced);
  RETURN_IF_ERROR(synced);
  direct_ = direct_ && file->is_direct();
  return file->Close();
}

}  // namespace stepback
