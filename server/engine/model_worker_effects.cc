// What happens on the strand: pushes and time reach the core, and what it decided reaches everyone who waits
// for it.
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "server/base/errors.h"
#include "server/base/failpoint.h"
#include "server/engine/model_worker.h"
#include "server/telemetry/log.h"

namespace stepback {
namespace {

constexpr Duration kTickRetry = std::chrono::seconds(1);

telemetry::SessionEnd EndOf(const absl::Status& why) {
  const std::string reason = ReasonOf(why);
  if (reason == "SESSION_EXPIRED") return telemetry::SessionEnd::kExpired;
  if (reason == "ROLLED_BACK") return telemetry::SessionEnd::kRolledBack;
  if (reason == "QUARANTINED") return telemetry::SessionEnd::kQuarantined;
  return telemetry::SessionEnd::kEvicted;
}

absl::Status RoundDropped(const absl::Status& why) {
  return Error(absl::StatusCode::kAborted, "ROUND_DROPPED",
               "the round was dropped: " + std::string(why.message()));
}

}  // namespace

void ModelWorker::Apply(Push push, TimePoint now) {
  const TimePoint began = Now();
  FAILPOINT("push.before_apply");
  const Effects effects = model_->Apply(std::move(push), now);
  FAILPOINT("push.after_apply");
  metrics_->OnPushStage(telemetry::PushStage::kApply, std::chrono::duration<double>(Now() - began).count());
  Distribute(effects, ModelReport::Cause::kPush, began);
}

void ModelWorker::Tick() {
  tick_posted_ = false;
  const TimePoint now = Now();
  const std::optional<TimePoint> next = model_->NextTick();
  if (next && *next <= now && journal_ == nullptr) {
    Distribute(model_->Tick(now, model_->Lapsed(now)), ModelReport::Cause::kTick, now);
  } else if (next && *next <= now && tick_retry_at_ <= now) {
    LogTick(now);
  }
  if (snapshot_due_ && *snapshot_due_ <= now) StartSnapshot();
}

// One at a time: the next one is due, or not, when this one has done what it does.
void ModelWorker::LogTick(TimePoint now) {
  if (tick_logged_ || !journal_->writable().ok()) return;
  tick_logged_ = true;
  const std::vector<std::string> lapsed = model_->Lapsed(now);
  DecideLogged(
      LoggedTick{lapsed}, {},
      [this, lapsed](const Journal::Entry& entry) {
        tick_logged_ = false;
        const TimePoint began = Now();
        Distribute(model_->Tick(entry.now, lapsed), ModelReport::Cause::kTick, began);
      },
      [weak = weak_from_this()](const absl::Status&) {
        const auto worker = weak.lock();
        if (worker == nullptr) return;
        worker->Post(
            [worker = worker.get()] {
              worker->tick_logged_ = false;
              worker->tick_retry_at_ = worker->Now() + kTickRetry;
            },
            [](const absl::Status&) {});
      });
}

std::vector<std::string> ModelWorker::LapsedNow(TimePoint now) const {
  return journal_ == nullptr ? model_->Lapsed(now) : std::vector<std::string>();
}

void ModelWorker::Distribute(const Effects& effects, ModelReport::Cause cause, TimePoint began) {
  if (journal_ == nullptr || effects.failures.empty()) return DistributeNow(effects, cause, began);
  for (const StepFailure& failure : effects.failures) {
    Log(LogLevel::kWarn, "step_failed",
        {{"model", name_}, {"step", failure.step}, {"error", std::string(failure.status.message())}});
  }
  journal_->Record(
      /*refused=*/false, effects.failures, model_->current()->version,
      [this, effects, cause, began] {
        DistributeNow(effects, cause, began);
        Settle();
      },
      [intake = intake_, effects](const absl::Status& why) {
        for (const Effects::Answered& answered : effects.answers) {
          intake->Answer({answered.client_id, answered.sequence}, answered.epoch,
                         {.sequence = answered.sequence, .refusal = why, .decided = false});
        }
      });
}

void ModelWorker::RecordRefused(Task answer, Journal::Refuse drop) {
  journal_->Record(/*refused=*/true, {}, model_->current()->version, std::move(answer), std::move(drop));
}

// Publish first: who hears that its push is in version v finds v when it pulls.
void ModelWorker::DistributeNow(const Effects& effects, ModelReport::Cause cause, TimePoint began) {
  const bool round_ended = effects.committed != nullptr || !effects.ended_rounds.empty();
  PublishCurrent();
  ShowState();
  if (events_ != nullptr) events_->Add(effects, *current_);
  report_.Called(effects, *current_, cause, Now() - began);
  const uint64_t drops_before = waiters_->rounds_dropped();
  for (const auto& [round, why] : effects.dropped_rounds) {
    const bool whole = current_->fragments.empty();
    waiters_->EndRound(ChangedAt(*current_, whole ? std::nullopt : std::optional(round)), RoundDropped(why),
                       round);
  }
  const Intake::Contributors contributed = round_ended ? Contributed(began) : Intake::Contributors();
  if (!effects.answers.empty()) FAILPOINT("reply.before");
  for (const Effects::Answered& answered : effects.answers) {
    PushAnswer answer = answered.answer;
    answer.durable_sequence = DurableSequence(answered.client_id);
    if (journal_ != nullptr && answer.decided)
      answer.durable_sequence = std::max(answer.durable_sequence, answered.sequence);
    // A round that was dropped in this call had its pushes before; one in the next round did not see its end.
    const bool in_next_round = contributed.contains({answered.client_id, answer.round});
    answer.rounds_dropped = in_next_round ? waiters_->rounds_dropped() : drops_before;
    intake_->Answer({answered.client_id, answered.sequence}, answered.epoch, answer);
  }
  if (!effects.answers.empty()) FAILPOINT("reply.after");
  if (round_ended) intake_->RoundChanged(current_->version.counter, contributed);
  for (const std::string& client_id : effects.ended_sessions)
    EndSession(client_id, telemetry::SessionEnd::kEvicted);
  SettleFlushes(effects);
}

// Clients with a push in an open round (SYNC: others may have several).
Intake::Contributors ModelWorker::Contributed(TimePoint now) const {
  Intake::Contributors contributed;
  if (model_->current()->spec->rounds.policy != RoundPolicy::kSync) return contributed;
  for (const SessionInfo& session : model_->Sessions(now)) {
    for (const uint32_t round : session.rounds) contributed.emplace(session.client_id, round);
  }
  return contributed;
}

void ModelWorker::Record(std::string name, std::string reason,
                         std::vector<std::pair<std::string, std::string>> fields) {
  if (events_ == nullptr) return;
  events_->Add({std::move(name), std::move(reason), std::move(fields)}, *model_->current());
}

// They may have had effect at once: the model shows them already.
void ModelWorker::RecordSettings(const std::vector<std::pair<std::string, double>>& values) {
  std::vector<std::pair<std::string, std::string>> fields;
  std::string reason = "set";
  for (const auto& [name, value] : values) {
    fields.emplace_back(name, fmt::format("{}", value));
    reason += fmt::format("{} {} to {}", fields.size() == 1 ? "" : ",", name, value);
  }
  Record("settings_changed", std::move(reason), std::move(fields));
}

void ModelWorker::PublishCurrent() {
  std::shared_ptr<const ModelVersion> current = model_->current();
  if (current == current_) return;
  FAILPOINT("version.before_publish");
  if (journal_ != nullptr) published_->SetDurable(current->version, current->clients);
  published_->Publish(current);
  FAILPOINT("version.after_publish");
  report_.Published(*current, current_.get());
  const bool first = current_ == nullptr;
  current_ = std::move(current);
  if (!first) waiters_->Wake(Pin());
}

// The core says why to whoever calls with that session again.
void ModelWorker::EndSession(const std::string& client_id, telemetry::SessionEnd how) {
  const auto client = clients_.find(client_id);
  const uint64_t epoch = client == clients_.end() ? 0 : client->second.epoch;
  const absl::Status why = model_->Heartbeat(client_id, epoch, {}, Now());
  if (why.ok()) return;  // it has opened another one since
  if (client != clients_.end()) clients_.erase(client);
  save_wishes_.Forget(client_id);
  intake_->SessionEnded(client_id, why);
  report_.WorkerGone(client_id, how == telemetry::SessionEnd::kClosed ? how : EndOf(why));
}

void ModelWorker::ShowState() {
  state_bytes_ = model_->state_bytes();
  sessions_ = clients_.size();
  std::string waiting_for = model_->WaitingFor();
  MutexLock lock(&mu_);
  waiting_for_ = std::move(waiting_for);
}

void ModelWorker::Settle() {
  ShowState();
  PlanSnapshot();
  report_.Sessions(model_->live_trainers(), model_->WaitingForWorkers());
  report_.Queues(strand_->depth(), strand_->depth_max(), intake_->stats());
  std::optional<TimePoint> next = model_->NextTick();
  if (journal_ != nullptr) {
    snapshotter_->SetLogEnd(journal_->applied_end());
    metrics_->SetQueue(telemetry::Queue::kLog, journal_->depth(), kCommandsMax);
    // Not while one is under way, and never again where nothing can be logged.
    if (tick_logged_ || !journal_->writable().ok()) next.reset();
    if (next) next = std::max(*next, tick_retry_at_);
  }
  if (snapshot_due_) next = next ? std::min(*next, *snapshot_due_) : snapshot_due_;
  runtime_->timers()->Set(tick_timer_, next);
}

}  // namespace stepback
