// Who may send, in which order, and who has waited too long.
#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <memory>
#include <utility>

#include "server/base/errors.h"
#include "server/base/failpoint.h"
#include "server/engine/intake.h"
#include "server/engine/intake_actions.h"
#include "server/engine/push_metrics.h"

namespace stepback {

// In order of arrival, except that a push whose turn has not come lets others pass. Admitting one may let
// another's predecessors be complete, so the scan starts again after each.
void Intake::AdmitQueued(Actions* actions) {
  for (auto next = queue_.begin(); next != queue_.end();) {
    PendingPush& push = pushes_.at(next->second);
    const bool early = IsEarly(push);
    if (early ? PredecessorsAreIn(push) && HasEarlyRoom(push.push_bytes)
              : MakeRoom(push.push_bytes, actions)) {
      Admit(&push, actions);
      next = queue_.begin();
    } else if (early) {
      ++next;
    } else {
      return;
    }
  }
}

// Whole, it would wait in the core: for its predecessor, for the next round, or for versions that replays
// bring back.
bool Intake::IsEarly(const PendingPush& push) const {
  const PushHeader& header = push.header;
  return header.sequence > sessions_.last_sequence(header.client_id) + 1 ||
         contributed_.contains({header.client_id, header.round()}) || header.base.counter > counter_;
}

bool Intake::HasEarlyRoom(uint64_t bytes) const {
  return early_bytes_ + bytes <= options_.early_bytes_max && used_bytes_ + bytes <= options_.budget_bytes;
}

void Intake::Admit(PendingPush* push, Actions* actions) {
  FAILPOINT("push.before_reserve");
  queue_.erase(push->arrival);
  const bool early = IsEarly(*push);
  used_bytes_ += push->push_bytes;
  if (early) early_bytes_ += push->push_bytes;
  push->reservation = std::make_shared<Reservation>(
      push->push_bytes, early, [intake = weak_from_this()](uint64_t bytes, bool was_early) {
        if (const auto self = intake.lock()) self->GiveBack(bytes, was_early);
      });
  push->state = PendingPush::State::kAdmitted;
  FAILPOINT("push.after_reserve");
  for (auto& [index, part] : push->parts) {
    if (part.start) OpenPart(push, index, actions);
  }
}

// A parked predecessor does not count: it may be dropped for room, and then this push would hold memory for
// nothing.
bool Intake::PredecessorsAreIn(const PendingPush& push) const {
  for (uint64_t s = sessions_.last_sequence(push.header.client_id) + 1; s < push.header.sequence; ++s) {
    const auto found = pushes_.find({push.header.client_id, s});
    if (found == pushes_.end() || found->second.state == PendingPush::State::kQueued ||
        found->second.IsParked())
      return false;
  }
  return true;
}

bool Intake::MakeRoom(uint64_t bytes, Actions* actions) {
  uint64_t parked = 0;
  for (const auto& [key, push] : pushes_) parked += push.IsParked() ? push.push_bytes : 0;
  if (used_bytes_ - parked + bytes > options_.budget_bytes) return false;
  while (used_bytes_ + bytes > options_.budget_bytes) {
    EndPush(OldestParked(), absl::CancelledError("dropped for room"), actions);
  }
  return true;
}

Intake::Pushes::iterator Intake::OldestParked() {
  auto oldest = pushes_.end();
  for (auto push = pushes_.begin(); push != pushes_.end(); ++push) {
    if (!push->second.IsParked()) continue;
    if (oldest == pushes_.end() || push->second.expires < oldest->second.expires) oldest = push;
  }
  return oldest;
}

absl::Status Intake::WhyNotAdmitted(const PendingPush& push) const {
  const std::string& model = options_.spec->name;
  if (!PredecessorsAreIn(push)) {
    const uint64_t next = sessions_.last_sequence(push.header.client_id) + 1;
    return Error(absl::StatusCode::kFailedPrecondition, "SEQUENCE_GAP",
                 fmt::format("model '{}': push {} of client '{}' waited for push {}, which did not come",
                             model, push.header.sequence, push.header.client_id, next),
                 {{"expected", std::to_string(next)}});
  }
  const double seconds = std::chrono::duration<double>(options_.admission_wait).count();
  return WithRetryAfter(
      Error(absl::StatusCode::kResourceExhausted, "STAGING_FULL",
            fmt::format(
                "model '{}': {} of {} staging bytes are in use, a push of {} bytes found no room for {} s",
                model, used_bytes_, options_.budget_bytes, push.push_bytes, seconds),
            {{"used_bytes", std::to_string(used_bytes_)},
             {"budget_bytes", std::to_string(options_.budget_bytes)}}),
      std::max(1.0, seconds / 10));
}

void Intake::FailOverdueStarts(PendingPush* push, TimePoint now, Actions* actions) {
  for (auto part = push->parts.begin(); part != push->parts.end();) {
    const bool overdue = part->second.start && part->second.start->deadline <= now;
    if (overdue) {
      const absl::Status why = WhyNotAdmitted(*push);
      ReportRefusal(options_.metrics, why);
      actions->Answer<UploadStart>(std::move(part->second.start->done), why);
    }
    part = overdue ? push->parts.erase(part) : std::next(part);
  }
}

void Intake::Expire(TimePoint now) {
  Actions actions;
  {
    MutexLock lock(&mu_);
    armed_.reset();
    for (auto it = pushes_.begin(); it != pushes_.end();) {
      PendingPush& push = it->second;
      if (push.state == PendingPush::State::kQueued) FailOverdueStarts(&push, now, &actions);
      const bool silent = push.state == PendingPush::State::kAdmitted && push.expires <= now;
      it = push.parts.empty() || silent
               ? EndPush(
                     it,
                     Error(absl::StatusCode::kAborted, "UPLOAD_EXPIRED",
                           fmt::format("model '{}': the other parts of push {} did not come within a lease",
                                       options_.spec->name, push.header.sequence)),
                     &actions)
               : std::next(it);
    }
    for (const auto& [key, push] : pushes_) {
      if (push.state == PendingPush::State::kAdmitted) WakeAt(push.expires);
      for (const auto& [index, part] : push.parts) {
        if (part.start) WakeAt(part.start->deadline);
      }
    }
    AdmitQueued(&actions);
  }
  actions.Run();
}

void Intake::Touch(PendingPush* push) {
  push->expires = options_.clock->Now() + Duration(lease_nanos_.load());
  WakeAt(push->expires);
}

// A later time than the one asked for needs nothing: Expire asks again for what is left.
void Intake::WakeAt(TimePoint when) {
  if (armed_ && *armed_ <= when) return;
  armed_ = when;
  hooks_.wake_at(when);
}

void Intake::ReleaseBytes(uint64_t bytes, bool early) {
  used_bytes_ -= bytes;
  if (early) early_bytes_ -= bytes;
}

void Intake::GiveBack(uint64_t bytes, bool early) {
  auto actions = std::make_shared<Actions>();
  {
    MutexLock lock(&mu_);
    ReleaseBytes(bytes, early);
    AdmitQueued(actions.get());
  }
  if (actions->tasks.empty() && actions->dropped.empty()) return;
  // The last reference to a payload goes anywhere, under anybody's lock.
  hooks_.defer([self = shared_from_this(), actions] { actions->Run(); });
}

Intake::Pushes::iterator Intake::EndPush(Pushes::iterator it, const absl::Status& why, Actions* actions) {
  PendingPush& push = it->second;
  if (push.state == PendingPush::State::kQueued) queue_.erase(push.arrival);
  if (push.reservation != nullptr) ReleaseBytes(push.reservation->Take(), push.reservation->early());
  for (auto& [index, part] : push.parts) {
    if (part.start) actions->Answer<UploadStart>(std::move(part.start->done), why);
    if (part.bytes != nullptr) actions->dropped.push_back(std::move(part.bytes));
  }
  for (Done<PushAnswer>& waiter : push.waiters) actions->Answer<PushAnswer>(std::move(waiter), why);
  for (PendingStart& repeat : push.repeats) actions->Answer<UploadStart>(std::move(repeat.done), why);
  return pushes_.erase(it);
}

void Intake::FreezeParts(PendingPush* push, const absl::Status& why, Actions* actions) {
  for (auto& [index, part] : push->parts) {
    if (part.bytes != nullptr) part.bytes->Freeze();
    part.owner = 0;
    part.complete = false;
  }
  for (Done<PushAnswer>& waiter : std::exchange(push->waiters, {}))
    actions->Answer<PushAnswer>(std::move(waiter), why);
  Touch(push);
}

void Intake::EndPushesOf(const std::string& client_id, const absl::Status& why, Actions* actions) {
  for (auto push = pushes_.lower_bound({client_id, 0});
       push != pushes_.end() && push->first.first == client_id;) {
    push = EndPush(push, why, actions);
  }
}

absl::Status Intake::Fenced(const PushHeader& header, uint64_t epoch) const {
  return Error(absl::StatusCode::kFailedPrecondition, "FENCED",
               fmt::format("model '{}': epoch {} of client '{}' is fenced, the newest is {}",
                           options_.spec->name, header.epoch, header.client_id, epoch),
               {{"epoch", std::to_string(epoch)}});
}

}  // namespace stepback
