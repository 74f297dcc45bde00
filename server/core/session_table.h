// Who is in a model right now: leases, epochs, which trainers an open round still waits for, and pushes that
// wait for their turn. Owned by a Model, used on its strand; time is an argument. Sequence numbers live in
// ClientLog.
//
//   table.Start(id, epoch, SessionRole::kTrainer, now + lease);
//   RETURN_IF_ERROR(table.Touch(id, epoch, now, lease));     // every call of the worker
//   table.awaited(round);                                    // live trainers not in that open round
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "server/base/clock.h"
#include "server/core/checked_push.h"
#include "server/core/local_steps.h"
#include "server/core/nonfinite_run.h"
#include "server/core/push.h"

namespace stepback {

enum class SessionEnd : uint8_t { kLive, kClosed, kExpired, kEvicted, kRolledBack, kQuarantined };

struct HeldPush {
  CheckedPush checked;
  TimePoint arrived;
};

struct Session {
  uint64_t epoch = 0;
  SessionRole role = SessionRole::kTrainer;
  SessionEnd end = SessionEnd::kLive;
  TimePoint lease_end;
  std::set<uint32_t> contributed;   // to these rounds (by fragment; 0 without), which are open
  std::optional<uint32_t> excused;  // from this round: its push for it waits for versions that others make
  // Since then the client's pushes wait for versions that a recovery lost, without one of them having come
  // back. It outlives the session: who opens another one and sends its push again does not begin the wait
  // anew.
  std::optional<TimePoint> base_wait;
  // Both outlive the session too, until the client opens one after its quarantine.
  NonfiniteRun nonfinite;
  std::optional<TimePoint> quarantined_since;
  std::map<uint64_t, HeldPush> held;  // by sequence; at most kPushesAhead + 1
  uint64_t staleness = 0;
  WorkerPace pace;
  WorkerHealth health;

  bool live() const { return end == SessionEnd::kLive; }
  bool trains() const { return live() && role == SessionRole::kTrainer; }
  bool awaited(uint32_t round) const { return trains() && !contributed.contains(round) && excused != round; }
};

class SessionTable {
 public:
  // `rounds`: that may be open at once. `ended_by_name`: a session whose lease has ended goes on until End
  // (durability PUSH: what ends it is an entry of the log).
  explicit SessionTable(std::string model_name, uint32_t rounds = 1, bool ended_by_name = false)
      : model_name_(std::move(model_name)), ended_by_name_(ended_by_name), awaited_(rounds) {}

  // A new session in place of any earlier one of the client, whose held pushes are returned.
  std::vector<HeldPush> Start(const std::string& id, uint64_t epoch, SessionRole role, TimePoint lease_end);
  // Ends a live session; returns its held pushes.
  std::vector<HeldPush> End(const std::string& id, SessionEnd how);
  // Ids of live sessions whose lease ended at or before `now`, ascending.
  std::vector<std::string> Lapsed(TimePoint now) const;
  // Finds the earliest end of a lease again, if the known one is not after `now`.
  void FindLeaseCheck(TimePoint now);
  // Every lease of a live session ends at `lease_end`.
  void RenewAll(TimePoint lease_end);
  // A session as it was, in place of none; what it holds comes by Hold.
  void Restore(const std::string& id, Session session);

  // OK: live, and the newest of its client. NOT_FOUND(NO_SESSION), FAILED_PRECONDITION(FENCED,
  // SESSION_EXPIRED), ABORTED(ROLLED_BACK).
  absl::Status Check(const std::string& id, uint64_t epoch) const;
  // The session speaks: its lease is renewed, unless it has ended.
  absl::Status Touch(const std::string& id, uint64_t epoch, TimePoint now, Duration lease);

  // nullptr when the client has no live session.
  const Session* Find(const std::string& id) const;
  // Ended ones too; ascending ids.
  const std::map<std::string, Session>& all() const { return sessions_; }
  // Drops what is left of a client that has no live session.
  void Forget(const std::string& id) { sessions_.erase(id); }

  void Hold(const std::string& id, HeldPush push);
  HeldPush TakeHeld(const std::string& id, uint64_t sequence);
  const std::set<std::string>& holders() const { return holders_; }
  uint64_t held_bytes() const { return held_bytes_; }

  void SetContributed(const std::string& id, uint32_t round, bool contributed);
  void SetExcused(const std::string& id, std::optional<uint32_t> round);
  // See Session::base_wait. Keeps an earlier time; nullopt: a lost version that the client built on is back.
  void SetBaseWait(const std::string& id, std::optional<TimePoint> since);
  // Another recovery may have lost other versions.
  void ForgetBaseWaits();
  void SetNonfinite(const std::string& id, NonfiniteRun run) { sessions_.at(id).nonfinite = run; }
  void SetQuarantined(const std::string& id, TimePoint since) { sessions_.at(id).quarantined_since = since; }
  // nullptr: it is in none.
  const TimePoint* quarantined_since(const std::string& id) const;
  // Nobody is in quarantine or on the way there: the weights were to blame.
  void ForgiveAll();
  void SetStaleness(const std::string& id, uint64_t staleness);
  void SetHealth(const std::string& id, const WorkerHealth& health);
  // A push of the client came at `at`, with so many local steps behind it.
  void SetPushed(const std::string& id, uint64_t local_steps, TimePoint at);

  // The largest pace of the live trainers; 0: none is known.
  double fastest() const;
  uint32_t live_trainers() const { return live_trainers_; }
  uint32_t awaited(uint32_t round) const { return static_cast<uint32_t>(awaited_[round].size()); }
  const std::set<std::string>& awaited_ids(uint32_t round) const { return awaited_[round]; }
  // No lease ends before this; TimePoint::max() without sessions.
  TimePoint lease_check_at() const { return lease_check_at_; }

 private:
  // Keeps what is derived from the sessions right around every change of one.
  template <typename Change>
  void Edit(const std::string& id, Change change);
  std::vector<HeldPush> TakeAllHeld(const std::string& id, Session* session);

  std::string model_name_;
  bool ended_by_name_;
  std::map<std::string, Session> sessions_;  // ended ones too: they tell a late caller what happened
  std::set<std::string> holders_;            // with held pushes
  uint64_t held_bytes_ = 0;
  uint32_t live_trainers_ = 0;
  std::vector<std::set<std::string>> awaited_;  // by round
  TimePoint lease_check_at_ = TimePoint::max();
};

}  // namespace stepback
