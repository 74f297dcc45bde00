#include "server/engine/intake.h"

#include <fmt/format.h>

#include <utility>

#include "server/base/errors.h"
#include "server/base/status_macros.h"
#include "server/engine/intake_actions.h"
#include "server/engine/push_assembly.h"
#include "server/engine/push_metrics.h"
#include "server/engine/upload_impl.h"

namespace stepback {
namespace {

Duration Seconds(double seconds) {
  return std::chrono::duration_cast<Duration>(std::chrono::duration<double>(seconds));
}

double SecondsBetween(TimePoint from, TimePoint to) {
  return std::chrono::duration<double>(to - from).count();
}

PushKey KeyOf(const PushHeader& header) { return {header.client_id, header.sequence}; }

// As a later delivery of the same push hears it.
PushAnswer AsDuplicate(PushAnswer answer) {
  if (answer.outcome != PushOutcome::kDuplicate) answer.first_outcome = answer.outcome;
  answer.outcome = PushOutcome::kDuplicate;
  return answer;
}

}  // namespace

// Takes back a StartUpload that has no answer yet.
class Intake::Withdrawal final : public Cancel {
 public:
  Withdrawal(std::weak_ptr<Intake> intake, PushKey key, uint64_t start_id)
      : intake_(std::move(intake)), key_(std::move(key)), start_id_(start_id) {}
  ~Withdrawal() override {
    if (const auto intake = intake_.lock()) intake->Withdraw(key_, start_id_);
  }

