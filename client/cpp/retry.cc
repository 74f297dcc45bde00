#include "client/cpp/retry.h"

#include <fmt/format.h>

#include <algorithm>

#include "server/base/errors.h"

namespace stepback::client {
namespace {

// A broken stream may surface under these codes, without a reason of ours; so may a fault that will not go
// away.
constexpr uint64_t kOddFailuresMax = 3;

bool IsOdd(const absl::Status& status) {
  const std::string reason = ReasonOf(status);
  if (reason == "BAD_OFFSET") return true;  // the server holds another part of the upload than it said
  return reason.empty() && (absl::IsInternal(status) || absl::IsUnknown(status) || absl::IsDataLoss(status));
}

absl::Status GaveUp(const absl::Status& failure, std::chrono::nanoseconds after, uint64_t attempts) {
  const double seconds = std::chrono::duration<double>(after).count();
  absl::Status status(failure.code(), fmt::format("{} (gave up after {} attempts in {:.1f} s)",
                                                  std::string(failure.message()), attempts, seconds));
  failure.ForEachPayload([&](auto url, const absl::Cord& payload) { status.SetPayload(url, payload); });
  return status;
}

}  // namespace

bool IsTransient(const absl::Status& status) {
  if (absl::IsUnavailable(status) || RetryAfterOf(status).has_value() || IsOdd(status)) return true;
  // An upload or a read that the server has put aside: the same again.
  const std::string reason = ReasonOf(status);
  return reason == "UPLOAD_REPLACED" || reason == "UPLOAD_EXPIRED" || reason == "VERSION_GONE";
}

Retry::Retry(const RetryOptions& options, Interrupt* interrupt, std::optional<TimePoint> deadline)
    : options_(options),
      interrupt_(interrupt),
      deadline_(deadline),
      bound_(options.backoff_initial),
      random_(std::random_device{}()) {}

void Retry::Progress() {
  failing_since_.reset();
  bound_ = options_.backoff_initial;
  odd_failures_ = 0;
}

std::chrono::nanoseconds Retry::TimeLeft() const {
  if (!deadline_) return {};
  return std::max<std::chrono::nanoseconds>(*deadline_ - Clock::Real()->Now(), std::chrono::nanoseconds(1));
}

std::chrono::nanoseconds Retry::NextPause(const absl::Status& failure) {
  const double share = std::uniform_real_distribution<double>(0.5, 1.0)(random_);
  const auto pause = std::chrono::duration_cast<std::chrono::nanoseconds>(bound_ * share);
  const auto grown =
      std::chrono::duration_cast<std::chrono::nanoseconds>(bound_ * options_.backoff_multiplier);
  bound_ = std::min<std::chrono::nanoseconds>(grown, options_.backoff_max);
  const std::chrono::duration<double> asked(RetryAfterOf(failure).value_or(0));
  return std::max(pause, std::chrono::duration_cast<std::chrono::nanoseconds>(asked));
}

absl::Status Retry::Wait(const absl::Status& failure) {
  ++attempts_;
  if (!IsTransient(failure)) return failure;
  if (IsOdd(failure) && ++odd_failures_ > kOddFailuresMax) return failure;
  const TimePoint now = Clock::Real()->Now();
  if (!failing_since_) failing_since_ = now;
  const auto pause = NextPause(failure);
  if (now + pause - *failing_since_ > options_.give_up_after) {
    return GaveUp(failure, now - *failing_since_, attempts_);
  }
  if (deadline_ && now + pause > *deadline_) {
    return absl::DeadlineExceededError(fmt::format("time is up: {}", std::string(failure.message())));
  }
  return interrupt_->Sleep(pause);
}

}  // namespace stepback::client
