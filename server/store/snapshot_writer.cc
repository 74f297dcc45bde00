#include "server/store/snapshot_writer.h"

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/base/failpoint.h"
#include "server/base/status_macros.h"
#include "server/store/data_writer.h"
#include "server/store/remove_tree.h"
#include "server/store/store_paths.h"

namespace stepback {

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
  FAILPOINT("snapshot.before_directory");
  RETURN_IF_ERROR(fs_->CreateDirectory(snapshot_directory_));
  FAILPOINT("snapshot.after_directory");
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
  DataWriter data(fs_, snapshot_directory_, manifest->meta.arrays, arrays, options_);
  absl::StatusOr<std::vector<DataFileInfo>> files = data.Write();
  if (data.sync_failed()) return Certain(files.status());
  RETURN_IF_ERROR(files.status());
  manifest->files = *std::move(files);
  direct_io_ = data.is_direct();
  FAILPOINT("snapshot.before_directory_sync");
  RETURN_IF_ERROR(Certain(fs_->SyncDirectory(snapshot_directory_)));
  RETURN_IF_ERROR(Certain(fs_->SyncDirectory(model_directory_)));
  FAILPOINT("snapshot.after_directory_sync");
  return absl::OkStatus();
}

absl::Status SnapshotWriter::Commit(const Manifest& manifest) {
  const std::string path = JoinPath(model_directory_, ManifestName(generation_));
  const std::string aside = path + kTemporarySuffix;
  RETURN_IF_ERROR(WriteManifest(aside, EncodeManifest(manifest)));
  FAILPOINT("manifest.before_rename");
  const absl::Status renamed = fs_->Rename(aside, path);
  // Out of space means that nothing happened; after any other error the new name may or may not be there.
  if (absl::IsResourceExhausted(renamed)) return renamed;
  RETURN_IF_ERROR(Certain(renamed));
  FAILPOINT("manifest.after_rename");
  RETURN_IF_ERROR(Certain(fs_->SyncDirectory(model_directory_)));
  FAILPOINT("manifest.after_directory_sync");
  outcome_ = Outcome::kCommitted;
  return absl::OkStatus();
}

absl::Status SnapshotWriter::WriteManifest(const std::string& path, const std::string& bytes) {
  FAILPOINT("manifest.before_write");
  ASSIGN_OR_RETURN(auto file, fs_->OpenForWrite(path, WriteMode::kCreate));
  RETURN_IF_ERROR(file->Append(std::as_bytes(std::span(bytes))));
  FAILPOINT("manifest.after_write");
  const absl::Status synced = file->Sync();
  FAILPOINT("manifest.after_sync");
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
