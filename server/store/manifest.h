// The manifest of one snapshot: encode, decode, and check that what it says can be true. Pure: no files here.
//
// Decoding trusts nothing: every size is checked against the others before anyone uses it, so that a manifest
// that decodes describes a layout that is sound (files tile the stream, arrays fit, names are unique and
// short).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/store/snapshot.h"

namespace stepback {

struct DataFileInfo {
  uint64_t bytes = 0;
  std::vector<uint32_t> block_crc32c;
  std::string hash128;
  bool operator==(const DataFileInfo&) const = default;
};

struct Manifest {
  SnapshotMeta meta;
  std::vector<DataFileInfo> files;
};

// INVALID_ARGUMENT names what is out of bounds: arrays, names, label, state.
absl::Status CheckMeta(const SnapshotMeta& meta);

// Bytes of the stream that holds `arrays` (checked by CheckMeta).
uint64_t StreamBytes(const std::vector<ArrayInfo>& arrays);

std::string EncodeManifest(const Manifest& manifest);

// DATA_LOSS: not what was written. FAILED_PRECONDITION: written by a newer version of the program.
absl::StatusOr<Manifest> DecodeManifest(std::string_view file);

}  // namespace stepback
