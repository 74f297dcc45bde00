#include "server/store/snapshot_reader.h"

#include <memory>
#include <span>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/base/errors.h"
#include "server/base/status_macros.h"
#include "server/store/data_reader.h"
#include "server/store/snapshot_format.h"
#include "server/store/store_paths.h"

namespace stepback {
namespace {

// A file that a manifest promises and that is not there is damage, not absence.
absl::Status AsDamage(const absl::Status& status) {
  return absl::IsNotFound(status) ? absl::DataLossError(status.message()) : status;
}

absl::StatusOr<std::unique_ptr<ReadableFile>> OpenPromised(FileSystem* fs, const std::string& path) {
  absl::StatusOr<std::unique_ptr<ReadableFile>> file = fs->OpenForRead(path, ReadMode::kBuffered);
  if (!file.ok()) return AsDamage(file.status());
  return file;
}

absl::StatusOr<std::string> ReadWhole(ReadableFile* file, const std::string& path) {
  ASSIGN_OR_RETURN(const uint64_t bytes, file->Size());
  if (bytes > kManifestBytesMax) {
    return absl::DataLossError(
        absl::StrCat("'", path, "' has ", bytes, " bytes, at most ", kManifestBytesMax));
  }
  std::string contents(bytes, '\0');
  RETURN_IF_ERROR(file->ReadAt(0, std::as_writable_bytes(std::span(contents))));
  return contents;
}

absl::StatusOr<std::vector<std::byte*>> Allocate(const SnapshotMeta& meta, const ArrayAllocator& allocate) {
  std::vector<std::byte*> buffers;
  for (const ArrayInfo& array : meta.arrays) {
    buffers.push_back(array.bytes == 0 ? nullptr : allocate(meta, array));
    if (array.bytes > 0 && buffers.back() == nullptr) {
      return Error(absl::StatusCode::kResourceExhausted, "NO_MEMORY",
                   absl::StrCat("no memory for array '", array.name, "' of ", array.bytes, " bytes"));
    }
  }
  return buffers;
}

}  // namespace

SnapshotReader::SnapshotReader(FileSystem* fs, std::string model_directory, std::string model_name)
    : fs_(fs), model_directory_(std::move(model_directory)), model_name_(std::move(model_name)) {}

absl::StatusOr<Manifest> SnapshotReader::ReadManifest(uint64_t generation) {
  const std::string path = JoinPath(model_directory_, ManifestName(generation));
  ASSIGN_OR_RETURN(auto file, OpenPromised(fs_, path));
  ASSIGN_OR_RETURN(const std::string contents, ReadWhole(file.get(), path));
  ASSIGN_OR_RETURN(Manifest manifest, DecodeManifest(contents));
  if (manifest.meta.generation != generation) {
    return absl::DataLossError(absl::StrCat("'", path, "' describes generation ", manifest.meta.generation));
  }
  if (manifest.meta.model_name != model_name_) {
    return absl::FailedPreconditionError(absl::StrCat("'", path, "' belongs to model '",
                                                      manifest.meta.model_name,
                                                      "', this directory is of model '", model_name_, "'"));
  }
  return manifest;
}

absl::Status SnapshotReader::ReadArrays(const Manifest& manifest, const ArrayAllocator& allocate) {
  const std::string directory = JoinPath(model_directory_, SnapshotName(manifest.meta.generation));
  RETURN_IF_ERROR(CheckSizes(directory, manifest));
  ASSIGN_OR_RETURN(std::vector<std::byte*> arrays, Allocate(manifest.meta, allocate));
  return AsDamage(DataReader(fs_, directory, manifest, std::move(arrays)).Read());
}

absl::Status SnapshotReader::Verify(const Manifest& manifest) {
  const std::string directory = JoinPath(model_directory_, SnapshotName(manifest.meta.generation));
  RETURN_IF_ERROR(CheckSizes(directory, manifest));
  const std::vector<std::byte*> nowhere(manifest.meta.arrays.size(), nullptr);
  return AsDamage(DataReader(fs_, directory, manifest, nowhere).Read());
}

absl::Status SnapshotReader::CheckSizes(const std::string& directory, const Manifest& manifest) {
  for (size_t i = 0; i < manifest.files.size(); ++i) {
    const std::string path = JoinPath(directory, BlockFileName(i));
    ASSIGN_OR_RETURN(const auto file, OpenPromised(fs_, path));
    ASSIGN_OR_RETURN(const uint64_t bytes, file->Size());
    if (bytes != manifest.files[i].bytes) {
      return absl::DataLossError(
          absl::StrCat("'", path, "' has ", bytes, " bytes, expected ", manifest.files[i].bytes));
    }
  }
  return absl::OkStatus();
}

}  // namespace stepback
