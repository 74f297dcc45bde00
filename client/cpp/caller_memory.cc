#include "client/cpp/caller_memory.h"

namespace stepback::client {
namespace {

// A healthy connection lets go within its next write.
constexpr std::chrono::milliseconds kPatience{1000};

}  // namespace

CallerMemory::CallerMemory(Transport* transport) : transport_(transport), state_(std::make_shared<State>()) {
  share_ = std::shared_ptr<const void>(state_.get(), [state = state_](const void*) {
    MutexLock lock(&state->mu);
    state->released = true;
    state->released_changed.NotifyAll();
  });
}

CallerMemory::~CallerMemory() {
  share_.reset();
  while (!WaitReleased(kPatience)) transport_->Reset();
}

bool CallerMemory::WaitReleased(std::chrono::milliseconds limit) {
  const auto end = std::chrono::steady_clock::now() + limit;
  MutexLock lock(&state_->mu);
  while (!state_->released) {
    const auto left = end - std::chrono::steady_clock::now();
    if (left <= left.zero()) return false;
    state_->released_changed.WaitFor(&state_->mu, left);
  }
  return true;
}

}  // namespace stepback::client
