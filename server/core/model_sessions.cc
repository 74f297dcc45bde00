// Sessions of a model: who joins, leaves, is thrown out or falls silent, and what becomes of their waiting
// pushes.
#include <fmt/format.h>

#include <algorithm>

#include "server/base/errors.h"
#include "server/base/status_macros.h"
#include "server/core/model_impl.h"
#include "server/core/seconds.h"

namespace stepback {
namespace {

constexpr int kEpochBits = 20;  // sessions of one client in one term

const char* EventOf(SessionEnd how) {
  switch (how) {
    case SessionEnd::kExpired:
      return "session_expired";
    case SessionEnd::kEvicted:
      return "session_evicted";
    case SessionEnd::kRolledBack:
      return "session_fenced";
    case SessionEnd::kQuarantined:
      return "session_quarantined";
    default:
      return "session_closed";
  }
}

}  // namespace

Duration Model::Impl::lease() const { return FromSeconds(spec().lease_seconds); }

absl::StatusOr<OpenedSession> Model::Open(const OpenSession& request, TimePoint now) {
  return request.attach ? impl_->Attach(request, now) : impl_->Start(request, now);
}

absl::StatusOr<OpenedSession> Model::Impl::Attach(const OpenSession& request, TimePoint now) {
  const uint64_t epoch = log.epoch(request.client_id);
  RETURN_IF_ERROR(sessions.Touch(request.client_id, epoch, now, lease()));
  return OpenedSession{
      .epoch = epoch,
      .last_sequence = log.last_sequence(request.client_id),
      .local_steps = LocalStepsOf(request.client_id, SyncsOf(*state->current()), *state->current()),
      .missing = log.missing(request.client_id)};
}

// Epochs rise over recoveries too, whatever the recovered image remembers: the term is their upper part, so a
// session of a lost stretch of history can never pass for one that was opened after it.
absl::StatusOr<OpenedSession> Model::Impl::Start(const OpenSession& request, TimePoint now) {
  const std::string& id = request.client_id;
  RETURN_IF_ERROR(CheckQuarantine(id, now));
  RETURN_IF_ERROR(log.Admit(id, [this](const std::string& other) {
    if (sessions.Find(other) != nullptr) return false;
    sessions.Forget(other);
    return true;
  }));
  last_now = std::max(last_now, now);
  const uint64_t epoch = std::max(log.epoch(id), (version().term - 1) << kEpochBits) + 1;
  log.SetEpoch(id, epoch);
  RefuseHeld(sessions.Start(id, epoch, request.role, now + lease()), &outbox);
  reevaluate = reevaluate || AnyOpen();  // a trainer may have come back as a reader
  return OpenedSession{.epoch = epoch,
                       .last_sequence = log.last_sequence(id),
                       .local_steps = LocalStepsOf(id, SyncsOf(*state->current()), *state->current()),
                       .missing = log.missing(id)};
}

absl::StatusOr<Effects> Model::Close(const std::string& client_id, uint64_t epoch, TimePoint now,
                                     const StepFailures& failures) {
  RETURN_IF_ERROR(impl_->sessions.Touch(client_id, epoch, now, impl_->lease()));
  Effects effects = impl_->Begin(now, failures);
  impl_->EndSession(client_id, SessionEnd::kClosed, &effects);
  impl_->Settle(now, &effects);
  return effects;
}

absl::StatusOr<Effects> Model::Evict(const std::string& client_id, TimePoint now,
                                     const StepFailures& failures) {
  if (impl_->sessions.Find(client_id) == nullptr) {
    return Error(absl::StatusCode::kNotFound, "NO_SESSION",
                 fmt::format("model '{}': client '{}' has no session", impl_->spec().name, client_id));
  }
  Effects effects = impl_->Begin(now, failures);
  impl_->EndSession(client_id, SessionEnd::kEvicted, &effects);
  impl_->Settle(now, &effects);
  return effects;
}

absl::Status Model::Heartbeat(const std::string& client_id, uint64_t epoch, const WorkerHealth& health,
                              TimePoint now) {
  RETURN_IF_ERROR(impl_->sessions.Touch(client_id, epoch, now, impl_->lease()));
  impl_->sessions.SetHealth(client_id, health);
  return absl::OkStatus();
}

void Model::Impl::EndSession(const std::string& id, SessionEnd how, Effects* effects) {
  const uint64_t epoch = sessions.Find(id)->epoch;
  RefuseHeld(sessions.End(id, how), effects);
  reevaluate = true;
  effects->events.push_back({EventOf(how),
                             fmt::format("session of client '{}' ended", id),
                             {{"client", id}, {"epoch", std::to_string(epoch)}}});
  if (how != SessionEnd::kClosed) effects->ended_sessions.push_back(id);
}

void Model::Impl::CountNonfinite(const PushHeader& header, TimePoint now, Effects* effects) {
  const std::string& id = header.client_id;
  NonfiniteRun run = sessions.Find(id)->nonfinite;
  ++(header.loss_scale == 1 ? run.refused : run.overflows);
  sessions.SetNonfinite(id, run);
  if (!run.TooLong(spec().quarantine)) return;
  sessions.SetQuarantined(id, last_now);
  EndSession(id, SessionEnd::kQuarantined, effects);
  effects->events.back().reason =
      fmt::format("client '{}' may open no session for {} s: {} pushes in a row held a NaN or an infinity, and "
                  "{} overflowed", id, ToSeconds(QuarantineLeft(id, now)), run.refused, run.overflows);
}

// By the settings of now: whoever lowers them lets the waiting ones in.
Duration Model::Impl::QuarantineLeft(const std::string& id, TimePoint now) const {
  const TimePoint* const since = sessions.quarantined_since(id);
  if (since == nullptr || spec().quarantine.after == 0) return Duration::zero();
  return std::max(Duration::zero(), *since + FromSeconds(spec().quarantine.seconds) - now);
}

absl::Status Model::Impl::CheckQuarantine(const std::string& id, TimePoint now) const {
  const Duration left = QuarantineLeft(id, now);
  if (left == Duration::zero()) return absl::OkStatus();
  const std::string seconds = fmt::format("{:.1f}", ToSeconds(left));
  return Error(absl::StatusCode::kFailedPrecondition, "QUARANTINED",
               fmt::format("model '{}': client '{}' may open no session for {} s more, because its last pushes "
                           "were not finite (quarantine of {} s)",
                           spec().name, id, seconds, spec().quarantine.seconds),
               {{"seconds", seconds}});
}

void Model::Impl::EndLapsed(const std::vector<std::string>& lapsed, TimePoint now, Effects* effects) {
  for (const std::string& id : lapsed) {
    if (sessions.Find(id) != nullptr) EndSession(id, SessionEnd::kExpired, effects);
  }
  sessions.FindLeaseCheck(now);
}

void Model::Impl::EndAllSessions(Effects* effects) {
  for (const auto& [id, session] : sessions.all()) {
    if (session.live()) EndSession(id, SessionEnd::kRolledBack, effects);
  }
}

// Complete pushes whose turn never came: undecided, so their numbers are free.
void Model::Impl::RefuseHeld(std::vector<HeldPush> held, Effects* effects) {
  for (const HeldPush& push : held) {
    const PushHeader& header = push.checked.push.header;
    Refuse(header, sessions.Check(header.client_id, header.epoch), effects);
  }
}

}  // namespace stepback
