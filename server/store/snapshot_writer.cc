#include "server/store/snapshot_writer.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/base/status_macros.h"
#include "server/store/data_file_writer.h"
#include "server/store/direct_buffer.h"
#include "server/store/remove_tree.h"
#include "server/store/snapshot_format.h"
#include "server/store/store_paths.h"
#include "server/store/stream_cursor.h"

namespace stepback {
namespace {

// Copied, then checksummed while still in the second-level cache.
constexpr uint64_t kPieceBytes = 128 << 10;

// Copies arrays into blocks.
class ArraySource {
 public:
  ArraySource(const std::vector<ArrayInfo>& infos, std::span<const ArrayView> arrays)
      : cursor_(infos), arrays_(arrays) {}

  absl::Status Fill(std::span<std::byte> to) {
    while (!to.empty()) {
      const StreamSegment segment = cursor_.Next(to.size());
      RETURN_IF_ERROR(Copy(segment, to.first(segment.bytes)));
      to = to.subspan(segment.bytes);
    }
    return absl::OkStatus();
  }

 private:
  absl::Status Copy(const StreamSegment& segment, std::span<std::byte> to) {
    if (!segment.array.has_value()) {
      std::memset(to.data(), 0, to.size());
      return absl::OkStatus();
    }
    const ArrayView& array = arrays_[*segment.array];
    if (array.data == nullptr) return array.read(segment.offset, to);
    std::memcpy(to.data(), array.data + segment.offset, to.size());
    return absl::OkStatus();
  }

  StreamCursor cursor_;
  std::span<const ArrayView> arrays_;
};

absl::Status FillAndChecksum(ArraySource* source, std::span<std::byte> block, DataFileWriter* file) {
  for (std::span<std::byte> left = block; !left.empty();) {
    const std::span<std::byte> piece = left.first(std::min<uint64_t>(left.size(), kPieceBytes));
    RETURN_IF_ERROR(source->Fill(piece));
    file->Checksum(piece);
    left = left.subspan(piece.size());
  }
  return absl::OkStatus();
}

}  // namespace

SnapshotWriter::SnapshotWriter(FileSystem* fs, std::string model_directory, uint64_t generation,
                               const WriteOptions& options)
    : fs_(fs),
      model_directory_(std::move(model_directory)),
      snapshot_directory_(JoinPath(model_directory_, SnapshotName(generation))),
      generation_(generation),
      options_(options) {}

absl::StatusOr<Written> SnapshotWriter::Write(const SnapshotMeta& meta, std::span<const ArrayView> arrays) {
  Manifest manifest{.meta = meta};
  const uint64_t stream_bytes = StreamBytes(meta.arrays);
  RETURN_IF_ERROR(CheckSpace(stream_bytes + meta.state.size()));
  RETURN_IF_ERROR(fs_->CreateDirectory(snapshot_directory_));
  RETURN_IF_ERROR(WriteData(arrays, &manifest));
  RETURN_IF_ERROR(Commit(manifest));
  manifest.meta.state.clear();
  return Written{std::move(manifest.meta), stream_bytes, direct_io_ && stream_bytes > 0};
}

absl::Status SnapshotWriter::CheckSpace(uint64_t bytes) {
  ASSIGN_OR_RETURN(const uint64_t free_bytes, fs_->FreeBytes(model_directory_));
  if (bytes <= free_bytes) return absl::OkStatus();
  return absl::ResourceExhaustedError(
      absl::StrCat("snapshot needs ", bytes, " bytes, ", free_bytes, " are free"));
}

absl::Status SnapshotWriter::WriteData(std::span<const ArrayView> arrays, Manifest* manifest) {
  ASSIGN_OR_RETURN(const DirectBuffer buffer, DirectBuffer::Make(options_.allocator, kBlockBytes));
  ArraySource source(manifest->meta.arrays, arrays);
  const uint64_t stream_bytes = StreamBytes(manifest->meta.arrays);
  for (uint64_t start = 0; start < stream_bytes; start += kFileBytes) {
    const uint64_t file_bytes = std::min(kFileBytes, stream_bytes - start);
    const std::string path = JoinPath(snapshot_directory_, BlockFileName(start / kFileBytes));
    ASSIGN_OR_RETURN(DataFileWriter file, DataFileWriter::Create(fs_, path, file_bytes));
    for (uint64_t at = 0; at < file_bytes; at += kBlockBytes) {
      if (options_.cancelled && options_.cancelled()) return absl::CancelledError("snapshot was cancelled");
      const std::span<std::byte> block = buffer.bytes().first(std::min(kBlockBytes, file_bytes - at));
      RETURN_IF_ERROR(FillAndChecksum(&source, block, &file));
      RETURN_IF_ERROR(file.WriteBlock(block));
    }
    direct_io_ = direct_io_ && file.is_direct();
    bool sync_failed = false;
    absl::StatusOr<DataFileInfo> info = file.Finish(&sync_failed);
    if (sync_failed) return Certain(info.status());
    RETURN_IF_ERROR(info.status());
    manifest->files.push_back(*std::move(info));
  }
  RETURN_IF_ERROR(Certain(fs_->SyncDirectory(snapshot_directory_)));
  return Certain(fs_->SyncDirectory(model_directory_));
}

absl::Status SnapshotWriter::Commit(const Manifest& manifest) {
  const std::string path = JoinPath(model_directory_, ManifestName(generation_));
  const std::string aside = path + kTemporarySuffix;
  RETURN_IF_ERROR(WriteManifest(aside, EncodeManifest(manifest)));
  const absl::Status renamed = fs_->Rename(aside, path);
  // Out of space means that nothing happened; after any other error the new name may or may not be there.
  if (absl::IsResourceExhausted(renamed)) return renamed;
  RETURN_IF_ERROR(Certain(renamed));
  RETURN_IF_ERROR(Certain(fs_->SyncDirectory(model_directory_)));
  outcome_ = Outcome::kCommitted;
  return absl::OkStatus();
}

absl::Status SnapshotWriter::WriteManifest(const std::string& path, const std::string& bytes) {
  ASSIGN_OR_RETURN(auto file, fs_->OpenForWrite(path, WriteMode::kCreate));
  RETURN_IF_ERROR(file->Append(std::as_bytes(std::span(bytes))));
  const absl::Status synced = file->Sync();
  if (absl::IsResourceExhausted(synced)) return synced;
  RETURN_IF_ERROR(Certain(synced));
  return file->Close();
}

// A step after whose failure the disk's contents are not known.
absl::Status SnapshotWriter::Certain(absl::Status status) {
  if (!status.ok()) outcome_ = Outcome::kUncertain;
  return status;
}

void SnapshotWriter::RemoveLeftovers() {
  fs_->RemoveFile(JoinPath(model_directory_, ManifestName(generation_) + kTemporarySuffix)).IgnoreError();
  RemoveTree(fs_, snapshot_directory_).IgnoreError();
}

}  // namespace stepback
