// What of a model is on disk, and who waits for it: intervals, flushes, restore, import.
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "server/base/errors.h"
#include "server/base/failpoint.h"
#include "server/base/status_macros.h"
#include "server/engine/model_worker.h"
#include "server/engine/replay.h"
#include "server/telemetry/log.h"

namespace stepback {
namespace {

constexpr size_t kFlushesMax = 4096;
constexpr size_t kLabelBytesMax = 128;

absl::Status CheckLabel(const std::string& label) {
  const auto allowed = [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '.' || c == '_' || c == '-';
  };
  if (label.size() <= kLabelBytesMax && std::all_of(label.begin(), label.end(), allowed))
    return absl::OkStatus();
  return WithField(Error(absl::StatusCode::kInvalidArgument, "BAD_LABEL",
                         fmt::format("label has {} characters, expected at most {} of [A-Za-z0-9._-]",
                                     label.size(), kLabelBytesMax)),
                   "label");
}

}  // namespace

// --- by itself ---

bool ModelWorker::SavesByItself() const {
  return snapshotter_->enabled() && model_->current()->spec->durability != Durability::kVolatile;
}

Duration ModelWorker::SnapshotInterval() const {
  const double own = model_->current()->spec->snapshot_interval_seconds;
  const double seconds = own > 0 ? own : runtime_->options().default_snapshot_interval_seconds;
  return std::chrono::duration_cast<Duration>(std::chrono::duration<double>(seconds));
}

// A version that is not on disk is due one interval after the last attempt, or now if a client waits for it.
void ModelWorker::PlanSnapshot() {
  const bool wanted = SavesByItself() && !snapshot_running_ && !snapshotter_->IsSaved(*current_);
  snapshot_due_ = wanted ? std::optional(snapshot_began_ + SnapshotInterval()) : std::nullopt;
  if (wanted && save_wishes_.MetBy(*current_->clients)) snapshot_due_ = Now();
}

void ModelWorker::WishSave(const std::string& client_id, uint64_t sequence) {
  if (journal_ != nullptr) return;  // what is decided is on disk
  Post(
      [this, client_id, sequence] {
        if (clients_.contains(client_id)) save_wishes_.Add(client_id, sequence);
      },
      [](const absl::Status&) {});
}

void ModelWorker::StartSnapshot() {
  snapshot_began_ = Now();
  if (std::exchange(snapshot_running_, true)) return;
  save_wishes_.Drop(*current_->clients);
  snapshotter_->Save("", [weak = weak_from_this()](const absl::StatusOr<SnapshotInfo>& saved) {
    if (const auto worker = weak.lock()) {
      worker->Post([worker = worker.get(), saved] { worker->OnSaved(saved); }, [](const absl::Status&) {});
    }
  });
}

void ModelWorker::OnSaved(const absl::StatusOr<SnapshotInfo>& saved) {
  snapshot_running_ = false;
  CompleteFlushes(saved);
}

// On the I/O strand.
void ModelWorker::OnDurable() {
  Post([this] { CompleteFlushes(SnapshotInfo{}); }, [](const absl::Status&) {});
}

// A failed sync: what the disk holds is not known any more, so nothing more is promised (reliability P9).
void ModelWorker::OnStorageFailed(const absl::Status& why) {
  const absl::Status refusal =
      Error(absl::StatusCode::kFailedPrecondition, "MODEL_READ_ONLY",
            fmt::format("model '{}' is read-only until a restart: {}", name_, std::string(why.message())));
  Log(LogLevel::kError, "model_read_only", {{"model", name_}, {"error", std::string(why.message())}});
  if (published_->newest()->version()->spec->durability == Durability::kVolatile) return;
  if (journal_ != nullptr) return journal_->Fail(refusal);
  OnReadOnly(refusal);
}

// Reads go on.
void ModelWorker::OnReadOnly(const absl::Status& refusal) {
  if (journal_ != nullptr)
    Log(LogLevel::kError, "log_failed", {{"model", name_}, {"error", std::string(refusal.message())}});
  intake_->SetRefusal(refusal);
  MutexLock lock(&mu_);
  unhealthy_reason_ = std::string(refusal.message());
}

absl::StatusOr<Snapshotter::Moment> ModelWorker::TakeMoment() {
  if (journal_->paused()) {
    return Error(absl::StatusCode::kUnavailable, "SNAPSHOT_FAILED",
                 fmt::format("model '{}' is between two calls of which one is not logged whole yet", name_));
  }
  return Snapshotter::Moment{model_->current(),
                             std::make_shared<const OpenPlace>(journal_->Capture(*model_))};
}

void ModelWorker::SaveIfNeeded(std::function<void(absl::Status)> done) {
  const auto version = published_->newest()->version();
  if (!snapshotter_->enabled() || version->spec->durability == Durability::kVolatile ||
      snapshotter_->IsSaved(*version)) {
    return done(absl::OkStatus());
  }
  snapshotter_->Save("", [done](const absl::StatusOr<SnapshotInfo>& saved) { done(saved.status()); });
}

// --- on request ---

void ModelWorker::SaveSnapshot(const std::string& label, Done<SnapshotInfo> done) {
  if (const absl::Status bad = CheckLabel(label); !bad.ok()) return done(bad);
  snapshotter_->Save(label, std::move(done));
}

void ModelWorker::ListSnapshots(Done<std::vector<SnapshotInfo>> done) { snapshotter_->List(std::move(done)); }

void ModelWorker::StateHash(Done<std::string> done) {
  Task task = [self = shared_from_this(), done] {
    const absl::Status open = self->CheckOpen();
    done(open.ok() ? stepback::StateHash(*self->published_->newest()->version(), self->runtime_->backend())
                   : open);
  };
  if (!snapshotter_->Post(std::move(task))) task();
}

// --- flush ---

void ModelWorker::Flush(Done<Version> done) {
  const auto refuse = [done](const absl::Status& why) { done(why); };
  if (!snapshotter_->enabled()) {
    return refuse(
        Error(absl::StatusCode::kFailedPrecondition, "NO_DATA_DIR",
              fmt::format("model '{}': the server has no data directory, nothing is kept on disk", name_)));
  }
  if (journal_ != nullptr) return PostBehindLog([this, done] { done(published_->durable()); }, refuse);
  Post([this, done] { FlushNow(done); }, refuse);
}

// Pushes that the open rounds hold are in no version yet: for them the commits that end those must reach the
// disk.
void ModelWorker::FlushNow(Done<Version> done) {
  std::set<uint32_t> rounds = model_->OpenRounds();
  const bool round_open = !rounds.empty();
  if (!round_open && published_->durable() >= current_->version) return done(published_->durable());
  if (flushes_.size() >= kFlushesMax) {
    return done(
        WithRetryAfter(Error(absl::StatusCode::kResourceExhausted, "QUEUE_FULL",
                             fmt::format("model '{}': {} flushes wait already", name_, flushes_.size())),
                       1));
  }
  flushes_.push_back(
      {round_open ? std::nullopt : std::optional(current_->version), std::move(rounds), std::move(done)});
  if (!round_open) SaveForFlush();
}

void ModelWorker::SettleFlushes(const Effects& effects) {
  bool any = false;
  for (FlushWaiter& flush : flushes_) {
    if (flush.target) continue;
    for (const uint32_t round : effects.ended_rounds) flush.rounds.erase(round);
    if (!flush.rounds.empty()) continue;
    flush.target = current_->version;
    any = true;
  }
  if (any) SaveForFlush();
}

void ModelWorker::SaveForFlush() {
  snapshotter_->Save("", [weak = weak_from_this()](const absl::StatusOr<SnapshotInfo>& saved) {
    if (const auto worker = weak.lock()) {
      worker->Post([worker = worker.get(), saved] { worker->CompleteFlushes(saved); },
                   [](const absl::Status&) {});
    }
  });
}

// A snapshot that failed ends the waits that it was for.
void ModelWorker::CompleteFlushes(const absl::StatusOr<SnapshotInfo>& saved) {
  const Version durable = published_->durable();
  std::vector<FlushWaiter> waiting;
  for (FlushWaiter& flush : std::exchange(flushes_, {})) {
    const bool reached = flush.target && *flush.target <= durable;
    const bool failed = flush.target && !saved.ok();
    if (reached) {
      flush.done(durable);
    } else if (failed) {
      flush.done(saved.status());
    } else {
      waiting.push_back(std::move(flush));
    }
  }
  flushes_.insert(flushes_.begin(), std::make_move_iterator(waiting.begin()),
                  std::make_move_iterator(waiting.end()));
}

void ModelWorker::FailFlushes(const absl::Status& why, bool all) {
  std::vector<FlushWaiter> waiting;
  for (FlushWaiter& flush : std::exchange(flushes_, {})) {
    if (all || !flush.target) {
      flush.done(why);
    } else {
      waiting.push_back(std::move(flush));
    }
  }
  flushes_ = std::move(waiting);
}

// --- restore and import ---

void ModelWorker::RestoreSnapshot(const std::string& label, uint64_t generation, Done<ModelInfo> done) {
  const auto self = shared_from_this();
  snapshotter_->Load(label, generation, [self, done](absl::StatusOr<LoadedImage> image) {
    if (!image.ok()) return done(image.status());
    if (self->journal_ != nullptr) self->snapshotter_->Keep(image->generation);
    const uint64_t above =
        std::max(image->version->version.term, self->published_->newest()->version()->version.term);
    self->snapshotter_->RaiseTerm(
        above, [self, done, image = *std::move(image)](const absl::StatusOr<uint64_t>& term) {
          if (!term.ok() && self->journal_ != nullptr)
            self->snapshotter_->KeptFor(image.generation, std::nullopt);
          if (!term.ok()) return done(term.status());
          if (self->journal_ != nullptr) return self->LogRestore(image, *term, done);
          self->Post([self, done, image, term = *term] { self->RestoreNow(image, term, done); }, done);
        });
  });
}

void ModelWorker::LogRestore(const LoadedImage& image, uint64_t term, Done<ModelInfo> done) {
  DecideLogged(
      LoggedRestore{image.generation, term}, {},
      [this, image, term, done](const Journal::Entry& entry) {
        snapshotter_->KeptFor(image.generation, entry.place.position);
        RestoreNow(image, term, done);
      },
      [snapshotter = snapshotter_, generation = image.generation, done](const absl::Status& why) {
        snapshotter->KeptFor(generation, std::nullopt);
        done(why);
      });
}

void ModelWorker::RestoreNow(const LoadedImage& image, uint64_t term, Done<ModelInfo> done) {
  const TimePoint now = Now();
  FAILPOINT("restore.before");
  const absl::StatusOr<Effects> effects = model_->Restore(image.version, term);
  FAILPOINT("restore.after");
  if (!effects.ok()) return AnswerFailed(LoggedRestore{}, effects.status(), done);
  metrics_->OnCheckpoint(telemetry::CheckpointOp::kRestore,
                         std::chrono::duration<double>(Now() - now).count());
  intake_->Recovered(*model_->current()->clients);
  Distribute(*effects, ModelReport::Cause::kCommand, now);
  report_.Describe(*model_->current(), std::chrono::duration<double>(SnapshotInterval()).count());
  AnswerWhenSaved(std::move(done));
}

void ModelWorker::Import(Payload dense, Done<ModelInfo> done) {
  Task task = [self = shared_from_this(), dense = std::move(dense), done] {
    if (const absl::Status open = self->CheckOpen(); !open.ok()) return done(open);
    absl::StatusOr<std::unique_ptr<kernels::Buffer>> weights =
        WeightsOf(*self->newest(), dense, self->runtime_->backend());
    if (!weights.ok()) return done(weights.status());
    if (self->journal_ != nullptr) return self->LogImport(dense, *std::move(weights), done);
    const auto shared = std::make_shared<std::unique_ptr<kernels::Buffer>>(*std::move(weights));
    self->Post([self, shared, done] { self->ImportNow(std::move(*shared), done); }, done);
  };
  if (!snapshotter_->Post(std::move(task))) task();
}

void ModelWorker::LogImport(Payload dense, std::unique_ptr<kernels::Buffer> weights, Done<ModelInfo> done) {
  const auto shared = std::make_shared<std::unique_ptr<kernels::Buffer>>(std::move(weights));
  DecideLogged(
      LoggedImport{}, {std::move(dense), {}},
      [this, shared, done](const Journal::Entry&) { ImportNow(std::move(*shared), done); },
      [done](const absl::Status& why) { done(why); });
}

void ModelWorker::ImportNow(std::unique_ptr<kernels::Buffer> weights, Done<ModelInfo> done) {
  const TimePoint now = Now();
  FAILPOINT("import.before");
  const absl::StatusOr<Effects> effects = model_->Import(std::move(weights));
  FAILPOINT("import.after");
  if (!effects.ok()) return AnswerFailed(LoggedImport{}, effects.status(), done);
  metrics_->OnCheckpoint(telemetry::CheckpointOp::kImport,
                         std::chrono::duration<double>(Now() - now).count());
  Distribute(*effects, ModelReport::Cause::kCommand, now);
  AnswerWhenSaved(std::move(done));
}

void ModelWorker::AnswerFailed(const LoggedCall::Call& call, const absl::Status& why,
                               const Done<ModelInfo>& done) {
  if (journal_ == nullptr || !DependsOnMachine(call, why)) return done(why);
  RecordRefused([done, why] { done(why); }, [done](const absl::Status& failed) { done(failed); });
}

// An operator's change is on disk before it is acknowledged: a crash right after must not take it back.
void ModelWorker::AnswerWhenSaved(Done<ModelInfo> done) {
  if (journal_ != nullptr) {  // its log has it; a snapshot spares a recovery the way
    StartSnapshot();
    return done(Info());
  }
  SaveIfNeeded([self = shared_from_this(), done](const absl::Status& saved) {
    if (saved.ok()) return done(self->Info());
    done(Error(saved.code(), ReasonOf(saved),
               fmt::format("model '{}' was changed, but the change is not on disk yet: {}", self->name_,
                           std::string(saved.message()))));
  });
}

}  // namespace stepback
