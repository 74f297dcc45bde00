// Reads one generation and verifies all of it. Nothing is allocated before the sizes the manifest claims have
// been compared with the files that are there.
//
// Errors: DATA_LOSS: this generation is damaged (missing, short or changed files). Others are not about this
// generation: RESOURCE_EXHAUSTED (no memory), FAILED_PRECONDITION (newer format, another model's),
// PERMISSION_DENIED, ... Threads: one; a snapshot of several files is read
// by threads that end with the call.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/store/file_system.h"
#include "server/store/manifest.h"
#include "server/store/snapshot.h"

namespace stepback {

class SnapshotReader {
 public:
  SnapshotReader(FileSystem* fs, std::string model_directory, std::string model_name);

  absl::StatusOr<Manifest> ReadManifest(uint64_t generation);
  // Fills the buffers that `allocate` gives. On error their contents are undefined.
  absl::Status ReadArrays(const Manifest& manifest, const ArrayAllocator& allocate);
  // As ReadArrays, without keeping anything: eight blocks of memory, whatever the size.
  absl::Status Verify(const Manifest& manifest);

 private:
  absl::Status CheckSizes(const std::string& directory, const Manifest& manifest);

  FileSystem* const fs_;
  const std::string model_directory_;
  const std::string model_name_;
};

}  // namespace stepback
