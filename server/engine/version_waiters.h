// Who waits for a version newer than the one they have, of the model or of one fragment. Bounded; every wait
// ends with a version, an error or its Cancel.
//
// Threads: any. Callbacks run on the thread that wakes or ends them, without a lock held.
//
//   auto cancel = waiters->Add(after, std::nullopt, done);
//   ... waiters->Wake(pin);                        // after each publish
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "server/base/mutex.h"
#include "server/engine/engine.h"

namespace stepback {

class VersionWaiters : public std::enable_shared_from_this<VersionWaiters> {
 public:
  using DonePin = Done<std::shared_ptr<PinnedVersion>>;

  // See Handle::WaitNewer. RESOURCE_EXHAUSTED(QUEUE_FULL) through `done` when too many wait.
  std::unique_ptr<Cancel> Add(Version after, std::optional<uint64_t> rounds_dropped, DonePin done,
                              std::optional<uint32_t> fragment = std::nullopt);
  // Answers those who wait for something older than `pin`.
  void Wake(const std::shared_ptr<PinnedVersion>& pin);
  // The open round (`round`: by fragment; 0 without) came to nothing, and what it is of changed last at
  // `version`: ends the waits for it.
  void EndRound(Version version, const absl::Status& why, uint32_t round = 0);
  // How often that happened.
  uint64_t rounds_dropped() const;
  // Why the round that a push joined at `version`, after `rounds_dropped` such ends, came to nothing; OK: it
  // did not.
  absl::Status WhyDropped(Version version, uint64_t rounds_dropped, uint32_t round = 0) const;
  // Ends all waits, now and from now on.
  void End(const absl::Status& why);

 private:
  struct Waiter {
    Version after;
    std::optional<uint32_t> fragment;
    bool for_round = false;
    DonePin done;
  };
  class Withdrawal;
  std::vector<DonePin> Take(const std::function<bool(const Waiter&)>& wanted);
  void Withdraw(uint64_t id);

  // The last ones that came to nothing. Who was away for longer hears of the newer version instead.
  struct Drop {
    uint64_t number = 0;  // from 1
    uint32_t round = 0;
    Version version;
    absl::Status why;
  };
  absl::Status FindDrop(Version version, uint64_t rounds_dropped, uint32_t round) const REQUIRES(mu_);

  mutable Mutex mu_;
  uint64_t rounds_dropped_ GUARDED_BY(mu_) = 0;
  std::deque<Drop> drops_ GUARDED_BY(mu_);
  uint64_t next_id_ GUARDED_BY(mu_) = 1;
  absl::Status ended_ GUARDED_BY(mu_);
  std::map<uint64_t, Waiter> waiters_ GUARDED_BY(mu_);
};

}  // namespace stepback