 private:
  const std::weak_ptr<Intake> intake_;
  const PushKey key_;
  const uint64_t start_id_;
};

Intake::Intake(Options options, Hooks hooks)
    : options_(std::move(options)),
      hooks_(std::move(hooks)),
      lease_nanos_(Seconds(options_.spec->lease_seconds).count()),
      sessions_(options_.spec->name) {}

std::unique_ptr<Cancel> Intake::Start(UploadRequest request, Done<UploadStart> done) {
  absl::StatusOr<CheckedUpload> checked = CheckUpload(std::move(request), *options_.spec, *options_.layout);
  if (!checked.ok()) {
    ReportRefusal(options_.metrics, checked.status());
    done(checked.status());
    return std::make_unique<Cancel>();
  }
  const PushKey key = KeyOf(checked->request.header);
  Actions actions;
  uint64_t id = 0;
  {
    MutexLock lock(&mu_);
    id = next_id_++;
    Place(*checked,
          {.id = id,
           .resume_offset = checked->request.resume_offset,
           .deadline = options_.clock->Now() + options_.admission_wait,
           .done = std::move(done)},
          &actions);
  }
  actions.Run();
  return std::make_unique<Withdrawal>(weak_from_this(), key, id);
}

void Intake::Recovered(const ClientTable& clients) {
  MutexLock lock(&mu_);
  sessions_.Merge(clients);
}

// The client's uploads of an older epoch are frozen: what they hold may be resumed, or is replaced.
void Intake::Opened(const OpenSession& request, const OpenedSession& opened) {
  Actions actions;
  {
    MutexLock lock(&mu_);
    sessions_.Opened(request.client_id, opened.epoch, opened.last_sequence, request.role);
    for (auto push = pushes_.lower_bound({request.client_id, 0});
         push != pushes_.end() && push->first.first == request.client_id;) {
      PendingPush& pending = push->second;
      const absl::Status fenced = Fenced(pending.header, opened.epoch);
      if (pending.header.epoch >= opened.epoch) {
        ++push;
      } else if (pending.state == PendingPush::State::kAdmitted &&
                 push->first.second > opened.last_sequence) {
        FreezeParts(&pending, fenced, &actions);
        ++push;
      } else {
        push = EndPush(push, fenced, &actions);
      }
    }
    AdmitQueued(&actions);
  }
  actions.Run();
}

void Intake::SessionEnded(const std::string& client_id, const absl::Status& why) {
  Actions actions;
  {
    MutexLock lock(&mu_);
    sessions_.Ended(client_id, why);
    EndPushesOf(client_id, why, &actions);
    AdmitQueued(&actions);
  }
  actions.Run();
}

void Intake::RoundChanged(uint64_t counter, Contributors contributed) {
  Actions actions;
  {
    MutexLock lock(&mu_);
    counter_ = counter;
    contributed_ = std::move(contributed);
    AdmitQueued(&actions);
  }
  actions.Run();
}

void Intake::Answer(const PushKey& key, uint64_t epoch, const PushAnswer& answer) {
  Actions actions;
  std::optional<PendingPush> push;
  {
    MutexLock lock(&mu_);
    if (answer.decided) sessions_.Decided(key.first, answer);
    const bool joined = answer.refusal.ok() &&
                        (answer.outcome == PushOutcome::kBuffered || answer.outcome == PushOutcome::kSkipped);
    if (joined && options_.spec->rounds.policy == RoundPolicy::kSync)
      contributed_.insert({key.first, answer.round});
    const auto found = pushes_.find(key);
    if (found != pushes_.end() && found->second.state == PendingPush::State::kSubmitted &&
        found->second.header.epoch == epoch) {
      push = std::move(found->second);
      pushes_.erase(found);
    }
    AdmitQueued(&actions);
  }
  if (push) {
    ReportPush(options_.model_metrics.get(), push->header, push->push_bytes,
               SecondsBetween(push->started, options_.clock->Now()), answer);
    const auto refused = [&] { return !answer.refusal.ok(); };
    for (Done<PushAnswer>& waiter : push->waiters) {
      actions.Answer<PushAnswer>(std::move(waiter),
                                 refused() ? absl::StatusOr<PushAnswer>(answer.refusal) : answer);
    }
    for (PendingStart& repeat : push->repeats) {
      actions.Answer<UploadStart>(std::move(repeat.done),
                                  refused() ? absl::StatusOr<UploadStart>(answer.refusal)
                                            : UploadStart{.duplicate = AsDuplicate(answer)});
    }
  }
  actions.Run();
}

void Intake::SetLease(double seconds) { lease_nanos_ = Seconds(seconds).count(); }

void Intake::End(const absl::Status& why) {
  Actions actions;
  {
    MutexLock lock(&mu_);
    if (ended_.ok()) ended_ = why;
    for (auto push = pushes_.begin(); push != pushes_.end();) {
      push = push->second.state == PendingPush::State::kSubmitted ? std::next(push)
                                                                  : EndPush(push, why, &actions);
    }
  }
  actions.Run();
}

void Intake::AbandonSubmitted(const absl::Status& why) {
  Actions actions;
  {
    MutexLock lock(&mu_);
    for (auto push = pushes_.begin(); push != pushes_.end();) push = EndPush(push, why, &actions);
  }
  actions.Run();
}

void Intake::SetRefusal(const absl::Status& why) {
  MutexLock lock(&mu_);
  refusal_ = why;
}

uint64_t Intake::DecidedSequence(const std::string& client_id) const {
  MutexLock lock(&mu_);
  return sessions_.decided_sequence(client_id);
}

std::vector<SessionOpened::Partial> Intake::PartialUploads(const std::string& client_id) const {
  std::vector<SessionOpened::Partial> partials;
  MutexLock lock(&mu_);
  for (auto push = pushes_.lower_bound({client_id, 0});
       push != pushes_.end() && push->first.first == client_id; ++push) {
    for (const auto& [index, part] : push->second.parts) {
      if (part.bytes == nullptr || part.owner != 0 || part.complete || part.bytes->received() == 0) continue;
      partials.push_back(
          {.sequence = push->first.second, .part = index, .bytes_received = part.bytes->received()});
    }
  }
  return partials;
}

Intake::Stats Intake::stats() const {
  MutexLock lock(&mu_);
  return {.used_bytes = used_bytes_,
          .budget_bytes = options_.budget_bytes,
          .waiting = queue_.size(),
          .pending = pushes_.size(),
          .pushes_max = kPushesMax};
}

// One part is whole; with the last one the push goes to the strand. Moves from `done` only when it returns
// OK.
absl::Status Intake::Finish(const PushHeader& header, uint32_t index, uint64_t owner,
                            Done<PushAnswer>* done) {
  PushHold hold;
  {
    MutexLock lock(&mu_);
    const auto found = pushes_.find(KeyOf(header));
    PendingPart* const part = found == pushes_.end() ? nullptr : found->second.Find(index);
    if (part == nullptr || part->owner != owner)
      return absl::CancelledError("the upload has been taken over");
    PendingPush& push = found->second;
    if (part->bytes->received() != part->layout->total_bytes()) {
      return Error(
          absl::StatusCode::kInvalidArgument, "SIZE_MISMATCH",
          fmt::format("model '{}': part {} ends after {} bytes, its header announced {}", options_.spec->name,
                      index, part->bytes->received(), part->layout->total_bytes()));
    }
    part->owner = 0;
    part->complete = true;
    push.waiters.push_back(std::move(*done));
    if (!push.IsComplete()) return absl::OkStatus();
    push.state = PendingPush::State::kSubmitted;
    hold.reservation = std::move(push.reservation);
    for (auto& [i, complete] : push.parts) hold.parts.push_back(std::move(complete.bytes));
  }
  Submit(header, std::move(hold));
  return absl::OkStatus();
}

void Intake::Submit(const PushHeader& header, PushHold hold) {
  Push push{.header = header};
  std::vector<AssemblyPart> parts;
  std::vector<ChunkSum> sums;
  for (const std::shared_ptr<StagedPart>& part : hold.parts) {
    parts.push_back({&part->layout(), part->spans()});
    push.finite = push.finite && part->finite();
    const std::vector<ChunkSum> of_part = part->sums();
    sums.insert(sums.end(), of_part.begin(), of_part.end());
  }
  uint64_t summed = 0, bytes = 0;
  for (const ChunkSum& sum : sums) summed += sum.bytes;
  for (const std::shared_ptr<StagedPart>& part : hold.parts) bytes += part->received();
  if (summed != bytes || !AreConsecutive(parts)) sums.clear();
  const absl::StatusOr<WireLayout> whole = WholePush(header, *options_.layout);
  absl::StatusOr<Payload> payload =
      whole.ok() ? AssemblePush(*whole, parts, std::make_shared<const PushHold>(std::move(hold)))
                 : whole.status();
  if (payload.ok()) {
    push.payload = *std::move(payload);
    if (hooks_.submit(std::move(push), std::move(sums))) return;
    payload = Error(absl::StatusCode::kUnavailable, "SHUTTING_DOWN", "the server is shutting down");
  }
  ReportRefusal(options_.metrics, payload.status());
  Answer(KeyOf(header), header.epoch,
         {.sequence = header.sequence, .refusal = payload.status(), .decided = false});
}

// An upload went away before it was whole: what it brought stays for a while.
void Intake::Park(const PushKey& key, uint32_t index, uint64_t owner) {
  Actions actions;
  {
    MutexLock lock(&mu_);
    const auto found = pushes_.find(key);
    PendingPart* const part = found == pushes_.end() ? nullptr : found->second.Find(index);
    if (part == nullptr || part->owner != owner) return;
    part->owner = 0;
    part->bytes->Freeze();
    Touch(&found->second);
    if (part->bytes->received() == 0) found->second.parts.erase(index);
    if (found->second.parts.empty()) EndPush(found, absl::CancelledError("no part is left"), &actions);
    AdmitQueued(&actions);
  }
  actions.Run();
}

void Intake::ShowLife(const PushHeader& header) {
  Actions actions;
  {
    MutexLock lock(&mu_);
    const auto found = pushes_.find(KeyOf(header));
    if (found != pushes_.end()) Touch(&found->second);
  }
  actions.Run();
  hooks_.renew(header.client_id, header.epoch, {});
}

absl::Status Intake::WhyDisplaced(const PushHeader& header) const {
  MutexLock lock(&mu_);
  if (!ended_.ok()) return ended_;
  RETURN_IF_ERROR(sessions_.CheckSession(header.client_id, header.epoch));
  return Error(
      absl::StatusCode::kAborted, "UPLOAD_REPLACED",
      fmt::format(
          "model '{}': push {} of client '{}' was taken over by another upload, or was silent for a lease",
          options_.spec->name, header.sequence, header.client_id));
}

void Intake::Withdraw(const PushKey& key, uint64_t start_id) {
  Actions actions;
  {
    MutexLock lock(&mu_);
    const auto found = pushes_.find(key);
    if (found == pushes_.end()) return;
    PendingPush& push = found->second;
    for (auto part = push.parts.begin(); part != push.parts.end();) {
      const bool withdrawn = part->second.start && part->second.start->id == start_id;
      if (withdrawn) actions.withdrawn.push_back(std::exchange(part->second.start, std::nullopt));
      part = withdrawn && part->second.bytes == nullptr ? push.parts.erase(part) : std::next(part);
    }
    for (auto repeat = push.repeats.begin(); repeat != push.repeats.end(); ++repeat) {
      if (repeat->id != start_id) continue;
      actions.withdrawn.push_back(std::move(*repeat));
      push.repeats.erase(repeat);
      break;
    }
    if (push.parts.empty() && push.state != PendingPush::State::kSubmitted) {
      EndPush(found, absl::CancelledError("no part is left"), &actions);
    }
    AdmitQueued(&actions);
  }
  actions.Run();
}

}  // namespace stepback
