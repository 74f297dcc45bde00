// What happens on the strand: pushes and time reach the core, and what it decided reaches everyone who waits
// for it.
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "server/base/errors.h"
#include "server/engine/model_worker.h"

namespace stepback {
namespace {

telemetry::SessionEnd EndOf(const absl::Status& why) {
  const std::string reason = ReasonOf(why);
  if (reason == "SESSION_EXPIRED") return telemetry::SessionEnd::kExpired;
  if (reason == "ROLLED_BACK") return telemetry::SessionEnd::kRolledBack;
  return telemetry::SessionEnd::kEvicted;
}

absl::Status RoundDropped(const absl::Status& why) {
  return Error(absl::StatusCode::kAborted, "ROUND_DROPPED",
               "the round was dropped: " + std::string(why.message()));
}

}  // namespace

void ModelWorker::Apply(Push push) {
  const TimePoint began = Now();
  const Effects effects = model_->Apply(std::move(push), began);
  metrics_->OnPushStage(telemetry::PushStage::kApply, std::chrono::duration<double>(Now() - began).count());
  Distribute(effects, ModelReport::Cause::kPush, began);
}

void ModelWorker::Tick() {
  tick_posted_ = false;
  const TimePoint now = Now();
  if (const auto next = model_->NextTick(); next && *next <= now) {
    Distribute(model_->Tick(now), ModelReport::Cause::kTick, now);
  }
  if (snapshot_due_ && *snapshot_due_ <= now) StartSnapshot();
}

// Publish first: who hears that its push is in version v finds v when it pulls.
void ModelWorker::Distribute(const Effects& effects, ModelReport::Cause cause, TimePoint began) {
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
  for (const Effects::Answered& answered : effects.answers) {
    PushAnswer answer = answered.answer;
    answer.durable_sequence = published_->DurableSequence(answered.client_id);
    // A round that was dropped in this call had its pushes before; one in the next round did not see its end.
    const bool in_next_round = contributed.contains({answered.client_id, answer.round});
    answer.rounds_dropped = in_next_round ? waiters_->rounds_dropped() : drops_before;
    intake_->Answer({answered.client_id, answered.sequence}, answered.epoch, answer);
  }
  if (round_ended) intake_->RoundChanged(current_->version.counter, contributed);
  for (const std::string& client_id : effects.ended_sessions)
    EndSession(client_id, telemetry::SessionEnd::kEvicted);
  SettleFlushes(effects);
}

// Clients with a push in an open round (SYNC: others may have several).
Intake::Contributors ModelWorker::Contributed(TimePoint now) const {
  Intake::Contributors contributed;
  if (current_->spec->rounds.policy != RoundPolicy::kSync) return contributed;
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
  published_->Publish(current);
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
  if (snapshot_due_) next = next ? std::min(*next, *snapshot_due_) : snapshot_due_;
  runtime_->timers()->Set(tick_timer_, next);
}

}  // namespace stepback
