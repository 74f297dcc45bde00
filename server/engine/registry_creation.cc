// How a model comes to be: its name is reserved, its weights arrive, it is made, written to disk, and then
// seen.
#include <fmt/format.h>

#include <utility>

#include "server/base/errors.h"
#include "server/base/failpoint.h"
#include "server/base/status_macros.h"
#include "server/engine/arena_writer.h"
#include "server/engine/chunk_check.h"
#include "server/engine/model_log.h"
#include "server/engine/registry.h"
#include "server/engine/storage_error.h"
#include "server/telemetry/log.h"

namespace stepback {
namespace {

absl::Status Abandoned(const std::string& name) {
  return WithRetryAfter(Error(absl::StatusCode::kAborted, "CREATE_ABANDONED",
                              fmt::format("the creation of model '{}' was given up, create it again", name)),
                        1);
}

}  // namespace

// The initial weights on their way in. The first one under a name writes them; those who follow are checked
// as strictly, but what they bring is dropped: phi_0 is the first one's.
class Registry::Creation final : public CreateUpload {
 public:
  // `id` 0 and no writer: a follower.
  Creation(std::shared_ptr<Registry> registry, CheckedCreation checked, uint64_t id,
           std::unique_ptr<ArenaWriter> writer)
      : registry_(std::move(registry)), checked_(std::move(checked)), id_(id), writer_(std::move(writer)) {}

  ~Creation() override {
    if (writer_ != nullptr) registry_->Abandon(name(), id_, Abandoned(name()));
  }

  absl::Status AddChunk(uint64_t offset, uint32_t crc32c, Payload data) override {
    if (status_.ok()) status_ = Take(offset, crc32c, data);
    return status_;
  }

  void Finish(Done<Created> done) override {
    if (status_.ok() && received_ != checked_.total_bytes) {
      status_ = Error(absl::StatusCode::kInvalidArgument, "SIZE_MISMATCH",
                      fmt::format("model '{}': the weights end after {} bytes, {} were announced", name(),
                                  received_, checked_.total_bytes));
    }
    if (!status_.ok()) return done(status_);
    status_ = Error(absl::StatusCode::kInvalidArgument, "TOO_MANY_BYTES", "the weights have ended already");
    if (id_ == 0) return registry_->FollowCreation(name(), *checked_.spec, std::move(done));
    const std::unique_ptr<ArenaWriter> writer = std::move(writer_);
    registry_->FinishCreation(checked_, id_, writer->Take(), std::move(done));
  }

 private:
  const std::string& name() const { return checked_.spec->name; }

  absl::Status Take(uint64_t offset, uint32_t crc32c, const Payload& data) {
    RETURN_IF_ERROR(CheckChunk(offset, crc32c, data, received_, checked_.total_bytes));
    if (writer_ != nullptr) {
      RETURN_IF_ERROR(registry_->ShowLife(name(), id_));
      RETURN_IF_ERROR(writer_->Write(data.view()));
    }
    received_ += data.size();
    return absl::OkStatus();
  }

