// A model's sessions: opened, kept alive, closed, evicted.
#include <fmt/format.h>

#include <utility>

#include "server/base/failpoint.h"
#include "server/base/status_macros.h"
#include "server/engine/model_worker.h"
#include "server/engine/model_worker_commands.h"
#include "server/engine/replay.h"

namespace stepback {
namespace {

void Override(const WorkerHealth& newer, WorkerHealth* health) {
  const auto set = [](const std::optional<double>& from, std::optional<double>* to) {
    if (from) *to = from;
  };
  set(newer.train_loss, &health->train_loss);
  set(newer.tokens, &health->tokens);
  set(newer.tokens_per_second, &health->tokens_per_second);
  set(newer.gradient_norm, &health->gradient_norm);
  set(newer.inner_learning_rate, &health->inner_learning_rate);
  set(newer.compute_seconds, &health->compute_seconds);
  set(newer.wait_seconds, &health->wait_seconds);
}

}  // namespace

void ModelWorker::Open(const OpenSession& request, Done<SessionOpened> done) {
  if (draining_) return done(Draining());
  if (!request.attach) {
    return Decide<SessionOpened>(LoggedOpen{request.client_id, request.role}, std::move(done),
                                 [this, request](TimePoint now) { return OpenNow(request, now); });
  }
  Command<SessionOpened>(std::move(done), [this, request]() -> absl::StatusOr<SessionOpened> {
    ASSIGN_OR_RETURN(const OpenedSession opened, model_->Open(request, Now()));
    return SessionOpenedAs(request.client_id, opened);
  });
}

absl::StatusOr<SessionOpened> ModelWorker::OpenNow(const OpenSession& request, TimePoint now) {
  OpenedSession opened;
  FAILPOINT("session.before_open");
  ASSIGN_OR_RETURN(const Effects effects, OpenAndSettle(model_.get(), request, now, LapsedNow(now), &opened));
  FAILPOINT("session.after_open");
  clients_[request.client_id] = {.epoch = opened.epoch};
  intake_->Opened(request, opened);
  const bool trainer = request.role == SessionRole::kTrainer;
  Record(
      "session_opened",
      fmt::format("client '{}' opened a session as a {}", request.client_id, trainer ? "trainer" : "reader"),
      {{"client", request.client_id},
       {"epoch", std::to_string(opened.epoch)},
       {"role", trainer ? "trainer" : "reader"},
       {"last_sequence", std::to_string(opened.last_sequence)}});
  Distribute(effects, ModelReport::Cause::kCommand, now);
  return SessionOpenedAs(request.client_id, opened);
}

SessionOpened ModelWorker::SessionOpenedAs(const std::string& client_id, const OpenedSession& opened) const {
  return SessionOpened{.session = opened,
                       .durable_sequence = DurableSequence(client_id),
                       .partial_uploads = intake_->PartialUploads(client_id),
                       .version = newest()};
}

void ModelWorker::Close(const std::string& client_id, uint64_t epoch,
                        std::function<void(absl::Status)> done) {
  Decide<bool>(
      LoggedClose{client_id, epoch},
      [done = std::move(done)](const absl::StatusOr<bool>& closed) { done(closed.status()); },
      [this, client_id, epoch](TimePoint now) -> absl::StatusOr<bool> {
        RETURN_IF_ERROR(CloseNow(client_id, epoch, now));
        return true;
      });
}

absl::Status ModelWorker::CloseNow(const std::string& client_id, uint64_t epoch, TimePoint now) {
  FAILPOINT("session.before_close");
  ASSIGN_OR_RETURN(const Effects effects, model_->Close(client_id, epoch, now));
  FAILPOINT("session.after_close");
  Distribute(effects, ModelReport::Cause::kCommand, now);
  EndSession(client_id, telemetry::SessionEnd::kClosed);
  return absl::OkStatus();
}

void ModelWorker::Heartbeat(const std::string& client_id, uint64_t epoch, const WorkerHealth& health,
                            Done<HeartbeatAnswer> done) {
  Command<HeartbeatAnswer>(std::move(done),
                           [this, client_id, epoch, health]() -> absl::StatusOr<HeartbeatAnswer> {
                             RETURN_IF_ERROR(HeartbeatNow(client_id, epoch, health));
                             return HeartbeatAnswer{newest(), DurableSequence(client_id)};
                           });
}

absl::Status ModelWorker::HeartbeatNow(const std::string& client_id, uint64_t epoch,
                                       const WorkerHealth& health) {
  WorkerHealth known = health;
  if (const auto client = clients_.find(client_id); client != clients_.end()) {
    known = client->second.health;
    Override(health, &known);
  }
  RETURN_IF_ERROR(model_->Heartbeat(client_id, epoch, known, Now()));
  clients_[client_id] = {.epoch = epoch, .health = known};
  report_.Worker(client_id, known);
  return absl::OkStatus();
}

void ModelWorker::Evict(const std::string& client_id, std::function<void(absl::Status)> done) {
  Decide<bool>(
      LoggedEvict{client_id},
      [done = std::move(done)](const absl::StatusOr<bool>& evicted) { done(evicted.status()); },
      [this, client_id](TimePoint now) -> absl::StatusOr<bool> {
        ASSIGN_OR_RETURN(const Effects effects, model_->Evict(client_id, now));
        Distribute(effects, ModelReport::Cause::kCommand, now);
        return true;
      });
}

void ModelWorker::Sessions(Done<std::vector<SessionInfo>> done) {
  Command<std::vector<SessionInfo>>(std::move(done), [this] {
    std::vector<SessionInfo> all = model_->Sessions(Now());
    const std::vector<SessionInfo> out = model_->Quarantined(Now());
    all.insert(all.end(), out.begin(), out.end());
    return all;
  });
}

}  // namespace stepback
