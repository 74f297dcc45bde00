#include "server/engine/journal.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "server/base/errors.h"
#include "server/base/failpoint.h"
#include "server/telemetry/log.h"

namespace stepback {
namespace {

constexpr double kDiskFullRetrySeconds = 1;

}  // namespace

Journal::Journal(Options options, std::shared_ptr<GroupLog> log)
    : model_(std::move(options.model)),
      clock_(options.clock),
      origin_(options.origin),
      log_(std::move(log)),
      time_(options.time),
      applied_(options.end),
      applied_time_(options.time),
      applied_end_(options.end.end) {}

void Journal::Append(LoggedCall::Call call, Bytes bytes, Version version, Apply apply, Refuse refuse) {
  auto waiting = std::make_shared<Waiting>();
  waiting->apply = std::move(apply);
  waiting->refuse = std::move(refuse);
  Enqueue(std::move(call), std::move(bytes), version, waiting);
}

void Journal::Enqueue(LoggedCall::Call call, Bytes bytes, Version version,
                      const std::shared_ptr<Waiting>& waiting) {
  ++depth_;
  waiting->appender = std::this_thread::get_id();
  {
    MutexLock lock(&mu_);
    waiting->refused = failed_;
    if (failed_.ok()) {
      time_ = std::max(time_, clock_->Now() - origin_);
      waiting->entry.now = origin_ + time_;
      FAILPOINT("journal.before_append");
      log_->Append({.record = RecordOf({time_, std::move(call)}, version),
                    .payload = std::move(bytes.payload),
                    .sums = std::move(bytes.sums)},
                   [self = shared_from_this(), waiting](const absl::StatusOr<LogPlace>& place) {
                     self->OnLogged(waiting, place);
                   });
    }
    waiting->appending = false;
  }
  FAILPOINT("journal.after_append");
  if (!waiting->refused.ok()) Refuse1(*waiting, waiting->refused);
}

// On the log thread; or within Append when the log has ended, where no callback may run under the lock.
void Journal::OnLogged(const std::shared_ptr<Waiting>& waiting, const absl::StatusOr<LogPlace>& place) {
  if (waiting->appender == std::this_thread::get_id() && waiting->appending) {
    waiting->refused = place.status();
    return;
  }
  FAILPOINT("journal.logged");
  const absl::Status why = place.ok() ? absl::OkStatus() : Explain(place.status());
  if (place.ok()) waiting->entry.place = *place;
  const auto refuse = [self = shared_from_this(), waiting](const absl::Status& ended) {
    self->Refuse1(*waiting, ended);
  };
  hooks_.post(
      [self = shared_from_this(), waiting, why, refuse] {
        if (!why.ok()) return refuse(why);
        self->Arrive(waiting);
      },
      [refuse, why](const absl::Status& ended) { refuse(why.ok() ? ended : why); });
}

void Journal::Refuse1(const Waiting& waiting, const absl::Status& why) {
  --depth_;
  waiting.refuse(why);
}

// The log's own errors have no reason for a client yet.
absl::Status Journal::Explain(const absl::Status& why) {
  if (!ReasonOf(why).empty()) return why;
  const std::string message = fmt::format("model '{}': {}", model_, std::string(why.message()));
  switch (why.code()) {
    case absl::StatusCode::kResourceExhausted:
      return WithRetryAfter(Error(why.code(), "DISK_FULL", message), kDiskFullRetrySeconds);
    case absl::StatusCode::kUnavailable:
      return Error(why.code(), "SHUTTING_DOWN", message);
    case absl::StatusCode::kInvalidArgument:
      return Error(why.code(), "CALL_TOO_LARGE", message);
    default:
      break;
  }
  const absl::Status failed =
      Error(absl::StatusCode::kFailedPrecondition, "MODEL_READ_ONLY",
            fmt::format("model '{}' is read-only until a restart, its log cannot be written: {}", model_,
                        std::string(why.message())));
  Fail(failed);
  return failed;
}

void Journal::Fail(const absl::Status& why) {
  {
    MutexLock lock(&mu_);
    if (!failed_.ok()) return;
    failed_ = why;
  }
  hooks_.failed(why);
}

absl::Status Journal::writable() const {
  MutexLock lock(&mu_);
  return failed_;
}

void Journal::Barrier(Task run, Refuse abandon) {
  log_->Barrier([self = shared_from_this(), run = std::move(run), abandon = std::move(abandon)] {
    self->hooks_.post(run, abandon);
  });
}

void Journal::Release(uint64_t position) {
  log_->Release(position, [model = model_, position](const absl::Status& released) {
    if (released.ok() || absl::IsUnavailable(released) || !ReasonOf(released).empty()) return;
    Log(LogLevel::kWarn, "log_not_released",
        {{"model", model}, {"position", position}, {"error", std::string(released.message())}});
  });
}

// --- on the strand ---

void Journal::Arrive(const std::shared_ptr<Waiting>& waiting) {
  if (waiting->ahead) {
    --depth_;
    paused_ = nullptr;
    waiting->apply(waiting->entry);
  } else {
    ready_.push_back(waiting);
  }
  ApplyReady();
}

void Journal::ApplyReady() {
  while (!paused() && !ready_.empty()) {
    const std::shared_ptr<Waiting> next = std::move(ready_.front());
    ready_.pop_front();
    --depth_;
    current_ = next->entry;
    FAILPOINT("journal.before_apply");
    next->apply(next->entry);
    FAILPOINT("journal.after_apply");
    applied_ = next->entry.place;
    applied_time_ = next->entry.now - origin_;
    applied_end_ = applied_.end;
  }
}

void Journal::Record(bool refused, const StepFailures& steps, Version version, Task then, Refuse drop) {
  paused_ = std::make_shared<const Refuse>(std::move(drop));
  auto waiting = std::make_shared<Waiting>();
  waiting->ahead = true;
  waiting->apply = [then = std::move(then)](const Entry&) { then(); };
  // Decided, and nobody may know: a restart decides anew, from the log.
  waiting->refuse = [self = shared_from_this()](const absl::Status& why) {
    const absl::Status failed =
        Error(absl::StatusCode::kFailedPrecondition, "MODEL_READ_ONLY",
              fmt::format("model '{}' is read-only until a restart: what a call met could not be logged: {}",
                          self->model_, std::string(why.message())));
    self->Fail(failed);
    self->hooks_.post([self, failed] { self->Abandon(failed); }, [self](const absl::Status&) {});
  };
  Enqueue(LoggedFailures{current_.place.position, refused, steps}, {}, version, waiting);
}

void Journal::Abandon(const absl::Status& why) {
  if (paused()) (*std::exchange(paused_, std::make_shared<const Refuse>([](const absl::Status&) {})))(why);
  for (const std::shared_ptr<Waiting>& waiting : std::exchange(ready_, {})) Refuse1(*waiting, why);
}

OpenPlace Journal::Capture(const Model& model) const {
  OpenPlace open{.state = model.open_state(), .place = applied_, .time = applied_time_};
  ShiftTimes(-origin_.time_since_epoch(), &open.state);
  return open;
}

}  // namespace stepback
