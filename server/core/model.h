// One model: its state and every decision about it. Deterministic: no I/O, no clock, no threads; time is an argument and
// the same calls give the same bits. The engine's strand is the only caller (one call at a time).
//
//   Effects effects = model->Apply(std::move(push), now);   // decide one complete push; may commit a version
//   Effects effects = model->Tick(now);                     // deadlines and leases
//
// What a log of calls needs to have all of (durability PUSH; decision record 107): Open without attach, Close, Evict,
// Apply, Tick with the sessions that it ends, Update, Restore, Import, RaiseTerm, with their times, in their order.
// Replayed on what Create made, or on FromImage with an OpenState, they give the same answers, events and bits.
// Heartbeat, an attaching Open and everything const decide nothing: in models of durability PUSH leases end by Tick
// alone, and only those of the sessions that it names. What else depends on the machine is in Effects.failures.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "server/base/clock.h"
#include "server/core/machine_steps.h"
#include "server/core/model_version.h"
#include "server/core/push.h"

namespace stepback {

struct MergeRecord;  // merge_record.h
struct OpenState;
struct PushRef;

// What one call of Model did. `answers` are final for their pushes, in order of decision.
struct Effects {
  struct Answered {
    std::string client_id;
    uint64_t epoch = 0;
    uint64_t sequence = 0;
    PushAnswer answer;
  };
  std::vector<Answered> answers;
  // The new version, when the call committed one; the last of several when pushes that waited for their turn complete
  // further rounds in the same call (each has its "round_closed" event).
  std::shared_ptr<const ModelVersion> committed;
  bool synced = false;                       // a commit of this call had an outer step
  // Every merge, decision or membership change, in words, for logs and the event record.
  struct Event {
    std::string name;                        // "round_closed", "push_refused", "session_expired", "round_dropped"...
    std::string reason;
    std::vector<std::pair<std::string, std::string>> fields;
    std::shared_ptr<const MergeRecord> merge = nullptr;  // of a round that ended
  };
  std::vector<Event> events;
  // Set when a round was closed without effect (non-finite result, device error): why; the last of several.
  absl::Status round_dropped;
  // Every such round (by fragment; 0 in a model without), and every one that ended, with effect or without.
  std::vector<std::pair<uint32_t, absl::Status>> dropped_rounds;
  std::set<uint32_t> ended_rounds;
  std::vector<std::string> ended_sessions;   // client ids whose lease ended or that were evicted
  // Steps that found no memory or whose device failed: a replay would decide otherwise unless it is told.
  StepFailures failures;
};

struct OpenSession {
  std::string client_id;
  SessionRole role = SessionRole::kTrainer;
  bool attach = false;
};
struct OpenedSession {
  uint64_t epoch = 0;
  uint64_t last_sequence = 0;
  uint32_t local_steps = 0;      // H for this worker; 0: its own choice, or gradient mode
  std::vector<uint64_t> missing;  // sequence numbers up to last_sequence that a recovery has lost (fragments)
};

struct SessionInfo {
  std::string client_id;
  SessionRole role = SessionRole::kTrainer;
  uint64_t epoch = 0;
  uint64_t last_sequence = 0;
  double lease_remaining_seconds = 0;
  double quarantine_remaining_seconds = 0;  // not 0: no session, and none may be opened
  bool contributed = false;      // in an open round
  std::set<uint32_t> rounds;     // which (by fragment; 0 in a model without)
  uint64_t pushes = 0;
  uint64_t staleness = 0;        // of its last push
  WorkerHealth health;
};

class Model {
 public:
  struct Environment {
    kernels::Backend* backend = nullptr;      // outlive the model
    kernels::Executor* executor = nullptr;
  };

  // A new model at version (1, 0) with phi_0 = theta_0 = `weights` (arena layout, pads zero, in backend memory). `spec`
  // has passed ValidateSpec. RESOURCE_EXHAUSTED when state does not fit.
  static absl::StatusOr<std::unique_ptr<Model>> Create(std::shared_ptr<const ModelSpec> spec,
                                                       std::shared_ptr<const Layout> layout,
                                                       std::unique_ptr<kernels::Buffer> weights, Environment environment);
  // A model that continues from `image` (a snapshot, or RestoreSnapshot) under `term` (> image.version.term). The
  // counter continues; sessions are gone, the client table stays.
  static absl::StatusOr<std::unique_ptr<Model>> FromImage(std::shared_ptr<const ModelVersion> image, uint64_t term,
                                                          Environment environment);
  // A model that continues as if it had never stopped: `image` was current() when `open` was open_state(), and its
  // term stays. `fetch` finds the members of the open rounds and the pushes that wait, as they were given to Apply,
  // one at a time; its errors are passed on. INVALID_ARGUMENT(OPEN_STATE_INVALID) when the parts, which come from
  // disk, do not fit each other; RESOURCE_EXHAUSTED when they do not fit into memory.
  using FetchPush = std::function<absl::StatusOr<Push>(const PushRef& push)>;
  static absl::StatusOr<std::unique_ptr<Model>> FromImage(std::shared_ptr<const ModelVersion> image,
                                                          const OpenState& open, const FetchPush& fetch,
                                                          Environment environment);
  ~Model();

