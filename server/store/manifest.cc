#include "server/store/manifest.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/base/crc32c.h"
#include "server/base/little_endian.h"
#include "server/base/status_macros.h"
#include "server/store/snapshot_format.h"
#include "stepback/v1/durable.pb.h"

namespace stepback {
namespace {

absl::Status Damaged(absl::string_view what) { return absl::DataLossError(absl::StrCat("manifest: ", what)); }

v1::SnapshotManifest ToProto(const Manifest& manifest) {
  v1::SnapshotManifest proto;
  proto.set_generation(manifest.meta.generation);
  proto.set_term(manifest.meta.term);
  proto.set_counter(manifest.meta.counter);
  proto.set_label(manifest.meta.label);
  proto.set_wall_nanos(manifest.meta.wall_nanos);
  proto.set_model_name(manifest.meta.model_name);
  proto.set_state(manifest.meta.state);
  for (const ArrayInfo& array : manifest.meta.arrays) {
    v1::StoredArray* const stored = proto.add_arrays();
    stored->set_name(array.name);
    stored->set_bytes(array.bytes);
  }
  for (const DataFileInfo& file : manifest.files) {
    v1::DataFile* const stored = proto.add_files();
    stored->set_bytes(file.bytes);
    stored->mutable_block_crc32c()->Assign(file.block_crc32c.begin(), file.block_crc32c.end());
    stored->set_hash128(file.hash128);
  }
  return proto;
}

Manifest FromProto(v1::SnapshotManifest proto) {
  Manifest manifest;
  manifest.meta.generation = proto.generation();
  manifest.meta.term = proto.term();
  manifest.meta.counter = proto.counter();
  manifest.meta.label = std::move(*proto.mutable_label());
  manifest.meta.wall_nanos = proto.wall_nanos();
  manifest.meta.model_name = std::move(*proto.mutable_model_name());
  manifest.meta.state = std::move(*proto.mutable_state());
  for (v1::StoredArray& array : *proto.mutable_arrays()) {
    manifest.meta.arrays.push_back({std::move(*array.mutable_name()), array.bytes()});
  }
  for (v1::DataFile& file : *proto.mutable_files()) {
    manifest.files.push_back({file.bytes(),
                              {file.block_crc32c().begin(), file.block_crc32c().end()},
                              std::move(*file.mutable_hash128())});
  }
  return manifest;
}

absl::Status CheckArrays(const std::vector<ArrayInfo>& arrays) {
  if (arrays.size() > kArraysMax) {
    return absl::InvalidArgumentError(absl::StrCat(arrays.size(), " arrays, at most ", kArraysMax));
  }
  std::set<std::string> names;
  uint64_t stream_bytes = 0;
  for (const ArrayInfo& array : arrays) {
    if (array.name.empty() || array.name.size() > 255) {
      return absl::InvalidArgumentError(
          absl::StrCat("array name of ", array.name.size(), " bytes, expected 1..255"));
    }
    if (!names.insert(array.name).second) {
      return absl::InvalidArgumentError(absl::StrCat("array '", array.name, "' appears twice"));
    }
    if (array.bytes > kStreamBytesMax || stream_bytes + array.bytes > kStreamBytesMax) {
      return absl::InvalidArgumentError(absl::StrCat("array '", array.name, "': ", array.bytes,
                                                     " bytes, a snapshot has at most ", kStreamBytesMax));
    }
    stream_bytes += PaddedBytes(array.bytes);
  }
  return absl::OkStatus();
}

// File i, of a stream of `stream_bytes`.
absl::Status CheckFile(const DataFileInfo& file, uint64_t index, uint64_t stream_bytes) {
  const uint64_t bytes = std::min(kFileBytes, stream_bytes - index * kFileBytes);
  if (file.bytes != bytes) {
    return Damaged(absl::StrCat("data file ", index, " has ", file.bytes, " bytes, its arrays need ", bytes));
  }
  const uint64_t blocks = (bytes + kBlockBytes - 1) / kBlockBytes;
  if (file.block_crc32c.size() != blocks) {
    return Damaged(absl::StrCat("data file ", index, " has ", file.block_crc32c.size(),
                                " checksums, expected ", blocks));
  }
  if (file.hash128.size() != 16) {
    return Damaged(
        absl::StrCat("data file ", index, " has a hash of ", file.hash128.size(), " bytes, expected 16"));
  }
  return absl::OkStatus();
}

absl::Status CheckDecoded(const Manifest& manifest) {
  if (absl::Status status = CheckMeta(manifest.meta); !status.ok()) return Damaged(status.message());
  const uint64_t stream_bytes = StreamBytes(manifest.meta.arrays);
  const uint64_t files = (stream_bytes + kFileBytes - 1) / kFileBytes;
  if (manifest.files.size() != files) {
    return Damaged(absl::StrCat(manifest.files.size(), " data files, its arrays need ", files));
  }
  for (uint64_t i = 0; i < files; ++i) RETURN_IF_ERROR(CheckFile(manifest.files[i], i, stream_bytes));
  return absl::OkStatus();
}

// Checks the frame and returns the body.
absl::StatusOr<std::string_view> Unframe(std::string_view file) {
  if (file.size() < kManifestHeaderBytes) {
    return Damaged(absl::StrCat(file.size(), " bytes, a header has ", kManifestHeaderBytes));
  }
  if (std::memcmp(file.data(), kManifestMagic, sizeof kManifestMagic) != 0)
    return Damaged("wrong magic number");
  if (LoadLittle32(file.data() + 24) != Crc32c(file.data(), 24)) return Damaged("header checksum differs");
  // The header is intact, so a version above ours is a fact and not damage.
  const uint32_t version = LoadLittle32(file.data() + 8);
  if (version > kFormatVersion) {
    return absl::FailedPreconditionError(absl::StrCat("manifest: format version ", version,
                                                      ", this program reads up to ", kFormatVersion,
                                                      "; use a newer one"));
  }
  if (version == 0 || LoadLittle32(file.data() + 12) != 0) return Damaged("unknown header");
  const uint64_t body_bytes = LoadLittle64(file.data() + 16);
  const std::string_view body = file.substr(kManifestHeaderBytes);
  if (body_bytes != body.size())
    return Damaged(absl::StrCat("body of ", body.size(), " bytes, header says ", body_bytes));
  if (LoadLittle32(file.data() + 28) != Crc32c(body.data(), body.size()))
    return Damaged("body checksum differs");
  return body;
}

}  // namespace

absl::Status CheckMeta(const SnapshotMeta& meta) {
  if (meta.state.size() > kStateBytesMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("state of ", meta.state.size(), " bytes, at most ", kStateBytesMax));
  }
  if (meta.label.size() > kLabelBytesMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("label of ", meta.label.size(), " bytes, at most ", kLabelBytesMax));
  }
  return CheckArrays(meta.arrays);
}

