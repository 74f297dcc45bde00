#include "server/store/snapshot_reader.h"

#include <algorithm>
#include <array>
#include <memory>
#include <optional>
#include <span>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/base/crc32c.h"
#include "server/base/hash128.h"
#include "server/base/status_macros.h"
#include "server/store/snapshot_format.h"
#include "server/store/store_paths.h"
#include "server/store/stream_cursor.h"

namespace stepback {
namespace {

// Read, then checksummed while still in the second-level cache.
constexpr uint64_t kPieceBytes = 256 << 10;

// A file that a manifest promises and that is not there is damage, not absence.
absl::Status AsDamage(const absl::Status& status) {
  return absl::IsNotFound(status) ? absl::DataLossError(status.message()) : status;
}

absl::StatusOr<std::unique_ptr<ReadableFile>> OpenPromised(FileSystem* fs, const std::string& path) {
  absl::StatusOr<std::unique_ptr<ReadableFile>> file = fs->OpenForRead(path);
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

// Moves the stream of blocks into the arrays.
class ArraySink {
 public:
  ArraySink(const std::vector<ArrayInfo>& arrays, std::vector<std::byte*> buffers)
      : cursor_(arrays), buffers_(std::move(buffers)) {}

  // Where the next bytes of the stream go: at most `bytes_max`, in one piece.
  std::span<std::byte> Next(uint64_t bytes_max) {
    const StreamSegment segment = cursor_.Next(bytes_max);
    std::byte* const to =
        segment.array.has_value() ? buffers_[*segment.array] + segment.offset : padding_.data();
    return {to, static_cast<size_t>(segment.bytes)};
  }

 private:
  StreamCursor cursor_;
  std::vector<std::byte*> buffers_;
  std::array<std::byte, kArrayAlign> padding_;
};

absl::Status ReadBlock(ReadableFile* file, uint64_t start, uint64_t bytes, ArraySink* sink, Hash128* hash,
                       uint32_t* crc) {
  for (uint64_t at = start; at < start + bytes;) {
    const std::span<std::byte> piece = sink->Next(std::min(kPieceBytes, start + bytes - at));
    RETURN_IF_ERROR(file->ReadAt(at, piece));
    *crc = ExtendCrc32c(*crc, piece.data(), piece.size());
    hash->Update(piece.data(), piece.size());
    at += piece.size();
  }
  return absl::OkStatus();
}

absl::Status ReadFile(ReadableFile* file, const DataFileInfo& info, const std::string& name,
                      ArraySink* sink) {
  Hash128 hash;
  for (size_t block = 0; block < info.block_crc32c.size(); ++block) {
    const uint64_t start = block * kBlockBytes;
    uint32_t crc = 0;
    RETURN_IF_ERROR(ReadBlock(file, start, std::min(kBlockBytes, info.bytes - start), sink, &hash, &crc));
    if (crc != info.block_crc32c[block]) {
      return absl::DataLossError(absl::StrCat(name, ": checksum of the block at byte ", start, " differs"));
    }
  }
  if (hash.Value() != info.hash128)
    return absl::DataLossError(absl::StrCat(name, ": hash of the file differs"));
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::byte*>> Allocate(const SnapshotMeta& meta, const ArrayAllocator& allocate) {
  std::vector<std::byte*> buffers;
  for (const ArrayInfo& array : meta.arrays) {
    buffers.push_back(array.bytes == 0 ? nullptr : allocate(meta, array));
    if (array.bytes > 0 && buffers.back() == nullptr) {
      return absl::ResourceExhaustedError(absl::StrCat("model '", meta.model_name, "': no memory for array '",
                                                       array.name, "' of ", array.bytes, " bytes"));
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
  RETURN_IF_ERROR(CheckSizes(manifest));
  ASSIGN_OR_RETURN(std::vector<std::byte*> buffers, Allocate(manifest.meta, allocate));
  ArraySink sink(manifest.meta.arrays, std::move(buffers));
  for (size_t i = 0; i < manifest.files.size(); ++i) {
    ASSIGN_OR_RETURN(const auto file, OpenPromised(fs_, DataPath(manifest, i)));
    const std::string name = JoinPath(SnapshotName(manifest.meta.generation), BlockFileName(i));
    RETURN_IF_ERROR(ReadFile(file.get(), manifest.files[i], name, &sink));
  }
  return absl::OkStatus();
}

absl::Status SnapshotReader::CheckSizes(const Manifest& manifest) {
  for (size_t i = 0; i < manifest.files.size(); ++i) {
    ASSIGN_OR_RETURN(const auto file, OpenPromised(fs_, DataPath(manifest, i)));
    ASSIGN_OR_RETURN(const uint64_t bytes, file->Size());
    if (bytes != manifest.files[i].bytes) {
      return absl::DataLossError(absl::StrCat("'", DataPath(manifest, i), "' has ", bytes,
                                              " bytes, expected ", manifest.files[i].bytes));
    }
  }
  return absl::OkStatus();
}

std::string SnapshotReader::DataPath(const Manifest& manifest, size_t index) const {
  return JoinPath(JoinPath(model_directory_, SnapshotName(manifest.meta.generation)), BlockFileName(index));
}

}  // namespace stepback
