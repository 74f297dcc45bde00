#include "client/cpp/heartbeat.h"

#include <algorithm>
#include <utility>

namespace stepback::client {
namespace {

// After a failed beat: soon enough to be back before the lease ends, seldom enough not to hammer a starting
// server.
constexpr std::chrono::milliseconds kPauseAfterTrouble{1000};
constexpr std::chrono::milliseconds kPauseMin{10};

}  // namespace

Heartbeat::Heartbeat(Session* session, std::chrono::nanoseconds interval, OnTrouble on_trouble)
    : session_(session), interval_(interval), on_trouble_(std::move(on_trouble)) {}

Heartbeat::~Heartbeat() { Stop(); }

void Heartbeat::Start() {
  thread_ = std::thread([this] { Loop(); });
}

void Heartbeat::Stop() {
  interrupt_.Cancel();
  if (thread_.joinable()) thread_.join();
}

void Heartbeat::ReportHealth(const Health& health) {
  MutexLock lock(&mu_);
  health_ = health;
}

uint64_t Heartbeat::beats() const {
  MutexLock lock(&mu_);
  return beats_;
}

void Heartbeat::Loop() {
  std::chrono::nanoseconds pause = Pause();
  while (interrupt_.Sleep(pause).ok()) {
    std::optional<Health> health;
    {
      MutexLock lock(&mu_);
      health = std::exchange(health_, std::nullopt);
    }
    const absl::Status status = session_->Heartbeat(health, &interrupt_);
    pause = status.ok() ? Pause() : std::min<std::chrono::nanoseconds>(Pause(), kPauseAfterTrouble);
    if (!status.ok() && !absl::IsCancelled(status)) on_trouble_(status, &interrupt_);
    MutexLock lock(&mu_);
    beats_ += status.ok();
  }
}

std::chrono::nanoseconds Heartbeat::Pause() const {
  if (interval_.count() > 0) return interval_;
  const std::chrono::duration<double> third(session_->lease_seconds() / 3);
  return std::max<std::chrono::nanoseconds>(std::chrono::duration_cast<std::chrono::nanoseconds>(third),
                                            kPauseMin);
}

}  // namespace stepback::client
