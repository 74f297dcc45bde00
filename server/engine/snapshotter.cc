#include "server/engine/snapshotter.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "server/base/errors.h"
#include "server/base/failpoint.h"
#include "server/base/status_macros.h"
#include "server/engine/storage_error.h"
#include "server/store/data_directory.h"
#include "server/telemetry/log.h"
#include "stepback/v1/model_image.pb.h"

namespace stepback {
namespace {

using telemetry::CheckpointFailure;
using telemetry::CheckpointOp;

constexpr size_t kWaitingMax = 4096;
constexpr uint64_t kLogPerSnapshot = 64ull << 20;  // that a recovery makes again without a newer version

absl::Status NoDataDir(const std::string& model) {
  return Error(absl::StatusCode::kFailedPrecondition, "NO_DATA_DIR",
               fmt::format("model '{}': the server has no data directory, nothing is kept on disk", model));
}

// The store's error with a reason for the caller.
absl::Status WithReason(const absl::Status& status, const char* reason) {
  return Error(status.code(), reason, std::string(status.message()));
}

absl::Status SaveError(const std::string& model, const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kAlreadyExists:
      return StorageError(model, status, "LABEL_EXISTS");
    case absl::StatusCode::kDataLoss:
      return StorageError(model, status, "MODEL_READ_ONLY");
    default:
      return StorageError(model, status, "SNAPSHOT_FAILED");
  }
}

CheckpointFailure FailureOf(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kResourceExhausted:
      return ReasonOf(status) == "NO_MEMORY" ? CheckpointFailure::kMemory : CheckpointFailure::kNoSpace;
    case absl::StatusCode::kDataLoss:
      return CheckpointFailure::kIo;
    default:
      return CheckpointFailure::kOther;
  }
}

SnapshotInfo InfoOf(const SnapshotMeta& meta) {
  SnapshotInfo info{.generation = meta.generation,
                    .label = meta.label,
                    .version = {.term = meta.term, .counter = meta.counter},
                    .wall_nanos = meta.wall_nanos,
                    .bytes = meta.DataBytes()};
  v1::ModelImage image;
  if (!image.ParseFromString(meta.state)) return info;
  info.inner_steps = image.inner_steps();
  info.outer_steps = image.outer_steps();
  info.samples = image.samples();
  return info;
}

}  // namespace

Snapshotter::Snapshotter(Options options, std::unique_ptr<ModelStore> store)
    : options_(std::move(options)),
      enabled_(store != nullptr),
      strand_(std::make_shared<Strand>(options_.runtime->io(), SIZE_MAX)),
      store_(std::move(store)),
      needed_(options_.needed),
      kept_(options_.restored) {}

template <typename T>
void Snapshotter::Run(Done<T> done, std::function<absl::StatusOr<T>()> work) {
  if (const absl::Status open = CheckOpen(); !open.ok()) return done(open);
  Task task = [self = shared_from_this(), done, work = std::move(work)] {
    if (const absl::Status open = self->CheckOpen(); !open.ok()) return done(open);
    const absl::StatusOr<T> result = work();
    done(result.ok() ? result : absl::StatusOr<T>(StorageError(self->options_.model, result.status())));
  };
  if (!strand_->Post(std::move(task))) task();
}

absl::Status Snapshotter::CheckOpen() const {
  MutexLock lock(&mu_);
  RETURN_IF_ERROR(ended_);
  return enabled_ ? absl::OkStatus() : NoDataDir(options_.model);
}

void Snapshotter::Save(const std::string& label, Done<SnapshotInfo> done) {
  if (!label.empty()) return SaveLabelled(label, std::move(done));
  absl::Status refused = CheckOpen();
  bool first = false;
  {
    MutexLock lock(&mu_);
    if (refused.ok() && waiting_.size() >= kWaitingMax) {
      refused = Error(
          absl::StatusCode::kResourceExhausted, "QUEUE_FULL",
          fmt::format("model '{}': {} calls wait for a snapshot already", options_.model, waiting_.size()));
    }
    if (refused.ok()) {
      first = waiting_.empty();
      waiting_.push_back(std::move(done));
    }
  }
  if (!refused.ok()) return done(refused);
  Task task = [self = shared_from_this()] { self->SaveWaiting(); };
  if (first && !strand_->Post(std::move(task))) task();
}

