#include "client/cpp/interrupt.h"

#include <algorithm>

#include "server/base/status_macros.h"

namespace stepback::client {

void Interrupt::Cancel() {
  MutexLock lock(&mu_);
  cancelled_ = true;
  cancelled_changed_.NotifyAll();
}

bool Interrupt::cancelled() const {
  MutexLock lock(&mu_);
  return cancelled_;
}

absl::Status Interrupt::Check() const {
  if (cancelled()) return absl::CancelledError("cancelled by the caller");
  if (hook_ && hook_()) return absl::CancelledError("interrupted");
  return absl::OkStatus();
}

absl::Status Interrupt::Sleep(std::chrono::nanoseconds duration) {
  const auto end = std::chrono::steady_clock::now() + duration;
  for (;;) {
    RETURN_IF_ERROR(Check());
    const auto left = end - std::chrono::steady_clock::now();
    if (left <= left.zero()) return absl::OkStatus();
    const auto nap = hook_ ? std::min<std::chrono::nanoseconds>(left, kPollInterval) : left;
    MutexLock lock(&mu_);
    if (!cancelled_) cancelled_changed_.WaitFor(&mu_, nap);
  }
}

}  // namespace stepback::client
