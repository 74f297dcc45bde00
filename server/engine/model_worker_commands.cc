#include "server/engine/model_worker_commands.h"

#include "server/engine/model_worker.h"

namespace stepback {

void ModelWorker::Post(Task run, std::function<void(const absl::Status&)> abandon) {
  PostBare(
      [this, run = std::move(run)] {
        run();
        Settle();
      },
      std::move(abandon));
}

void ModelWorker::PostBehindLog(Task run, std::function<void(const absl::Status&)> abandon) {
  if (journal_ == nullptr) return Post(std::move(run), std::move(abandon));
  journal_->Barrier(
      [this, run = std::move(run)] {
        run();
        Settle();
      },
      std::move(abandon));
}

void ModelWorker::PostBare(Task run, std::function<void(const absl::Status&)> abandon) {
  Task task = [self = shared_from_this(), run = std::move(run), abandon] {
    if (const absl::Status open = self->CheckOpen(); !open.ok()) return abandon(open);
    run();
  };
  if (!strand_->Post(std::move(task))) {
    const absl::Status open = CheckOpen();
    abandon(open.ok() ? Error(absl::StatusCode::kUnavailable, "SHUTTING_DOWN", "the server is shutting down")
                      : open);
  }
}

void ModelWorker::DecideLogged(LoggedCall::Call call, Journal::Bytes bytes, Journal::Apply decide,
                               Journal::Refuse refuse) {
  journal_->Append(
      std::move(call), std::move(bytes), published_->newest()->version()->version,
      [this, decide = std::move(decide)](const Journal::Entry& entry) {
        decide(entry);
        Settle();
      },
      std::move(refuse));
}

absl::Status ModelWorker::CheckOpen() const {
  MutexLock lock(&mu_);
  return ended_;
}

absl::Status ModelWorker::Named(const absl::Status& status) const {
  return WithRetryAfter(Error(status.code(), ReasonOf(status),
                              fmt::format("model '{}': {}", name_, std::string(status.message()))),
                        1);
}

absl::Status ModelWorker::Draining() {
  return WithRetryAfter(Error(absl::StatusCode::kUnavailable, "DRAINING", "the server is draining"), 1);
}

}  // namespace stepback