void Snapshotter::SaveLabelled(const std::string& label, Done<SnapshotInfo> done) {
  if (const absl::Status open = CheckOpen(); !open.ok()) return done(open);
  Task task = [self = shared_from_this(), label, done] {
    self->TakeMoment([self, label, done](const absl::StatusOr<Moment>& moment) {
      done(self->SaveNow(label, moment));
      self->PruneIfDue();
    });
  };
  if (!strand_->Post(std::move(task))) task();
}

void Snapshotter::TakeMoment(Done<Moment> done) {
  if (const absl::Status open = CheckOpen(); !open.ok()) return done(open);
  if (!hooks_.moment) return done(Moment{LiveVersion::Share(hooks_.newest()), nullptr});
  hooks_.moment([self = shared_from_this(), done](const absl::StatusOr<Moment>& moment) {
    Task task = [self, done, moment] {
      const absl::Status open = self->CheckOpen();
      done(open.ok() ? moment : open);
    };
    if (!self->strand_->Post(std::move(task))) task();
  });
}

// Whoever asks from here on gets the next snapshot: this one shows the version of now.
void Snapshotter::SaveWaiting() {
  std::vector<Done<SnapshotInfo>> waiting;
  {
    MutexLock lock(&mu_);
    waiting.swap(waiting_);
  }
  TakeMoment([self = shared_from_this(), waiting](const absl::StatusOr<Moment>& moment) {
    const absl::StatusOr<SnapshotInfo> saved = self->SaveNow("", moment);
    for (const Done<SnapshotInfo>& done : waiting) done(saved);
    self->PruneIfDue();
  });
}

absl::StatusOr<SnapshotInfo> Snapshotter::SaveNow(const std::string& label,
                                                  const absl::StatusOr<Moment>& moment) {
  RETURN_IF_ERROR(moment.status());
  const ModelVersion& version = *moment->version;
  if (label.empty() && IsSaved(version)) {
    MutexLock lock(&mu_);
    return saved_->info;
  }
  const TimePoint start = options_.runtime->clock()->Now();
  if (FAILPOINT("plant.durable_before_written")) hooks_.durable(version);
  FAILPOINT("snapshot.before_write");
  if (!label.empty()) FAILPOINT("label.before_write");
  const absl::StatusOr<SnapshotInfo> saved = Write(*moment, label);
  Report(saved, std::chrono::duration<double>(options_.runtime->clock()->Now() - start).count());
  if (!saved.ok()) {
    CheckWritable();
    return SaveError(options_.model, saved.status());
  }
  FAILPOINT("snapshot.after_write");
  if (!label.empty()) FAILPOINT("label.after_write");
  SetSaved(*saved, version.settings_version, moment->open == nullptr ? 0 : moment->open->place.end);
  hooks_.durable(version);
  FAILPOINT("snapshot.after_durable");
  if (moment->open != nullptr && label.empty()) needed_[saved->generation] = OldestNeeded(*moment->open);
  prune_due_ = true;
  return saved;
}

// After the answer: to delete what is not needed any more takes a third as long as to write it.
void Snapshotter::PruneIfDue() {
  if (!std::exchange(prune_due_, false)) return;
  absl::Status pruned = store_->Prune(options_.runtime->options().snapshots_kept, KeptForLog());
  if (pruned.ok() && hooks_.release) pruned = ReleaseLog();
  if (pruned.ok()) return;
  Log(LogLevel::kWarn, "snapshots_not_pruned",
      {{"model", options_.model}, {"error", std::string(pruned.message())}});
  CheckWritable();
}