uint64_t StreamBytes(const std::vector<ArrayInfo>& arrays) {
  uint64_t bytes = 0;
  for (const ArrayInfo& array : arrays) bytes += PaddedBytes(array.bytes);
  return bytes;
}

std::string EncodeManifest(const Manifest& manifest) {
  std::string file(kManifestHeaderBytes, '\0');
  ToProto(manifest).AppendToString(&file);
  const size_t body_bytes = file.size() - kManifestHeaderBytes;
  std::memcpy(file.data(), kManifestMagic, sizeof kManifestMagic);
  StoreLittle32(kFormatVersion, file.data() + 8);
  StoreLittle64(body_bytes, file.data() + 16);
  StoreLittle32(Crc32c(file.data(), 24), file.data() + 24);
  StoreLittle32(Crc32c(file.data() + kManifestHeaderBytes, body_bytes), file.data() + 28);
  return file;
}

absl::StatusOr<Manifest> DecodeManifest(std::string_view file) {
  ASSIGN_OR_RETURN(const std::string_view body, Unframe(file));
  v1::SnapshotManifest proto;
  if (body.size() > kManifestBytesMax || !proto.ParseFromArray(body.data(), static_cast<int>(body.size()))) {
    return Damaged("body is not a SnapshotManifest");
  }
  Manifest manifest = FromProto(std::move(proto));
  RETURN_IF_ERROR(CheckDecoded(manifest));
  return manifest;
}

}  // namespace stepback
