// Makes the calls of a model's log again, one by one, on the model that had them before (decision record
// 107). Owned by a recovery; one thread.
//
//   Replay replay(model.get(), origin, std::move(failures), load);
//   while (more) RETURN_IF_ERROR(replay.Make(call, entry));
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "server/core/model.h"
#include "server/engine/logged_call.h"
#include "server/store/log_entry.h"

namespace stepback {

// Whether a call failed for want of memory, or of a device or file: a replay would not, unless it is told.
bool DependsOnMachine(const LoggedCall::Call& call, const absl::Status& status);

// What opening a session does to a model: its own session, and the round that may wait for one more, or less.
// Clients of `lapsed` end with it.
absl::StatusOr<Effects> OpenAndSettle(Model* model, const OpenSession& request, TimePoint now,
                                      const std::vector<std::string>& lapsed, OpenedSession* opened,
                                      const StepFailures& failures = {});
// New settings, under which the open round may close.
absl::StatusOr<Effects> UpdateAndSettle(Model* model, const LoggedUpdate& update, TimePoint now,
                                        const std::vector<std::string>& lapsed,
                                        const StepFailures& failures = {});
// Dense fp32 in table order, in back-end memory. SIZE_MISMATCH, or what ArenaWriter says.
absl::StatusOr<std::unique_ptr<kernels::Buffer>> WeightsOf(const ModelVersion& version, const Payload& dense,
                                                           kernels::Backend* backend);

class Replay {
 public:
  using Failures = std::map<uint64_t, LoggedFailures>;  // by the position of their call
  using LoadImage = std::function<absl::StatusOr<std::shared_ptr<const ModelVersion>>(uint64_t generation)>;

  // `origin`: the model's own time 0. All outlive it.
  Replay(Model* model, kernels::Backend* backend, TimePoint origin, Failures failures, LoadImage load)
      : model_(model),
        backend_(backend),
        origin_(origin),
        failures_(std::move(failures)),
        load_(std::move(load)) {}

  // A call that the model refuses now was refused then: that is no error. RESOURCE_EXHAUSTED(NO_MEMORY) when
  // this machine has no memory for what the other had; what the loader says.
  absl::Status Make(const LoggedCall& call, LogEntry entry);

 private:
  absl::StatusOr<Effects> Call(const LoggedCall::Call& call, LogEntry* entry, TimePoint now,
                               const StepFailures& failed);

  Model* const model_;
  kernels::Backend* const backend_;
  const TimePoint origin_;
  const Failures failures_;
  const LoadImage load_;
};

}  // namespace stepback
