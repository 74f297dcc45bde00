// Who waits for a version newer than the one they have. Bounded; every wait ends with a version, an error or
// its Cancel.
//
// Threads: any. Callbacks run on the thread that wakes or ends them, without a lock held.
//
//   auto cancel = waiters->Add(after, /*round_dropped_ends=*/false, done);
//   ... waiters->Wake(pin);                        // after each publish
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "server/base/mutex.h"
#include "server/engine/engine.h"

namespace stepback {

class VersionWaiters : public std::enable_shared_from_this<VersionWaiters> {
 public:
  using DonePin = Done<std::shared_ptr<PinnedVersion>>;

  // RESOURCE_EXHAUSTED(QUEUE_FULL) through `done` when too many wait.
  std::unique_ptr<Cancel> Add(Version after, bool round_dropped_ends, DonePin done);
  // Answers those who wait for something older than `pin`.
  void Wake(const std::shared_ptr<PinnedVersion>& pin);
  // The open round came to nothing: ends the waits that asked for that.
  void EndRound(const absl::Status& why);
  // Ends all waits, now and from now on.
  void End(const absl::Status& why);

 private:
  struct Waiter {
    Version after;
    bool round_dropped_ends = false;
    DonePin done;
  };
  class Withdrawal;
  std::vector<DonePin> Take(const std::function<bool(const Waiter&)>& wanted);
  void Withdraw(uint64_t id);

  Mutex mu_;
  uint64_t next_id_ GUARDED_BY(mu_) = 1;
  absl::Status ended_ GUARDED_BY(mu_);
  std::map<uint64_t, Waiter> waiters_ GUARDED_BY(mu_);
};

}  // namespace stepback
