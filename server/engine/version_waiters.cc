#include "server/engine/version_waiters.h"

#include <fmt/format.h>

#include "server/base/errors.h"

namespace stepback {
namespace {

constexpr size_t kWaitersMax = 65536;

}  // namespace

class VersionWaiters::Withdrawal final : public Cancel {
 public:
  Withdrawal(std::weak_ptr<VersionWaiters> waiters, uint64_t id) : waiters_(std::move(waiters)), id_(id) {}
  ~Withdrawal() override {
    if (const auto waiters = waiters_.lock()) waiters->Withdraw(id_);
  }

 private:
  const std::weak_ptr<VersionWaiters> waiters_;
  const uint64_t id_;
};

std::unique_ptr<Cancel> VersionWaiters::Add(Version after, bool round_dropped_ends, DonePin done) {
  absl::Status refused;
  {
    MutexLock lock(&mu_);
    refused = ended_;
    if (refused.ok() && waiters_.size() >= kWaitersMax) {
      refused =
          WithRetryAfter(Error(absl::StatusCode::kResourceExhausted, "QUEUE_FULL",
                               fmt::format("{} readers wait for the next version already", waiters_.size())),
                         1);
    }
    if (refused.ok()) {
      const uint64_t id = next_id_++;
      waiters_[id] = {after, round_dropped_ends, std::move(done)};
      return std::make_unique<Withdrawal>(weak_from_this(), id);
    }
  }
  done(refused);
  return std::make_unique<Cancel>();
}

void VersionWaiters::Wake(const std::shared_ptr<PinnedVersion>& pin) {
  const Version version = pin->version().version;
  for (const DonePin& done : Take([&](const Waiter& waiter) { return waiter.after < version; })) done(pin);
}

void VersionWaiters::EndRound(const absl::Status& why) {
  for (const DonePin& done : Take([](const Waiter& waiter) { return waiter.round_dropped_ends; })) done(why);
}

void VersionWaiters::End(const absl::Status& why) {
  {
    MutexLock lock(&mu_);
    if (ended_.ok()) ended_ = why;
  }
  for (const DonePin& done : Take([](const Waiter&) { return true; })) done(why);
}

std::vector<VersionWaiters::DonePin> VersionWaiters::Take(const std::function<bool(const Waiter&)>& wanted) {
  std::vector<DonePin> taken;
  MutexLock lock(&mu_);
  for (auto waiter = waiters_.begin(); waiter != waiters_.end();) {
    const bool take = wanted(waiter->second);
    if (take) taken.push_back(std::move(waiter->second.done));
    waiter = take ? waiters_.erase(waiter) : std::next(waiter);
  }
  return taken;
}

void VersionWaiters::Withdraw(uint64_t id) {
  DonePin dropped;  // its captures go without the lock
  MutexLock lock(&mu_);
  const auto found = waiters_.find(id);
  if (found == waiters_.end()) return;
  dropped = std::move(found->second.done);
  waiters_.erase(found);
}

}  // namespace stepback
