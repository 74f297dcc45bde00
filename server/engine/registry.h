// Which models there are: by name, from the reservation of the name to its removal. A model is visible all at
// once, when its weights are whole and (unless it is volatile) on disk.
//
//   creating   the name is taken by one CreateUpload; others with the same definition follow it
//   ready      served
//   deleting   on its way out; the name is taken until the disk is clean
//   damaged    on disk, but no snapshot could be loaded: not served, never overwritten, only Delete helps
//
// Threads: any. One mutex; callbacks and disk work run without it.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "server/base/mutex.h"
#include "server/engine/creation_check.h"
#include "server/engine/engine.h"
#include "server/engine/model_worker.h"
#include "server/engine/runtime.h"

namespace stepback {

// A creation that brings nothing for this long is given up.
inline constexpr Duration kCreationSilence = std::chrono::seconds(60);

class Registry : public std::enable_shared_from_this<Registry> {
 public:
  explicit Registry(std::shared_ptr<Runtime> runtime) : runtime_(std::move(runtime)) {}
  ~Registry();

  // Recovers every model of the data directory. A model that cannot be loaded does not stop the others.
  absl::Status Recover();

  absl::StatusOr<std::unique_ptr<CreateUpload>> StartCreate(ModelSpec spec, bool zeros, int codec,
                                                            uint64_t total_bytes);
  // NOT_FOUND(MODEL_NOT_FOUND), DATA_LOSS(MODEL_DAMAGED).
  absl::StatusOr<std::shared_ptr<Handle>> Find(const std::string& name) const;
  std::vector<std::shared_ptr<Handle>> List() const;
  void Delete(const std::string& name, std::function<void(absl::Status)> done);
  void Drain(std::function<void(absl::Status)> done);
  bool draining() const;
  void Stop();

 private:
  class Creation;
  enum class State : uint8_t { kCreating, kReady, kDeleting, kDamaged };
  struct Entry {
    State state = State::kCreating;
    uint64_t creation_id = 0;
    std::shared_ptr<const ModelSpec> spec;  // creating
    uint64_t memory_bytes = 0;              // creating: estimated
    TimePoint last_chunk;                   // creating
    bool finishing = false;                 // creating: the weights are whole
    std::vector<Done<Created>> followers;   // creating
    std::shared_ptr<ModelWorker> worker;    // ready, deleting; creating once it is made
    absl::Status damage;
  };

  absl::Status CheckOpen() const REQUIRES(mu_);
  absl::Status CheckExisting(const Entry& entry, const ModelSpec& spec) const REQUIRES(mu_);
  absl::Status CheckRoom(const CheckedCreation& checked) const REQUIRES(mu_);
  void CountModels() REQUIRES(mu_);

  // registry_creation.cc
  absl::Status ShowLife(const std::string& name, uint64_t creation_id);
  void Abandon(const std::string& name, uint64_t creation_id, const absl::Status& why);
  void AbandonSilent(Duration silence, const absl::Status& why);
  void FinishCreation(const CheckedCreation& checked, uint64_t creation_id,
                      std::unique_ptr<kernels::Buffer> weights, Done<Created> done);
  void FollowCreation(const std::string& name, const ModelSpec& spec, Done<Created> done);
  absl::StatusOr<std::shared_ptr<ModelWorker>> MakeWorker(const CheckedCreation& checked,
                                                          std::unique_ptr<kernels::Buffer> weights);
  void CreateNow(const CheckedCreation& checked, uint64_t creation_id,
                 std::unique_ptr<kernels::Buffer> weights, const Done<Created>& done);
  void CompleteCreation(const std::string& name, uint64_t creation_id,
                        const std::shared_ptr<ModelWorker>& worker, const absl::Status& saved,
                        const Done<Created>& done);
  void RemoveFromDisk(const std::string& name, const std::shared_ptr<ModelWorker>& worker,
                      std::function<void(absl::Status)> done);

  const std::shared_ptr<Runtime> runtime_;
  mutable Mutex mu_;
  std::map<std::string, Entry> entries_ GUARDED_BY(mu_);
  uint64_t next_creation_id_ GUARDED_BY(mu_) = 1;
  TimerQueue::Id creation_timer_ GUARDED_BY(mu_) = 0;
  bool draining_ GUARDED_BY(mu_) = false;
  absl::Status stopped_ GUARDED_BY(mu_);
};

}  // namespace stepback
