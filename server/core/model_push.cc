// The life of a push inside a model: received, admitted in its turn, brought into the round, answered.
#include <fmt/format.h>

#include "server/base/errors.h"
#include "server/base/status_macros.h"
#include "server/core/model_impl.h"
#include "server/core/seconds.h"
#include "server/core/sync_period.h"

namespace stepback {
namespace {

// The outer steps that the push's schedule goes by.
uint64_t StepsFor(const PushHeader& header, const ModelVersion& at) {
  return header.round() < at.fragments.size() ? at.fragments[header.round()].outer_steps : at.outer_steps;
}

}  // namespace

// --- arrival ---

void Model::Impl::Receive(Push push, TimePoint now, Effects* effects) {
  const PushHeader header = push.header;
  if (absl::Status sender = CheckSender(header, now); !sender.ok()) return Refuse(header, sender, effects);
  const Admission admission = Admit(header, push.finite, AdmitStateOf(header));
  if (admission.verdict == Verdict::kDuplicate) {
    effects->answers.push_back({header.client_id, header.epoch, header.sequence, Duplicate(header)});
    return;
  }
  const bool out_of_line = header.sequence != log.last_sequence(header.client_id) + 1 &&
                           !log.IsMissing(header.client_id, header.sequence);
  if (admission.verdict == Verdict::kRefuse && out_of_line) return Refuse(header, admission.status, effects);
  // A repeated delivery of a push that waits: both get the one answer.
  if (sessions.Find(header.client_id)->held.contains(header.sequence)) return;
  absl::StatusOr<CheckedPush> checked = CheckPush(spec(), state->layout(), std::move(push));
  if (!checked.ok()) return Refuse(header, checked.status(), effects);
  sessions.Hold(header.client_id, {*std::move(checked), now});
  ready.insert(header.client_id);
}

absl::Status Model::Impl::CheckSender(const PushHeader& header, TimePoint now) {
  RETURN_IF_ERROR(sessions.Touch(header.client_id, header.epoch, now, lease()));
  if (sessions.Find(header.client_id)->role == SessionRole::kTrainer) return absl::OkStatus();
  return Error(absl::StatusCode::kFailedPrecondition, "READER_SESSION",
               fmt::format("model '{}': client '{}' opened its session as a reader and cannot push",
                           spec().name, header.client_id));
}

// --- turns ---

void Model::Impl::DecideHeads(const std::string& id, TimePoint now, Effects* effects) {
  for (const Session* session = sessions.Find(id); session != nullptr && !session->held.empty();
       session = sessions.Find(id)) {
    const auto& [sequence, head] = *session->held.begin();
    const Admission admission = AdmitHead(head, now);
    if (admission.verdict == Verdict::kWait) {
      const uint32_t number = head.checked.push.header.round();
      const auto excused = admission.base_ahead ? std::optional(number) : std::nullopt;
      if (session->excused != excused) reevaluate = true;
      if (admission.base_ahead) sessions.SetBaseWait(id, head.arrived);
      sessions.SetExcused(id, excused);
      return;
    }
    if (session->excused.has_value()) sessions.SetExcused(id, std::nullopt);
    const bool base_is_back =
        head.checked.push.header.base.term < version().term && admission.verdict != Verdict::kRefuse;
    if (base_is_back) sessions.SetBaseWait(id, std::nullopt);
    Decide(sessions.TakeHeld(id, sequence), admission, now, effects);
  }
}

Admission Model::Impl::AdmitHead(const HeldPush& head, TimePoint now) const {
  AdmitState admit = AdmitStateOf(head.checked.push.header);
  admit.waited_for_base = now >= BaseWaitEnd(head);
  return Admit(head.checked.push.header, head.checked.push.finite, admit);
}

AdmitState Model::Impl::AdmitStateOf(const PushHeader& header) const {
  const Session* session = sessions.Find(header.client_id);
  const std::vector<FragmentState>& fragments = state->current()->fragments;
  // A fragment that there is not is refused before its turn.
  const auto step =
      header.round() < fragments.size() ? std::optional(fragments[header.round()].outer_steps) : std::nullopt;
  return {.model_name = spec().name,
          .current = version(),
          .oldest_base = oldest_base,
          .max_staleness = MaxStaleness(spec().rounds, sessions.live_trainers()),
          .oldest_kept = state->oldest_kept(),
          .last_sequence = log.last_sequence(header.client_id),
          .missing = log.IsMissing(header.client_id, header.sequence),
          .fragment_step = step,
          .contributed =
              spec().rounds.policy == RoundPolicy::kSync && session->contributed.contains(header.round())};
}

// Clients come back within their lease after a recovery, or not at all.
TimePoint Model::Impl::BaseWaitEnd(const HeldPush& head) const {
  const Session* session = sessions.Find(head.checked.push.header.client_id);
  return session->base_wait.value_or(head.arrived) + lease();
}

void Model::Impl::Decide(HeldPush head, const Admission& admission, TimePoint now, Effects* effects) {
  const PushHeader header = head.checked.push.header;
  const bool finite = head.checked.push.finite;
  sessions.SetStaleness(header.client_id, admission.staleness);
  // Every fragment's push has the same local steps behind it.
  if (header.round() == 0) sessions.SetPushed(header.client_id, header.local_steps, head.arrived);
  switch (admission.verdict) {
    case Verdict::kAccept:
      sessions.SetNonfinite(header.client_id, {});
      return Contribute(std::move(head.checked), admission.staleness, now, effects);
    case Verdict::kSkip:
      Skip(header, admission, now, effects);
      return CountNonfinite(header, now, effects);
    case Verdict::kReject: {
      PushAnswer answer = AnswerFor(header, *state->current());
      answer.staleness = admission.staleness;
      answer.refusal = admission.status;
      Remember(header, std::move(answer), effects);
      return finite ? void() : CountNonfinite(header, now, effects);
    }
    default:
      return Refuse(header, admission.status, effects);
  }
}

// --- into the round ---

void Model::Impl::Skip(const PushHeader& header, const Admission& admission, TimePoint now,
                       Effects* effects) {
  scaler.Overflowed(header.loss_scale);
  if (spec().rounds.policy == RoundPolicy::kSync) {  // it satisfies membership, with weight 0 (decisions 9)
    rounds[header.round()].round.AddSkipped(header, now);
    sessions.SetContributed(header.client_id, header.round(), true);
    reevaluate = true;
  }
  PushAnswer answer = AnswerFor(header, *state->current());
  answer.outcome = PushOutcome::kSkipped;
  answer.reason = admission.reason;
  effects->events.push_back(PushSkipped(header, admission.reason));
  Remember(header, std::move(answer), effects);
}

// The memory of a commit is reserved before the push touches anything, so that a push which finds none leaves
// no trace.
void Model::Impl::Contribute(CheckedPush push, uint64_t staleness, TimePoint now, Effects* effects) {
  const PushHeader header = push.push.header;
  const Round& round = rounds[header.round()].round;
  const RoundDecision decision = DecideRound(ProgressWith(header, now), spec().rounds, now);
  // A push that is a round by itself goes into the commit as it came, without a detour through the sum.
  const bool stage =
      spec().rounds.reduction == Reduction::kOrdered || (decision.close && round.effective() == 0);
  absl::StatusOr<NextArrays> next = Reserve(round, stage, decision.close);
  if (!next.ok()) return Refuse(header, next.status(), effects);
  const absl::StatusOr<double> clip = state->ClipOf(push);
  if (!clip.ok()) return Refuse(header, clip.status(), effects);

  PushAnswer answer = AnswerFor(header, *state->current());
  answer.outcome = PushOutcome::kBuffered;
  answer.reason = decision.reason + PaceOf(header.client_id, answer.local_steps);
  answer.staleness = staleness;
  answer.refusal = Join(std::move(push), *clip, staleness, stage, now);
  if (!answer.refusal.ok()) DropRound(header.round(), answer.refusal, effects);
  if (!answer.refusal.ok() || !decision.close) return Remember(header, std::move(answer), effects);
  CloseWith(header, std::move(answer), decision.reason, *std::move(next), now, effects);
}

absl::StatusOr<NextArrays> Model::Impl::Reserve(const Round& round, bool stage, bool close) {
  if (!stage) RETURN_IF_ERROR(state->ReserveSum());
  if (!close) return NextArrays();
  return state->ReserveNext(round, stage);
}

absl::Status Model::Impl::Join(CheckedPush push, double clip, uint64_t staleness, bool stage, TimePoint now) {
  const PushHeader& header = push.push.header;
  Round& round = rounds[header.round()].round;
  PushWeight weight = WeightOf(header, spec().rounds, staleness);
  weight.clip = clip;
  if (!stage) RETURN_IF_ERROR(state->Fold(push, weight, round));
  sessions.SetContributed(header.client_id, header.round(), true);
  round.Add(std::move(push), weight, staleness, stage, now);
  return absl::OkStatus();
}

// The version that a push completes holds the push's own answer.
void Model::Impl::CloseWith(const PushHeader& header, PushAnswer answer, const std::string& reason,
                            NextArrays next, TimePoint now, Effects* effects) {
  absl::StatusOr<std::shared_ptr<ModelVersion>> version =
      CommitRound(header.round(), std::move(next), effects);
  if (!version.ok()) {
    if (rounds[header.round()].round.open())
      return PutOff(header, std::move(answer), version.status(), now, effects);
    answer.refusal = version.status();
    return Remember(header, std::move(answer), effects);
  }
  PushAnswer applied = AnswerFor(header, **version);
  applied.outcome = PushOutcome::kApplied;
  applied.reason = reason + PaceOf(header.client_id, applied.local_steps);
  applied.staleness = answer.staleness;
  Remember(header, std::move(applied), effects);
  Publish(header.round(), *std::move(version), reason, effects);
}

// With others in the round the push stays in it, and the round is tried again. Alone it leaves no trace.
void Model::Impl::PutOff(const PushHeader& header, PushAnswer answer, const absl::Status& why, TimePoint now,
                         Effects* effects) {
  const uint32_t number = header.round();
  if (rounds[number].round.contributions() > 1) {
    RetryLater(number, why, now, effects);
    return Remember(header, std::move(answer), effects);
  }
  sessions.SetContributed(header.client_id, number, false);
  rounds[number].round.Clear();
  Refuse(header, WithRetryAfter(why, 1), effects);
}

// --- answers ---

PushAnswer Model::Impl::AnswerFor(const PushHeader& header, const ModelVersion& at) const {
  return {.version = at.version,
          .sequence = header.sequence,
          .settings_version = at.settings_version,
          .inner_steps = at.inner_steps,
          .outer_steps = at.outer_steps,
          .samples = at.samples,
          .finished = at.finished,
          .loss_scale = header.loss_scale == 1 ? 0 : scaler.scale(),
          .round = header.round(),
          .local_steps = LocalStepsOf(header.client_id, StepsFor(header, at), at)};
}

uint32_t Model::Impl::LocalStepsOf(const std::string& id, uint64_t outer_steps,
                                   const ModelVersion& at) const {
  if (at.spec->mode != Mode::kDelta) return 0;
  const uint32_t period = SyncPeriodAt(*at.spec, outer_steps);
  const Session* const session = sessions.Find(id);
  if (!at.spec->rounds.dynamic_local_steps || session == nullptr) return period;
  return LocalSteps(period, session->pace, sessions.fastest());
}

std::string Model::Impl::PaceOf(const std::string& id, uint32_t local_steps) const {
  const Session* const session = sessions.Find(id);
  if (!spec().rounds.dynamic_local_steps || session == nullptr || session->pace.steps_per_second == 0)
    return "";
  return fmt::format("; next {} local steps: {:.3g} per second, the fastest worker {:.3g}", local_steps,
                     session->pace.steps_per_second, sessions.fastest());
}

PushAnswer Model::Impl::Duplicate(const PushHeader& header) const {
  std::optional<PushAnswer> first = log.Recall(header.client_id, header.sequence);
  if (!first.has_value()) {
    first = AnswerFor(header, *state->current());
    first->reason = "decided earlier; answer no longer remembered";
  }
  first->round = header.round();
  first->local_steps = LocalStepsOf(header.client_id, StepsFor(header, *state->current()), *state->current());
  first->first_outcome = std::exchange(first->outcome, PushOutcome::kDuplicate);
  return *std::move(first);
}

void Model::Impl::Remember(const PushHeader& header, PushAnswer answer, Effects* effects) {
  if (!answer.refusal.ok()) effects->events.push_back(PushRefused(header, answer.refusal));
  log.Remember(header.client_id, answer);
  effects->answers.push_back({header.client_id, header.epoch, header.sequence, std::move(answer)});
}

void Model::Impl::Refuse(const PushHeader& header, absl::Status status, Effects* effects) {
  effects->events.push_back(PushRefused(header, status));
  PushAnswer answer = AnswerFor(header, *state->current());
  answer.refusal = std::move(status);
  answer.decided = false;
  effects->answers.push_back({header.client_id, header.epoch, header.sequence, std::move(answer)});
}

Effects::Event Model::Impl::PushRefused(const PushHeader& header, const absl::Status& status) const {
  return {"push_refused",
          std::string(status.message()),
          {{"client", header.client_id},
           {"epoch", std::to_string(header.epoch)},
           {"sequence", std::to_string(header.sequence)},
           {"base", header.base.ToString()},
           {"reason", ReasonOf(status)}}};
}

Effects::Event Model::Impl::PushSkipped(const PushHeader& header, const std::string& reason) const {
  return {"push_skipped",
          reason,
          {{"client", header.client_id},
           {"epoch", std::to_string(header.epoch)},
           {"sequence", std::to_string(header.sequence)},
           {"base", header.base.ToString()}}};
}

}  // namespace stepback