std::set<uint64_t> Snapshotter::KeptForLog() const {
  MutexLock lock(&mu_);
  std::set<uint64_t> kept(keeping_.begin(), keeping_.end());
  for (const auto& [position, generation] : kept_) kept.insert(generation);
  return kept;
}

// The log is kept from where the oldest unlabelled snapshot needs it: the one before the newest, with a
// longer part of the log, gives the same state.
absl::Status Snapshotter::ReleaseLog() {
  LoadReport unreadable;
  ASSIGN_OR_RETURN(const std::vector<SnapshotMeta> metas, store_->List(&unreadable));
  std::map<uint64_t, uint64_t> needed;
  for (const SnapshotMeta& meta : metas) {
    if (const auto known = needed_.find(meta.generation); known != needed_.end()) needed.insert(*known);
  }
  needed_ = std::move(needed);
  uint64_t oldest = UINT64_MAX;
  for (const auto& [generation, position] : needed_) oldest = std::min(oldest, position);
  if (oldest == UINT64_MAX) return absl::OkStatus();
  {
    MutexLock lock(&mu_);
    kept_.erase(kept_.begin(), kept_.lower_bound(oldest));
  }
  hooks_.release(oldest);
  return absl::OkStatus();
}

absl::StatusOr<SnapshotInfo> Snapshotter::Write(const Moment& moment, const std::string& label) {
  const ModelVersion& version = *moment.version;
  SnapshotMeta meta{.term = version.version.term,
                    .counter = version.version.counter,
                    .label = label,
                    .wall_nanos = options_.runtime->clock()->WallNanos(),
                    .state = ImageRecord(version, options_.created_wall_nanos, moment.open.get())};
  const std::vector<ArrayView> arrays = ImageArrays(version, options_.runtime->backend(), moment.open.get());
  const WriteOptions write{.allocator = options_.runtime->pool(),
                           .cancelled = [this] { return ended_flag_.load(); }};
  if (meta.term > store_->term()) RETURN_IF_ERROR(store_->RaiseTerm(meta.term));
  ASSIGN_OR_RETURN(Written written, store_->Write(meta, arrays, write));
  written.meta.state = std::move(meta.state);
  SnapshotInfo info = InfoOf(written.meta);
  info.bytes = written.file_bytes;
  return info;
}

void Snapshotter::Report(const absl::StatusOr<SnapshotInfo>& saved, double seconds) {
  if (!saved.ok()) {
    options_.metrics->OnCheckpointFailure(CheckpointOp::kSave, FailureOf(saved.status()));
    Log(LogLevel::kError, "snapshot_failed",
        {{"model", options_.model}, {"error", std::string(saved.status().message())}});
    return;
  }
  options_.metrics->OnCheckpoint(CheckpointOp::kSave, seconds);
  options_.metrics->SetLastCheckpoint(static_cast<double>(saved->wall_nanos) * 1e-9, saved->bytes);
  Log(LogLevel::kInfo, "snapshot_written",
      {{"model", options_.model},
       {"version", saved->version.ToString()},
       {"generation", saved->generation},
       {"label", saved->label},
       {"bytes", saved->bytes},
       {"seconds", seconds}});
}

void Snapshotter::CheckWritable() {
  if (store_->writable().ok() || std::exchange(storage_failed_, true)) return;
  hooks_.storage_failed(store_->writable());
}

void Snapshotter::List(Done<std::vector<SnapshotInfo>> done) {
  Run<std::vector<SnapshotInfo>>(std::move(done), [this] { return ListNow(); });
}

absl::StatusOr<std::vector<SnapshotInfo>> Snapshotter::ListNow() {
  LoadReport report;
  ASSIGN_OR_RETURN(const std::vector<SnapshotMeta> metas, store_->List(&report));
  std::vector<SnapshotInfo> infos;
  for (const SnapshotMeta& meta : metas) {
    ASSIGN_OR_RETURN(const SnapshotMeta whole, store_->Describe(meta.generation));
    infos.push_back(InfoOf(whole));
  }
  return infos;
}