  // Beside current(), between two calls. No payload is copied; microseconds per hundred sessions.
  OpenState open_state() const;

  // `failures` (here and below): of the recorded call that this one replays; its steps fail as they did then. A call
  // that returned an error then changed nothing and need not be replayed.

  absl::StatusOr<OpenedSession> Open(const OpenSession& request, TimePoint now);
  // FAILED_PRECONDITION(FENCED) for an older epoch; NOT_FOUND(NO_SESSION).
  absl::StatusOr<Effects> Close(const std::string& client_id, uint64_t epoch, TimePoint now,
                                const StepFailures& failures = {});
  absl::Status Heartbeat(const std::string& client_id, uint64_t epoch, const WorkerHealth& health, TimePoint now);
  absl::StatusOr<Effects> Evict(const std::string& client_id, TimePoint now, const StepFailures& failures = {});

  // Decides one complete push. A push ahead of its predecessor (sequence > last + 1) waits inside, at most 5 per client
  // (else FAILED_PRECONDITION(SEQUENCE_GAP) naming the expected number); its answer comes in a later call's Effects.
  // Malformed or fenced pushes are answered with `refusal` and do not consume their number.
  Effects Apply(Push push, TimePoint now, const StepFailures& failures = {});
  // Closes rounds whose deadline passed, ends the sessions `lapsed` (and then perhaps the round they blocked). Ids
  // without a live session are passed over; a lease that was renewed since Lapsed named it ends all the same.
  Effects Tick(TimePoint now, const std::vector<std::string>& lapsed, const StepFailures& failures = {});
  Effects Tick(TimePoint now) { return Tick(now, Lapsed(now)); }
  // Clients whose lease ended at or before `now`, ascending.
  std::vector<std::string> Lapsed(TimePoint now) const;
  // When Tick is needed next; nullopt: never without another call.
  std::optional<TimePoint> NextTick() const;

  // Changes numbers by dotted path (UpdateModelRequest.values); all or nothing; returns the new spec.
  absl::StatusOr<std::shared_ptr<const ModelSpec>> Update(const std::vector<std::pair<std::string, double>>& values,
                                                          uint64_t expected_settings_version);
  // RestoreSnapshot: state of `image` under `term` and a counter above both; fences every session, drops the open
  // round, keeps the newer of both client tables.
  absl::StatusOr<Effects> Restore(std::shared_ptr<const ModelVersion> image, uint64_t term);
  // ImportModel: new weights, state re-initialised, counter + 1. Its time is that of the latest call that decided.
  absl::StatusOr<Effects> Import(std::unique_ptr<kernels::Buffer> weights, const StepFailures& failures = {});
  // A recovery that lost nothing: the same counter and state under `term`, and every live session keeps its epoch and
  // its lease begins at `now`. The version with the new term is `committed`. INVALID_ARGUMENT(TERM_INVALID) unless
  // `term` is above the present one.
  absl::StatusOr<Effects> RaiseTerm(uint64_t term, TimePoint now);

  std::shared_ptr<const ModelVersion> current() const;
  std::vector<SessionInfo> Sessions(TimePoint now) const;
  // Who may open no session now, and for how long (ModelSpec::quarantine).
  std::vector<SessionInfo> Quarantined(TimePoint now) const;
  uint32_t live_trainers() const;
  // Why the open round is open, in words ("waits for worker-1; 1 of 2 workers, quorum 2"); "" with no open round.
  std::string WaitingFor() const;
  std::vector<std::string> WaitingForWorkers() const;
  // By fragment; {0} or {} in a model without.
  std::set<uint32_t> OpenRounds() const;
  // Host bytes of the state arrays, accumulator and staged pushes.
  uint64_t state_bytes() const;

 private:
  struct Impl;
  explicit Model(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace stepback
