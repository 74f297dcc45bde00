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
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "server/engine/engine.h"
#include "server/engine/live_version.h"
#include "server/engine/model_image.h"
#include "server/engine/model_log.h"
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
    // Models with a log: what the snapshots that there are need of it, and which ones it needs (ModelLog).
    std::map<uint64_t, uint64_t> needed = {}, restored = {};
  };
  // What a snapshot shows.
  struct Moment {
    std::shared_ptr<const ModelVersion> version;
    std::shared_ptr<const OpenPlace> open;  // models with a log
  };
  struct Hooks {
    std::function<std::shared_ptr<LiveVersion>()> newest;
    // Models with a log, in place of `newest`: answered once, from any thread.
    std::function<void(Done<Moment>)> moment;
    std::function<void(uint64_t position)> release;           // the log before it is not needed any more
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

  // Whether this version with these settings is on disk; and, of a model with a log, less than
  // kLogPerSnapshot of calls behind it.
  bool IsSaved(const ModelVersion& version) const;
  // What recovery read, or creation wrote, is on disk.
  void SetSaved(const SnapshotInfo& info, uint64_t settings_version, uint64_t log_position = 0);
  // Where the log of the model stands.
  void SetLogEnd(uint64_t position) { log_end_ = position; }
  // A snapshot that a call in the log restores stays as long as a replay may need it: from Keep on, until the
  // log is released beyond the call's position, or there is no such call (nullopt).
  void Keep(uint64_t generation);
  void KeptFor(uint64_t generation, std::optional<uint64_t> position);
  int64_t last_wall_nanos() const;

 private:
  struct Saved {
    SnapshotInfo info;
    uint64_t settings_version = 0;
    uint64_t log_position = 0;
  };
  template <typename T>
  void Run(Done<T> done, std::function<absl::StatusOr<T>()> work);
  absl::Status CheckOpen() const;

  void SaveLabelled(const std::string& label, Done<SnapshotInfo> done);
  void SaveWaiting();
  // On the I/O strand, and `done` there.
  void TakeMoment(Done<Moment> done);
  absl::StatusOr<SnapshotInfo> SaveNow(const std::string& label, const absl::StatusOr<Moment>& moment);
  absl::StatusOr<SnapshotInfo> Write(const Moment& moment, const std::string& label);
  void PruneIfDue();
  std::set<uint64_t> KeptForLog() const;
  absl::Status ReleaseLog();
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
  bool prune_due_ = false;             // on the strand
  std::atomic<bool> ended_flag_{false};
  std::atomic<uint64_t> log_end_{0};
  std::map<uint64_t, uint64_t> needed_;  // on the strand: position by generation

  mutable Mutex mu_;
  absl::Status ended_ GUARDED_BY(mu_);
  std::vector<Done<SnapshotInfo>> waiting_ GUARDED_BY(mu_);  // for the next snapshot without a label
  std::optional<Saved> saved_ GUARDED_BY(mu_);               // the newest
  std::multiset<uint64_t> keeping_ GUARDED_BY(mu_);          // generations whose call has no position yet
  std::map<uint64_t, uint64_t> kept_ GUARDED_BY(mu_);        // generation by position of the call
};

}  // namespace stepback
