#include "server/engine/version_waiters.h"

#include <fmt/format.h>

#include "server/base/errors.h"

namespace stepback {
namespace {

constexpr size_t kWaitersMax = 65536;
constexpr size_t kDropsKept = 64;

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

std::unique_ptr<Cancel> VersionWaiters::Add(Version after, std::optional<uint64_t> rounds_dropped,
                                            DonePin done, std::optional<uint32_t> fragment) {
  absl::Status refused;
  {
    MutexLock lock(&mu_);
    refused = ended_;
    if (refused.ok() && rounds_dropped) refused = FindDrop(after, *rounds_dropped, fragment.value_or(0));
    if (refused.ok() && waiters_.size() >= kWaitersMax) {
      refused =
          WithRetryAfter(Error(absl::StatusCode::kResourceExhausted, "QUEUE_FULL",
                               fmt::format("{} readers wait for the next version already", waiters_.size())),
                         1);
    }
    if (refused.ok()) {
      const uint64_t id = next_id_++;
      waiters_[id] = {after, fragment, rounds_dropped.has_value(), std::move(done)};
      return std::make_unique<Withdrawal>(weak_from_this(), id);
    }
  }
  done(refused);
  return std::make_unique<Cancel>();
}

void VersionWaiters::Wake(const std::shared_ptr<PinnedVersion>& pin) {
  const ModelVersion& version = pin->version();
  const auto newer = [&](const Waiter& waiter) { return waiter.after < ChangedAt(version, waiter.fragment); };
  for (const DonePin& done : Take(newer)) done(pin);
}

// Who waits already joined the round before its end: those who join the next one hear of this end first.
void VersionWaiters::EndRound(Version version, const absl::Status& why, uint32_t round) {
  {
    MutexLock lock(&mu_);
    drops_.push_back({++rounds_dropped_, round, version, why});
    if (drops_.size() > kDropsKept) drops_.pop_front();
  }
  const auto waits = [round](const Waiter& w) { return w.for_round && w.fragment.value_or(0) == round; };
  for (const DonePin& done : Take(waits)) done(why);
}

uint64_t VersionWaiters::rounds_dropped() const {
  MutexLock lock(&mu_);
  return rounds_dropped_;
}

absl::Status VersionWaiters::WhyDropped(Version version, uint64_t rounds_dropped, uint32_t round) const {
  MutexLock lock(&mu_);
  return FindDrop(version, rounds_dropped, round);
}

// A drop after which the round's part of the model has changed is of a later round. (One before the push was
// decided, at `version`, is not above `rounds_dropped`.)
absl::Status VersionWaiters::FindDrop(Version version, uint64_t rounds_dropped, uint32_t round) const {
  for (const Drop& drop : drops_) {
    if (drop.number > rounds_dropped && drop.round == round && drop.version <= version) return drop.why;
  }
  return absl::OkStatus();
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
