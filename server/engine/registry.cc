#include "server/engine/registry.h"

#include <fmt/format.h>

#include <utility>

#include "server/base/errors.h"
#include "server/base/failpoint.h"
#include "server/base/status_macros.h"
#include "server/engine/recovery.h"
#include "server/engine/storage_error.h"
#include "server/store/data_directory.h"
#include "server/telemetry/log.h"

namespace stepback {
namespace {

absl::Status NotFound(const std::string& name) {
  return Error(absl::StatusCode::kNotFound, "MODEL_NOT_FOUND", fmt::format("there is no model '{}'", name));
}

absl::Status Deleted(const std::string& name) {
  return Error(absl::StatusCode::kNotFound, "MODEL_DELETED",
               fmt::format("model '{}' has been deleted", name));
}

absl::Status ShuttingDown() {
  return WithRetryAfter(Error(absl::StatusCode::kUnavailable, "SHUTTING_DOWN", "the server is shutting down"),
                        1);
}

// Calls `done` with the first error once `count` calls have come in.
std::function<void(absl::Status)> WhenAll(size_t count, std::function<void(absl::Status)> done) {
  struct Shared {
    Mutex mu;
    size_t left;
    absl::Status first;
  };
  auto shared = std::make_shared<Shared>();
  shared->left = count;
  return [shared, done = std::move(done)](const absl::Status& status) {
    absl::Status first;
    {
      MutexLock lock(&shared->mu);
      shared->first.Update(status);
      if (--shared->left > 0) return;
      first = shared->first;
    }
    done(first);
  };
}

}  // namespace

Registry::~Registry() {
  MutexLock lock(&mu_);
  if (creation_timer_ != 0) runtime_->timers()->Remove(creation_timer_);
}

absl::Status Registry::Recover() {
  {
    MutexLock lock(&mu_);
    creation_timer_ = runtime_->timers()->Add([weak = weak_from_this()] {
      if (const auto self = weak.lock()) {
        self->AbandonSilent(kCreationSilence,
                            Error(absl::StatusCode::kAborted, "CREATE_ABANDONED",
                                  "the model's creator has been silent for too long, create it again"));
      }
    });
  }
  if (!runtime_->has_storage()) return absl::OkStatus();
  const std::string& data_dir = runtime_->options().data_dir;
  ASSIGN_OR_RETURN(const std::vector<std::string> names, ListModels(runtime_->file_system(), data_dir));
  for (const std::string& name : names) {
    Entry entry{.state = State::kReady};
    absl::StatusOr<std::shared_ptr<ModelWorker>> worker = RecoverModel(runtime_, name);
    if (worker.ok()) {
      entry.worker = *std::move(worker);
    } else {
      Log(LogLevel::kError, "model_not_recovered",
          {{"model", name}, {"error", std::string(worker.status().message())}});
      entry.state = State::kDamaged;
      entry.damage = worker.status();
    }
    MutexLock lock(&mu_);
    entries_[name] = std::move(entry);
    CountModels();
  }
  return absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<Handle>> Registry::Find(const std::string& name) const {
  MutexLock lock(&mu_);
  const auto found = entries_.find(name);
  if (found == entries_.end()) return NotFound(name);
  const Entry& entry = found->second;
  if (entry.state == State::kReady) return entry.worker;
  if (entry.state != State::kDamaged) return NotFound(name);
  return Error(absl::StatusCode::kDataLoss, "MODEL_DAMAGED",
               fmt::format("model '{}' is on disk but could not be loaded: {}", name,
                           std::string(entry.damage.message())));
}

std::vector<std::shared_ptr<Handle>> Registry::List() const {
  std::vector<std::shared_ptr<Handle>> handles;
  MutexLock lock(&mu_);
  for (const auto& [name, entry] : entries_) {
    if (entry.state == State::kReady) handles.push_back(entry.worker);
  }
  return handles;
}

void Registry::Delete(const std::string& name, std::function<void(absl::Status)> done) {
  std::shared_ptr<ModelWorker> worker;
  absl::Status refused;
  {
    MutexLock lock(&mu_);
    const auto found = entries_.find(name);
    const bool there = found != entries_.end() &&
                       (found->second.state == State::kReady || found->second.state == State::kDamaged);
    refused = !stopped_.ok() ? stopped_ : there ? absl::OkStatus() : NotFound(name);
    if (refused.ok()) {
      found->second.state = State::kDeleting;
      worker = found->second.worker;
      CountModels();
    }
  }
  if (!refused.ok()) return done(refused);
  FAILPOINT("delete.before");
  if (worker != nullptr) worker->Retire(Deleted(name));
  runtime_->metrics()->RemoveModel(name);
  Log(LogLevel::kInfo, "model_deleted", {{"model", name}});
  RemoveFromDisk(name, worker, std::move(done));
}

// The name is free again once the disk is clean; until then the model is damaged, and Delete may be tried
// again.
void Registry::RemoveFromDisk(const std::string& name, const std::shared_ptr<ModelWorker>& worker,
                              std::function<void(absl::Status)> done) {
  const auto removed = [self = shared_from_this(), name,
                        done = std::move(done)](const absl::Status& told) {
    const absl::Status status = StorageError(name, told);
    {
      MutexLock lock(&self->mu_);
      if (status.ok()) {
        self->entries_.erase(name);
      } else {
        self->entries_[name] = Entry{.state = State::kDamaged, .damage = status};
      }
      self->CountModels();
    }
    FAILPOINT("delete.after");
    done(status);
  };
  if (worker != nullptr) return worker->Remove(removed);
  Task task = [self = shared_from_this(), name, removed] {
    const absl::Status status =
        RemoveModel(self->runtime_->file_system(), self->runtime_->options().data_dir, name);
    removed(absl::IsNotFound(status) ? absl::OkStatus() : status);
  };
  if (!std::make_shared<Strand>(runtime_->io(), 1)->Post(std::move(task))) task();
}

void Registry::Drain(std::function<void(absl::Status)> done) {
  std::vector<std::shared_ptr<ModelWorker>> workers;
  {
    MutexLock lock(&mu_);
    draining_ = true;
    for (const auto& [name, entry] : entries_) {
      if (entry.worker != nullptr && entry.state != State::kDeleting) workers.push_back(entry.worker);
    }
  }
  runtime_->metrics()->SetDraining(true);
  AbandonSilent(Duration::zero(),
                Error(absl::StatusCode::kUnavailable, "DRAINING", "the server is draining"));
  FAILPOINT("drain.before");
  if (workers.empty()) return done(absl::OkStatus());
  const auto one = WhenAll(workers.size(), [done = std::move(done)](const absl::Status& status) {
    FAILPOINT("drain.after");
    done(status);
  });
  for (const std::shared_ptr<ModelWorker>& worker : workers) worker->Drain(one);
}

bool Registry::draining() const {
  MutexLock lock(&mu_);
  return draining_;
}

void Registry::Stop() {
  std::vector<std::shared_ptr<ModelWorker>> workers;
  {
    MutexLock lock(&mu_);
    stopped_ = ShuttingDown();
    for (const auto& [name, entry] : entries_) {
      if (entry.worker != nullptr) workers.push_back(entry.worker);
    }
  }
  AbandonSilent(Duration::zero(), ShuttingDown());
  for (const std::shared_ptr<ModelWorker>& worker : workers) worker->Retire(ShuttingDown());
  runtime_->Stop();
  std::map<std::string, Entry> gone;  // their memory goes without the lock
  MutexLock lock(&mu_);
  gone.swap(entries_);
}

void Registry::CountModels() {
  uint64_t loading = 0, serving = 0, failed = 0, budgets = 0;
  for (const auto& [name, entry] : entries_) {
    if (entry.worker != nullptr) budgets += entry.worker->budget_bytes();
    loading += entry.state == State::kCreating;
    serving += entry.state == State::kReady;
    failed += entry.state == State::kDamaged;
  }
  runtime_->metrics()->SetModelCount(telemetry::ModelPhase::kLoading, loading);
  runtime_->metrics()->SetModelCount(telemetry::ModelPhase::kServing, serving);
  runtime_->metrics()->SetModelCount(telemetry::ModelPhase::kFailed, failed);
  runtime_->metrics()->SetInflightLimit(budgets);
}

}  // namespace stepback