  const std::shared_ptr<Registry> registry_;
  const CheckedCreation checked_;
  const uint64_t id_;
  std::unique_ptr<ArenaWriter> writer_;
  uint64_t received_ = 0;
  absl::Status status_;
};

absl::StatusOr<std::unique_ptr<CreateUpload>> Registry::StartCreate(ModelSpec spec, bool zeros, int codec,
                                                                    uint64_t total_bytes) {
  ASSIGN_OR_RETURN(CheckedCreation checked, CheckCreation(std::move(spec), zeros, codec, total_bytes));
  RETURN_IF_ERROR(CheckDevice(*checked.spec, *runtime_->backend()));
  if (!runtime_->has_storage()) RETURN_IF_ERROR(CheckDisk(runtime_.get(), *checked.spec));
  const std::string name = checked.spec->name;
  uint64_t id = 0;
  {
    MutexLock lock(&mu_);
    RETURN_IF_ERROR(CheckOpen());
    if (const auto found = entries_.find(name); found != entries_.end()) {
      RETURN_IF_ERROR(CheckExisting(found->second, *checked.spec));
    } else {
      RETURN_IF_ERROR(CheckRoom(checked));
      id = next_creation_id_++;
      const TimePoint now = runtime_->clock()->Now();
      entries_[name] = {
          .creation_id = id, .spec = checked.spec, .memory_bytes = checked.memory_bytes, .last_chunk = now};
      runtime_->timers()->Set(creation_timer_, now + kCreationSilence);
      CountModels();
    }
  }
  std::unique_ptr<ArenaWriter> writer;
  if (id != 0) {
    absl::StatusOr<std::unique_ptr<ArenaWriter>> made =
        ArenaWriter::Make(name, checked.layout, *checked.codec, runtime_->backend());
    if (!made.ok()) Abandon(name, id, made.status());
    ASSIGN_OR_RETURN(writer, std::move(made));
  }
  return std::make_unique<Creation>(shared_from_this(), std::move(checked), id, std::move(writer));
}

absl::Status Registry::CheckOpen() const {
  RETURN_IF_ERROR(stopped_);
  if (!draining_) return absl::OkStatus();
  return WithRetryAfter(Error(absl::StatusCode::kUnavailable, "DRAINING", "the server is draining"), 1);
}

absl::Status Registry::CheckExisting(const Entry& entry, const ModelSpec& spec) const {
  switch (entry.state) {
    case State::kCreating:
      if (*entry.spec == spec) return absl::OkStatus();
      break;
    case State::kReady:
      if (IsSameModel(*entry.worker->newest(), spec)) return absl::OkStatus();
      break;
    case State::kDeleting:
      return WithRetryAfter(Error(absl::StatusCode::kUnavailable, "MODEL_DELETING",
                                  fmt::format("model '{}' is being deleted", spec.name)),
                            1);
    case State::kDamaged:
      return Error(
          absl::StatusCode::kDataLoss, "MODEL_DAMAGED",
          fmt::format(
              "model '{}' is on disk but could not be loaded: {}; delete it, or repair it and restart",
              spec.name, std::string(entry.damage.message())));
  }
  return Error(absl::StatusCode::kAlreadyExists, "MODEL_EXISTS",
               fmt::format("model '{}' exists with another definition", spec.name));
}

absl::Status Registry::CheckRoom(const CheckedCreation& checked) const {
  const Engine::Options& options = runtime_->options();
  if (entries_.size() >= options.models_max) {
    return Error(absl::StatusCode::kResourceExhausted, "MODELS_FULL",
                 fmt::format("there are {} models, at most {} may be", entries_.size(), options.models_max));
  }
  if (options.memory_bytes_max == 0) return absl::OkStatus();
  uint64_t used = 0;
  for (const auto& [name, entry] : entries_) {
    used += entry.worker != nullptr ? entry.worker->memory_bytes() : entry.memory_bytes;
  }
  if (used + checked.memory_bytes <= options.memory_bytes_max) return absl::OkStatus();
  return Error(absl::StatusCode::kResourceExhausted, "MEMORY_FULL",
               fmt::format("model '{}' needs {} bytes, the other models take {} of {}", checked.spec->name,
                           checked.memory_bytes, used, options.memory_bytes_max));
}

absl::Status Registry::ShowLife(const std::string& name, uint64_t creation_id) {
  MutexLock lock(&mu_);
  RETURN_IF_ERROR(CheckOpen());
  const auto found = entries_.find(name);
  if (found == entries_.end() || found->second.creation_id != creation_id) return Abandoned(name);
  found->second.last_chunk = runtime_->clock()->Now();
  return absl::OkStatus();
}

void Registry::Abandon(const std::string& name, uint64_t creation_id, const absl::Status& why) {
  std::vector<Done<Created>> followers;
  {
    MutexLock lock(&mu_);
    const auto found = entries_.find(name);
    if (found == entries_.end() || found->second.creation_id != creation_id) return;
    followers.swap(found->second.followers);
    entries_.erase(found);
    CountModels();
  }
  for (const Done<Created>& follower : followers) follower(why);
}

// Ends creations whose weights do not come any more, and looks again when the next one could be one.
void Registry::AbandonSilent(Duration silence, const absl::Status& why) {
  const TimePoint now = runtime_->clock()->Now();
  std::vector<std::pair<std::string, uint64_t>> silent;
  {
    MutexLock lock(&mu_);
    std::optional<TimePoint> next;
    for (const auto& [name, entry] : entries_) {
      if (entry.state != State::kCreating || entry.finishing) continue;
      const TimePoint end = entry.last_chunk + silence;
      if (end <= now) {
        silent.push_back({name, entry.creation_id});
      } else {
        next = std::min(next.value_or(end), end);
      }
    }
    if (creation_timer_ != 0) runtime_->timers()->Set(creation_timer_, next);
  }
  for (const auto& [name, id] : silent) Abandon(name, id, why);
}

void Registry::FollowCreation(const std::string& name, const ModelSpec& spec, Done<Created> done) {
  std::shared_ptr<ModelWorker> worker;
  absl::Status refused;
  {
    MutexLock lock(&mu_);
    const auto found = entries_.find(name);
    refused = found == entries_.end() ? Abandoned(name) : CheckExisting(found->second, spec);
    if (refused.ok() && found->second.state == State::kCreating) {
      found->second.followers.push_back(std::move(done));
      return;
    }
    if (refused.ok()) worker = found->second.worker;
  }
  if (!refused.ok()) return done(refused);
  done(Created{worker, false});
}

void Registry::FinishCreation(const CheckedCreation& checked, uint64_t creation_id,
                              std::unique_ptr<kernels::Buffer> weights, Done<Created> done) {
  const std::string& name = checked.spec->name;
  {
    MutexLock lock(&mu_);
    const auto found = entries_.find(name);
    if (found != entries_.end() && found->second.creation_id == creation_id) found->second.finishing = true;
  }
  if (const absl::Status alive = ShowLife(name, creation_id); !alive.ok()) {
    Abandon(name, creation_id, alive);
    return done(alive);
  }
  const auto shared = std::make_shared<std::unique_ptr<kernels::Buffer>>(std::move(weights));
  Task task = [self = shared_from_this(), checked, creation_id, shared, done] {
    self->CreateNow(checked, creation_id, std::move(*shared), done);
  };
  if (!std::make_shared<Strand>(runtime_->io(), 1)->Post(std::move(task))) task();
}

// On an I/O thread.
void Registry::CreateNow(const CheckedCreation& checked, uint64_t creation_id,
                         std::unique_ptr<kernels::Buffer> weights, const Done<Created>& done) {
  const std::string name = checked.spec->name;
  FAILPOINT("create.before");
  const absl::StatusOr<std::shared_ptr<ModelWorker>> made = MakeWorker(checked, std::move(weights));
  FAILPOINT("create.before_snapshot");
  if (!made.ok())
    return CompleteCreation(name, creation_id, nullptr, StorageError(name, made.status()), done);
  const std::shared_ptr<ModelWorker> worker = *made;
  absl::Status stopped;
  {
    MutexLock lock(&mu_);
    stopped = stopped_;
    if (stopped.ok()) entries_.at(name).worker = worker;  // so that Stop reaches it
  }
  if (!stopped.ok()) {
    worker->Retire(stopped);
    return done(stopped);
  }
  worker->SaveIfNeeded(
      [self = shared_from_this(), name, creation_id, worker, done](const absl::Status& saved) {
        self->CompleteCreation(name, creation_id, worker, saved, done);
      });
}

absl::StatusOr<std::shared_ptr<ModelWorker>> Registry::MakeWorker(const CheckedCreation& checked,
                                                                  std::unique_ptr<kernels::Buffer> weights) {
  RETURN_IF_ERROR(CheckDisk(runtime_.get(), *checked.spec));
  if (checked.zeros && runtime_->backend()->Zero(weights.get()) != kernels::Status::kOk) {
    return Error(absl::StatusCode::kInternal, "DEVICE_ERROR",
                 fmt::format("zeroing the weights of model '{}' failed", checked.spec->name));
  }
  ASSIGN_OR_RETURN(std::unique_ptr<Model> model,
                   Model::Create(checked.spec, checked.layout, std::move(weights),
                                 {runtime_->backend(), runtime_->executor()}));
  std::unique_ptr<ModelStore> store;
  if (runtime_->has_storage()) {
    ASSIGN_OR_RETURN(store, ModelStore::Open(runtime_->file_system(), runtime_->options().data_dir,
                                             checked.spec->name, {.create = true}));
  }
  std::optional<ModelLog> log;
  if (checked.spec->durability == Durability::kPush) {
    ASSIGN_OR_RETURN(log, CreateLog(runtime_.get(), store.get(), *checked.spec,
                                    runtime_->metrics()->ForModel(checked.spec->name)));
  }
  return ModelWorker::Make({.runtime = runtime_,
                            .model = std::move(model),
                            .store = std::move(store),
                            .budget_bytes = checked.budget_bytes,
                            .created_wall_nanos = runtime_->clock()->WallNanos(),
                            .log = std::move(log)});
}

void Registry::CompleteCreation(const std::string& name, uint64_t creation_id,
                                const std::shared_ptr<ModelWorker>& worker, const absl::Status& saved,
                                const Done<Created>& done) {
  FAILPOINT("create.after_snapshot");
  std::vector<Done<Created>> followers;
  {
    MutexLock lock(&mu_);
    const auto found = entries_.find(name);
    if (found != entries_.end() && found->second.creation_id == creation_id) {
      Entry& entry = found->second;
      followers.swap(entry.followers);
      entry.state = saved.ok() ? State::kReady : State::kDeleting;
      entry.spec.reset();
      if (saved.ok()) entry.creation_id = 0;
      if (!saved.ok() && worker == nullptr) entries_.erase(found);
      CountModels();
    }
  }
  if (saved.ok()) {
    Log(LogLevel::kInfo, "model_created", {{"model", name}, {"parameters", worker->layout()->elements()}});
  } else {
    Log(LogLevel::kError, "model_not_created", {{"model", name}, {"error", std::string(saved.message())}});
  }
  if (!saved.ok() && worker != nullptr) {
    worker->Retire(saved);
    runtime_->metrics()->RemoveModel(name);
    RemoveFromDisk(name, worker, [](const absl::Status&) {});
  }
  done(saved.ok() ? absl::StatusOr<Created>(Created{worker, true}) : saved);
  for (const Done<Created>& follower : followers) {
    follower(saved.ok() ? absl::StatusOr<Created>(Created{worker, false}) : saved);
  }
}

}  // namespace stepback
