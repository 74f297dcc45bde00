// How a ModelWorker's calls get to its strand: for the files that define its calls only.
#pragma once

#include <fmt/format.h>

#include <utility>

#include "server/base/errors.h"
#include "server/engine/model_worker.h"

namespace stepback {

template <typename T>
void ModelWorker::Command(Done<T> done, std::function<absl::StatusOr<T>()> run) {
  Task task = [self = shared_from_this(), done, run = std::move(run)] {
    if (const absl::Status open = self->CheckOpen(); !open.ok()) return done(open);
    const absl::StatusOr<T> result = run();
    self->Settle();
    done(result);
  };
  if (const absl::Status open = CheckOpen(); !open.ok()) return done(open);
  if (const absl::Status posted = strand_->TryPost(std::move(task)); !posted.ok()) done(Named(posted));
}

template <typename T>
void ModelWorker::Decide(LoggedCall::Call call, Done<T> done,
                         std::function<absl::StatusOr<T>(TimePoint now)> run) {
  if (journal_ == nullptr) {
    return Command<T>(std::move(done), [this, run = std::move(run)] { return run(Now()); });
  }
  if (const absl::Status open = CheckOpen(); !open.ok()) return done(open);
  if (journal_->depth() >= kCommandsMax) {
    return done(Named(Error(
        absl::StatusCode::kResourceExhausted, "QUEUE_FULL",
        fmt::format("{} calls wait for the log already, at most {} may", journal_->depth(), kCommandsMax))));
  }
  const LoggedCall::Call logged = call;
  journal_->Append(
      std::move(call), {}, published_->newest()->version()->version,
      [this, logged, done, run = std::move(run)](const Journal::Entry& entry) {
        const absl::StatusOr<T> result = run(entry.now);
        Settle();
        const bool to_record = !result.ok() && DependsOnMachine(logged, result.status());
        to_record ? RecordRefused([done, result] { done(result); }, [done](const auto& why) { done(why); })
                  : done(result);
      },
      [done](const absl::Status& why) { done(why); });
}

}  // namespace stepback
