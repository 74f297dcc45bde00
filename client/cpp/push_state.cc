#include "client/cpp/push_state.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "server/base/status_macros.h"
#include "stepback/push_future.h"

namespace stepback::client {

bool PushState::done() const {
  MutexLock lock(&mu_);
  return result_.has_value();
}

// The hook is called without the lock: it may wait for an interpreter whose holder asks for this state.
absl::StatusOr<PushResult> PushState::Wait(std::chrono::nanoseconds timeout) {
  const Interrupt interrupt(interrupted_);
  const auto end = std::chrono::steady_clock::now() + timeout;
  for (;;) {
    {
      MutexLock lock(&mu_);
      std::chrono::nanoseconds nap = kPollInterval;
      if (timeout.count() > 0) {
        nap = std::clamp<std::chrono::nanoseconds>(end - std::chrono::steady_clock::now(), nap.zero(), nap);
      }
      if (!result_ && nap > nap.zero()) settled_.WaitFor(&mu_, nap);
      if (result_) return *result_;
      if (nap == nap.zero()) return absl::DeadlineExceededError("the push is not decided yet");
    }
    RETURN_IF_ERROR(interrupt.Check());
  }
}

void PushState::OnDone(std::function<void()> call) {
  {
    MutexLock lock(&mu_);
    if (!result_) {
      calls_.push_back(std::move(call));
      return;
    }
  }
  call();
}

std::vector<std::function<void()>> PushState::Settle(absl::StatusOr<PushResult> result) {
  MutexLock lock(&mu_);
  if (result_) return {};
  result_ = std::move(result);
  settled_.NotifyAll();
  return std::exchange(calls_, {});
}

PushFuture::PushFuture(std::shared_ptr<PushState> state) : state_(std::move(state)) {}
bool PushFuture::done() const { return state_->done(); }
absl::StatusOr<PushResult> PushFuture::Wait(std::chrono::milliseconds timeout) const {
  return state_->Wait(timeout);
}
void PushFuture::OnDone(std::function<void()> call) const { state_->OnDone(std::move(call)); }

}  // namespace stepback::client
