#include "server/core/session_table.h"

#include <fmt/format.h>

#include <algorithm>

#include "server/base/check.h"
#include "server/base/errors.h"
#include "server/base/failpoint.h"
#include "server/base/status_macros.h"

namespace stepback {
namespace {

absl::Status EndedStatus(SessionEnd how, const std::string& who) {
  switch (how) {
    case SessionEnd::kExpired:
      return Error(absl::StatusCode::kFailedPrecondition, "SESSION_EXPIRED",
                   who + ": its lease ended without a call or heartbeat; open a new session");
    case SessionEnd::kEvicted:
      return Error(absl::StatusCode::kFailedPrecondition, "FENCED",
                   who + ": evicted by an operator; open a new session");
    case SessionEnd::kRolledBack:
      return Error(
          absl::StatusCode::kAborted, "ROLLED_BACK",
          fmt::format("the model was restored to an earlier state under {}; open a new session and pull",
                      who));
    case SessionEnd::kQuarantined:
      return Error(absl::StatusCode::kFailedPrecondition, "QUARANTINED",
                   who + ": ended, because its pushes were not finite; open a new session after the quarantine");
    case SessionEnd::kLive:
    case SessionEnd::kClosed:
      break;
  }
  return Error(absl::StatusCode::kNotFound, "NO_SESSION", who + " is closed");
}

}  // namespace

template <typename Change>
void SessionTable::Edit(const std::string& id, Change change) {
  Session& session = sessions_.at(id);
  live_trainers_ -= session.trains();
  change(&session);
  live_trainers_ += session.trains();
  for (uint32_t round = 0; round < awaited_.size(); ++round) {
    session.awaited(round) ? void(awaited_[round].insert(id)) : void(awaited_[round].erase(id));
  }
}

std::vector<HeldPush> SessionTable::Start(const std::string& id, uint64_t epoch, SessionRole role,
                                          TimePoint lease_end) {
  const auto [entry, added] = sessions_.try_emplace(id, Session{.end = SessionEnd::kClosed});
  std::vector<HeldPush> held = TakeAllHeld(id, &entry->second);
  Edit(id, [&](Session* session) {
    // A contribution belongs to the client: a restarted worker does not contribute twice to one round.
    *session = Session{.epoch = epoch,
                       .role = role,
                       .lease_end = lease_end,
                       .contributed = std::move(session->contributed),
                       .base_wait = session->base_wait,
                       .nonfinite = session->quarantined_since ? NonfiniteRun() : session->nonfinite};
  });
  lease_check_at_ = std::min(lease_check_at_, lease_end);
  return held;
}

std::vector<HeldPush> SessionTable::End(const std::string& id, SessionEnd how) {
  Edit(id, [how](Session* session) { session->end = how; });
  return TakeAllHeld(id, &sessions_.at(id));
}

const TimePoint* SessionTable::quarantined_since(const std::string& id) const {
  const auto found = sessions_.find(id);
  const bool known = found != sessions_.end() && found->second.quarantined_since.has_value();
  return known ? &*found->second.quarantined_since : nullptr;
}

void SessionTable::ForgiveAll() {
  for (auto& [id, session] : sessions_) {
    session.nonfinite = {};
    session.quarantined_since.reset();
  }
}

std::vector<std::string> SessionTable::Lapsed(TimePoint now) const {
  std::vector<std::string> lapsed;
  if (now < lease_check_at_) return lapsed;
  for (const auto& [id, session] : sessions_) {
    if (session.live() && session.lease_end <= now) lapsed.push_back(id);
  }
  return lapsed;
}

void SessionTable::FindLeaseCheck(TimePoint now) {
  if (now < lease_check_at_) return;
  lease_check_at_ = TimePoint::max();
  for (const auto& [id, session] : sessions_) {
    if (session.live()) lease_check_at_ = std::min(lease_check_at_, session.lease_end);
  }
}

void SessionTable::RenewAll(TimePoint lease_end) {
  for (auto& [id, session] : sessions_) {
    if (session.live()) session.lease_end = lease_end;
  }
  FindLeaseCheck(TimePoint::max());
}

void SessionTable::Restore(const std::string& id, Session session) {
  sessions_.try_emplace(id, Session{.end = SessionEnd::kClosed});
  if (session.live()) lease_check_at_ = std::min(lease_check_at_, session.lease_end);
  Edit(id, [&session](Session* place) { *place = std::move(session); });
}

absl::Status SessionTable::Check(const std::string& id, uint64_t epoch) const {
  const auto found = sessions_.find(id);
  const auto who = [&] {
    return fmt::format("model '{}': session of client '{}', epoch {}", model_name_, id, epoch);
  };
  if (found == sessions_.end() || epoch > found->second.epoch) {
    return Error(absl::StatusCode::kNotFound, "NO_SESSION", who() + " does not exist");
  }
  const Session& session = found->second;
  if (epoch < session.epoch && !FAILPOINT("plant.unfenced_epoch")) {
    return Error(absl::StatusCode::kFailedPrecondition, "FENCED",
                 fmt::format("{} is fenced: the newest epoch is {}", who(), session.epoch),
                 {{"epoch", std::to_string(session.epoch)}});
  }
  return session.live() ? absl::OkStatus() : EndedStatus(session.end, who());
}

absl::Status SessionTable::Touch(const std::string& id, uint64_t epoch, TimePoint now, Duration lease) {
  RETURN_IF_ERROR(Check(id, epoch));
  Session& session = sessions_.at(id);
  if (session.lease_end <= now && !ended_by_name_) {  // its end is recorded by the next Tick
    return EndedStatus(SessionEnd::kExpired,
                       fmt::format("model '{}': session of client '{}', epoch {}", model_name_, id, epoch));
  }
  session.lease_end = now + lease;
  lease_check_at_ = std::min(lease_check_at_, session.lease_end);
  return absl::OkStatus();
}

const Session* SessionTable::Find(const std::string& id) const {
  const auto found = sessions_.find(id);
  return found != sessions_.end() && found->second.live() ? &found->second : nullptr;
}

void SessionTable::Hold(const std::string& id, HeldPush push) {
  held_bytes_ += push.checked.push.payload.size();
  const uint64_t sequence = push.checked.push.header.sequence;
  sessions_.at(id).held.emplace(sequence, std::move(push));
  holders_.insert(id);
}

HeldPush SessionTable::TakeHeld(const std::string& id, uint64_t sequence) {
  Session& session = sessions_.at(id);
  auto node = session.held.extract(sequence);
  SB_CHECK(!node.empty(), "%s", id.c_str());
  held_bytes_ -= node.mapped().checked.push.payload.size();
  if (session.held.empty()) holders_.erase(id);
  return std::move(node.mapped());
}

std::vector<HeldPush> SessionTable::TakeAllHeld(const std::string& id, Session* session) {
  std::vector<HeldPush> held;
  while (!session->held.empty()) held.push_back(TakeHeld(id, session->held.begin()->first));
  return held;
}

void SessionTable::SetContributed(const std::string& id, uint32_t round, bool contributed) {
  Edit(id, [round, contributed](Session* session) {
    contributed ? void(session->contributed.insert(round)) : void(session->contributed.erase(round));
  });
}

void SessionTable::SetExcused(const std::string& id, std::optional<uint32_t> round) {
  Edit(id, [round](Session* session) { session->excused = round; });
}

void SessionTable::SetBaseWait(const std::string& id, std::optional<TimePoint> since) {
  std::optional<TimePoint>& wait = sessions_.at(id).base_wait;
  if (!wait || !since) wait = since;
}

void SessionTable::ForgetBaseWaits() {
  for (auto& [id, session] : sessions_) session.base_wait.reset();
}

void SessionTable::SetStaleness(const std::string& id, uint64_t staleness) {
  sessions_.at(id).staleness = staleness;
}

void SessionTable::SetHealth(const std::string& id, const WorkerHealth& health) {
  sessions_.at(id).health = health;
}

void SessionTable::SetPushed(const std::string& id, uint64_t local_steps, TimePoint at) {
  sessions_.at(id).pace.Pushed(local_steps, at);
}

double SessionTable::fastest() const {
  double fastest = 0;
  for (const auto& [id, session] : sessions_) {
    if (session.trains()) fastest = std::max(fastest, session.pace.steps_per_second);
  }
  return fastest;
}

}  // namespace stepback