void Snapshotter::Load(const std::string& label, uint64_t generation, Done<LoadedImage> done) {
  Run<LoadedImage>(std::move(done), [this, label, generation] { return LoadNow(label, generation); });
}

absl::StatusOr<LoadedImage> Snapshotter::LoadNow(const std::string& label, uint64_t generation) {
  if (!label.empty()) {
    const absl::StatusOr<uint64_t> labelled = store_->FindLabel(label);
    if (absl::IsNotFound(labelled.status())) return WithReason(labelled.status(), "SNAPSHOT_NOT_FOUND");
    ASSIGN_OR_RETURN(generation, labelled);
  }
  ImageLoader loader(options_.runtime->backend(), options_.runtime->pool());
  const absl::StatusOr<SnapshotMeta> meta = store_->Load(generation, loader.allocator());
  if (absl::IsNotFound(meta.status())) return WithReason(meta.status(), "SNAPSHOT_NOT_FOUND");
  if (absl::IsDataLoss(meta.status())) {
    options_.metrics->OnCheckpointFailure(CheckpointOp::kRestore, CheckpointFailure::kCorrupt);
    return WithReason(meta.status(), "SNAPSHOT_DAMAGED");
  }
  RETURN_IF_ERROR(meta.status());
  return loader.Finish(*meta);
}

void Snapshotter::RaiseTerm(uint64_t above, Done<uint64_t> done) {
  Run<uint64_t>(std::move(done), [this, above]() -> absl::StatusOr<uint64_t> {
    const uint64_t term = std::max(above, store_->term()) + 1;
    const absl::Status raised = store_->RaiseTerm(term);
    CheckWritable();
    if (!raised.ok()) return SaveError(options_.model, raised);
    return term;
  });
}

void Snapshotter::Remove(std::function<void(absl::Status)> done) {
  if (!enabled_) return done(absl::OkStatus());
  Task task = [self = shared_from_this(), done = std::move(done)] {
    self->store_.reset();
    const Runtime& runtime = *self->options_.runtime;
    const absl::Status removed =
        RemoveModel(runtime.file_system(), runtime.options().data_dir, self->options_.model);
    done(absl::IsNotFound(removed) ? absl::OkStatus() : removed);
  };
  if (!strand_->Post(std::move(task))) task();
}

void Snapshotter::End(const absl::Status& why) {
  ended_flag_ = true;
  MutexLock lock(&mu_);
  if (ended_.ok()) ended_ = why;
}

void Snapshotter::Close() {
  Task task = [self = shared_from_this()] { self->store_.reset(); };
  if (!strand_->Post(std::move(task))) task();
}

bool Snapshotter::IsSaved(const ModelVersion& version) const {
  MutexLock lock(&mu_);
  return saved_ && saved_->info.version == version.version &&
         saved_->settings_version == version.settings_version &&
         log_end_ < saved_->log_position + kLogPerSnapshot;
}

void Snapshotter::SetSaved(const SnapshotInfo& info, uint64_t settings_version, uint64_t log_position) {
  MutexLock lock(&mu_);
  saved_ = Saved{info, settings_version, log_position};
}

void Snapshotter::Keep(uint64_t generation) {
  MutexLock lock(&mu_);
  keeping_.insert(generation);
}

void Snapshotter::KeptFor(uint64_t generation, std::optional<uint64_t> position) {
  MutexLock lock(&mu_);
  if (const auto keeping = keeping_.find(generation); keeping != keeping_.end()) keeping_.erase(keeping);
  if (position) kept_[*position] = generation;
}

int64_t Snapshotter::last_wall_nanos() const {
  MutexLock lock(&mu_);
  return saved_ ? saved_->info.wall_nanos : 0;
}

}  // namespace stepback
