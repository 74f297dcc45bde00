// Writes a model's published versions to disk, in the background: immutable versions are read where they lie,
// so the strand copies nothing and makes no system call for a snapshot. Owned by the model's worker.
//
// Requests without a label that wait together are one snapshot. A version that is on disk already is not
// written again. After a failure the next request tries again, except after a failed sync: then the store
// takes no more writes until a restart, and `storage_failed` is told.
//
// Threads: any may call; work and callbacks run on the model's I/O strand, one at a time.
//
//   snapshotter->Save("", [](absl::StatusOr<SnapshotInfo> saved) { ... });
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "server/engine/engine.h"
#include "server/engine/live_version.h"
#include "server/engine/model_image.h"
#include "server/engine/runtime.h"
#include "server/store/model_store.h"

namespace stepback {

class Snapshotter : public std::enable_shared_from_this<Snapshotter> {
 public:
  struct Options {
    std::string model;
    std::shared_ptr<Runtime> runtime;
    std::shared_ptr<telemetry::ModelMetrics> metrics;
    int64_t created_wall_nanos = 0;
  };
  struct Hooks {
    std::function<std::shared_ptr<LiveVersion>()> newest;
    std::function<void(const ModelVersion&)> durable;         // this version is on disk
    std::function<void(const absl::Status&)> storage_failed;  // for good
  };
  // `store` is null without a data directory: then everything but Remove is FAILED_PRECONDITION(NO_DATA_DIR).
  Snapshotter(Options options, std::unique_ptr<ModelStore> store);
  // Before the first request.
  void Start(Hooks hooks) { hooks_ = std::move(hooks); }

  bool enabled() const { return enabled_; }
  // RESOURCE_EXHAUSTED (disk full), ALREADY_EXISTS(LABEL_EXISTS), DATA_LOSS(MODEL_READ_ONLY), UNAVAILABLE.
  void Save(const std::string& label, Done<SnapshotInfo> done);
  void List(Done<std::vector<SnapshotInfo>> done);
  // By label, or by generation when it is empty. NOT_FOUND(SNAPSHOT_NOT_FOUND), DATA_LOSS.
  void Load(const std::string& label, uint64_t generation, Done<LoadedImage> done);
  // Makes a term durable that is above every other, `above` too.
  void RaiseTerm(uint64_t above, Done<uint64_t> done);
  // Deletes the model's directory; nothing else works afterwards.
  void Remove(std::function<void(absl::Status)> done);
  // A write under way ends; what is queued and comes later is answered with `why`.
  void End(const absl::Status& why);
  // Lets go of the model's directory, after what is queued.
  void Close();
  // Runs `task` between snapshots.
  bool Post(Task task) { return strand_->Post(std::move(task)); }

  // Whether this version with these settings is on disk.
  bool IsSaved(const ModelVersion& version) const;
  // What recovery read, or creation wrote, is on disk.
  void SetSaved(const SnapshotInfo& info, uint64_t settings_version);
  int64_t last_wall_nanos() const;

 private:
  struct Saved {
    SnapshotInfo info;
    uint64_t settings_version = 0;
  };
  template <typename T>
  void Run(Done<T> done, std::function<absl::StatusOr<T>()> work);
  absl::Status CheckOpen() const;

  void SaveWaiting();
  absl::StatusOr<SnapshotInfo> SaveNow(const std::string& label);
  absl::StatusOr<SnapshotInfo> Write(const ModelVersion& version, const std::string& label);
  void Report(const absl::StatusOr<SnapshotInfo>& saved, double seconds);
  void CheckWritable();
  absl::StatusOr<std::vector<SnapshotInfo>> ListNow();
  absl::StatusOr<LoadedImage> LoadNow(const std::string& label, uint64_t generation);

  const Options options_;
  const bool enabled_;
  const std::shared_ptr<Strand> strand_;
  Hooks hooks_;
  std::unique_ptr<ModelStore> store_;  // on the strand
  bool storage_failed_ = false;        // on the strand
  std::atomic<bool> ended_flag_{false};

  mutable Mutex mu_;
  absl::Status ended_ GUARDED_BY(mu_);
  std::vector<Done<SnapshotInfo>> waiting_ GUARDED_BY(mu_);  // for the next snapshot without a label
  std::optional<Saved> saved_ GUARDED_BY(mu_);               // the newest
};

}  // namespace stepback
