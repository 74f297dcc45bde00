// Writes one generation. The order of the steps is the promise: data files, their names, the manifest aside,
// its rename, its name; each made durable before the next begins. Until the last step the generation before
// is what a restart finds.
//
// Threads: one. Use once:
//   SnapshotWriter writer(fs, model_directory, generation, options);
//   absl::StatusOr<Written> written = writer.Write(meta, arrays);
//   if (!written.ok()) { writer.outcome() says whether it may be cleaned up }
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/store/file_system.h"
#include "server/store/manifest.h"
#include "server/store/snapshot.h"

namespace stepback {

class SnapshotWriter {
 public:
  enum class Outcome {
    kNothing,    // no manifest: what lies there is garbage
    kUncertain,  // a sync or the rename failed: what is on disk is not known, nothing may be touched
    kCommitted,
  };

  SnapshotWriter(FileSystem* fs, std::string model_directory, uint64_t generation,
                 const WriteOptions& options);

  // `meta` has been checked (CheckMeta) and carries generation, model name and arrays.
  absl::StatusOr<Written> Write(const SnapshotMeta& meta, std::span<const ArrayView> arrays);
  Outcome outcome() const { return outcome_; }
  // Removes what a failed Write left, as far as possible. Outcome kNothing only.
  void RemoveLeftovers();

 private:
  absl::Status CheckSpace(uint64_t bytes);
  absl::Status WriteData(std::span<const ArrayView> arrays, Manifest* manifest);
  absl::Status Commit(const Manifest& manifest);
  absl::Status WriteManifest(const std::string& path, const std::string& bytes);
  absl::Status Certain(absl::Status status);

  FileSystem* const fs_;
  const std::string model_directory_;
  const std::string snapshot_directory_;
  const uint64_t generation_;
  const WriteOptions& options_;
  Outcome outcome_ = Outcome::kNothing;
  bool direct_io_ = true;
};

}  // namespace stepback
