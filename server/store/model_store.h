// The durable state of one model: snapshots by generation, and the term. Format: docs/on_disk_format.md.
//
//   <data_dir>/models/<id>/LOCK, TERM-<n>, MANIFEST-<generation>, snap-<generation>/block-<i>.bin
//
// A snapshot exists from the moment its manifest's name is durable, never in part. Nothing is overwritten in
// place. Loading verifies every byte before it returns; what does not verify is reported, and the generation
// before is taken.
//
// Threads: one at a time (the model's snapshot writer). One store per model directory and machine: the second
// Open fails with FAILED_PRECONDITION.
//
//   ASSIGN_OR_RETURN(auto store, ModelStore::Open(fs, data_dir, "lm", {.create = true}));
//   ASSIGN_OR_RETURN(SnapshotMeta meta, store->LoadLatest(allocate, &report));   // NOT_FOUND: no snapshot
//   yet RETURN_IF_ERROR(store->RaiseTerm(store->term() + 1));                         // at each recovery
//   ASSIGN_OR_RETURN(Written written, store->Write(meta, arrays, {}));
//   RETURN_IF_ERROR(store->Prune(2));
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/store/file_system.h"
#include "server/store/manifest.h"
#include "server/store/retention.h"
#include "server/store/snapshot.h"
#include "server/store/term_files.h"

namespace stepback {

class ModelStore {
 public:
  struct OpenOptions {
    bool create = false;  // make the directory when it is not there; otherwise NOT_FOUND
  };

  // Takes the lock and removes what interrupted writes and deletions left behind (see swept()).
  static absl::StatusOr<std::unique_ptr<ModelStore>> Open(FileSystem* fs, const std::string& data_dir,
                                                          const std::string& model_name, OpenOptions options);

  // Writes a new generation, one above every other; durable on return. Term, counter, label, wall time and
  // state come from `meta`; generation, model name and arrays in it are ignored. ALREADY_EXISTS: the label is
  // taken. RESOURCE_EXHAUSTED: the disk is full; nothing is left behind and a later call may succeed. After
  // any failed sync (DATA_LOSS) the store takes no more writes until it is opened again: see writable().
  absl::StatusOr<Written> Write(const SnapshotMeta& meta, std::span<const ArrayView> arrays,
                                const WriteOptions& options);

  // The newest generation that verifies; one is given up when it does not verify twice in a row. NOT_FOUND when
  // there is none at all, DATA_LOSS when none verifies. RESOURCE_EXHAUSTED (no memory) and FAILED_PRECONDITION
  // (a newer format) are not damage and do not fall back.
  absl::StatusOr<SnapshotMeta> LoadLatest(const ArrayAllocator& allocate, LoadReport* report);
  // That generation or nothing.
  absl::StatusOr<SnapshotMeta> Load(uint64_t generation, const ArrayAllocator& allocate);
  absl::StatusOr<uint64_t> FindLabel(const std::string& label);
  // The manifest alone, verified; the arrays are not read.
  absl::StatusOr<SnapshotMeta> Describe(uint64_t generation);
  // Newest first, `state` left out. Unreadable manifests are in the report.
  absl::StatusOr<std::vector<SnapshotMeta>> List(LoadReport* report);

  // Removes unlabelled generations below the newest `keep` undamaged ones (at least 2 are kept). Labelled
  // ones stay until Delete, those of `needed` as long as they are named. The last generation known to verify
  // is never removed.
  absl::Status Prune(uint32_t keep, const std::set<uint64_t>& needed = {});
  // FAILED_PRECONDITION for the last generation known to verify.
  absl::Status Delete(uint64_t generation);

  // The highest term that was ever made durable here, 0 at first. It never falls, whatever is damaged.
  uint64_t term() const { return terms_.term(); }
  // `term` > term(), durable on return. On failure the term may be raised on disk, but term() is unchanged.
  absl::Status RaiseTerm(uint64_t term);

  // Where the model's files are, its log too.
  const std::string& directory() const { return directory_; }
  // OK, or why the store takes no more writes.
  const absl::Status& writable() const { return writable_; }
  // What Open removed, for the log.
  const std::vector<std::string>& swept() const { return swept_; }

 private:
  ModelStore(FileSystem* fs, std::string directory, std::string model_name);

  absl::Status Recover();
  void Sweep(const std::string& name);
  absl::Status TermFromSnapshots();
  absl::StatusOr<std::vector<uint64_t>> Generations();
  absl::StatusOr<std::vector<StoredGeneration>> Stored();
  absl::Status CheckExists(uint64_t generation);
  absl::StatusOr<Manifest> ReadManifest(uint64_t generation);
  absl::StatusOr<SnapshotMeta> LoadWhole(uint64_t generation, const ArrayAllocator& allocate);
  absl::Status CheckWrite(const SnapshotMeta& meta);
  absl::Status RemoveGenerations(const std::vector<uint64_t>& generations);
  void MarkDamaged(uint64_t generation);
  absl::Status Fatal(const absl::Status& status);

  FileSystem* const fs_;
  const std::string directory_;
  const std::string model_name_;
  std::unique_ptr<FileLock> lock_;
  TermFiles terms_;
  std::vector<std::string> swept_;
  uint64_t next_generation_ = 1;
  std::set<uint64_t> verified_;  // written or loaded whole by this object
  std::set<uint64_t> damaged_;   // did not verify
  absl::Status writable_;
};

}  // namespace stepback
