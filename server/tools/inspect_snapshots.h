// Snapshots as they lie on disk: what their manifests say, and whether every byte still is what they say.
// Reads only.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "server/store/file_system.h"
#include "server/store/manifest.h"
#include "server/tools/model_directories.h"

namespace stepback {

struct InspectedSnapshot {
  uint64_t generation = 0;
  absl::Status status;  // of the manifest, or of all bytes under it
  Manifest manifest;    // empty when it does not read
};

// Newest first; manifests only.
absl::StatusOr<std::vector<InspectedSnapshot>> InspectManifests(FileSystem* fs, const ModelDirectory& model);

// Newest first; every data file is read and compared with its checksums and hash, 4 MiB at a time. DATA_LOSS
// in `status`: damaged. NOT_FOUND: the model has no snapshot.
absl::StatusOr<std::vector<InspectedSnapshot>> VerifySnapshots(FileSystem* fs, const ModelDirectory& model);

}  // namespace stepback
