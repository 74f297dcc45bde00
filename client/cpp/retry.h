// When to try again, and when to stop: bounded exponential backoff with jitter for one call.
//
// Only broken connections and servers that ask for patience are tried again; everything else is an answer.
// Threads: one.
//
//   Retry retry(options.retry, &interrupt, deadline);
//   for (;;) {
//     absl::Status status = Attempt();
//     if (status.ok()) return status;
//     RETURN_IF_ERROR(retry.Wait(status));   // the status itself when it is final
//   }
#pragma once

#include <optional>
#include <random>

#include "absl/status/status.h"
#include "client/cpp/interrupt.h"
#include "server/base/clock.h"
#include "stepback/options.h"

namespace stepback::client {

// The connection broke or the server is away: the same call again, with the same sequence number.
bool IsTransient(const absl::Status& status);

class Retry {
 public:
  // No deadline: only give_up_after bounds.
  Retry(const RetryOptions& options, Interrupt* interrupt, std::optional<TimePoint> deadline = std::nullopt);

  // Sleeps, then OK; or the error to return: `failure` itself when it is final or time is up, or CANCELLED.
  absl::Status Wait(const absl::Status& failure);
  // The server has answered something new: patience starts again.
  void Progress();
  uint64_t attempts() const { return attempts_; }
  // Until the deadline, for the next attempt; 0: no deadline.
  std::chrono::nanoseconds TimeLeft() const;

 private:
  std::chrono::nanoseconds NextPause(const absl::Status& failure);

  const RetryOptions options_;
  Interrupt* const interrupt_;
  const std::optional<TimePoint> deadline_;
  std::optional<TimePoint> failing_since_;
  std::chrono::nanoseconds bound_;
  uint64_t attempts_ = 0;
  uint64_t odd_failures_ = 0;  // bare codes that are not surely the connection's
  std::minstd_rand random_;
};

}  // namespace stepback::client
