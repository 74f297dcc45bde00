#include "server/engine/published.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "server/base/errors.h"

namespace stepback {

Pin::Pin(std::shared_ptr<Published> published, std::shared_ptr<LiveVersion> live)
    : published_(std::move(published)), live_(std::move(live)) {}

Pin::~Pin() { published_->Forget(this); }

bool Pin::durable() const { return version().version <= published_->durable(); }

void Pin::OnRevoked(std::function<void()> callback) {
  {
    MutexLock lock(&mu_);
    if (!revoked()) {
      on_revoked_ = std::move(callback);
      return;
    }
  }
  callback();
}

absl::Status Pin::Gone() const {
  return Error(absl::StatusCode::kAborted, "VERSION_GONE",
               fmt::format("model '{}': version {} was held too long, start again at the newest",
                           version().spec->name, version().version.ToString()));
}

void Pin::Revoke() {
  std::function<void()> callback;
  {
    MutexLock lock(&mu_);
    revoked_.store(true, std::memory_order_release);
    callback = std::exchange(on_revoked_, nullptr);
  }
  if (callback) callback();
}

void Published::Publish(std::shared_ptr<const ModelVersion> version) {
  auto live = std::make_shared<LiveVersion>(std::move(version), memory_);
  std::vector<std::shared_ptr<Pin>> excess;
  {
    MutexLock lock(&mu_);
    newest_.swap(live);
    live_.push_back({newest_, {}});
    excess = TakeExcess();
  }
  live.reset();  // the version before; perhaps its last reference
  for (const std::shared_ptr<Pin>& pin : excess) pin->Revoke();
  differences_.Age();
}

std::shared_ptr<Pin> Published::PinNewest() {
  MutexLock lock(&mu_);
  auto pin = std::make_shared<Pin>(shared_from_this(), newest_);
  live_.back().pins[pin.get()] = pin;
  return pin;
}

std::shared_ptr<LiveVersion> Published::newest() const {
  MutexLock lock(&mu_);
  return newest_;
}

size_t Published::live_count() const {
  MutexLock lock(&mu_);
  return std::count_if(live_.begin(), live_.end(), [](const Entry& entry) { return !entry.live.expired(); });
}

void Published::SetDurable(Version version, std::shared_ptr<const ClientTable> clients) {
  MutexLock lock(&mu_);
  if (version < durable_) return;
  durable_ = version;
  durable_clients_ = std::move(clients);
}

Version Published::durable() const {
  MutexLock lock(&mu_);
  return durable_;
}

uint64_t Published::DurableSequence(const std::string& client_id) const {
  std::shared_ptr<const ClientTable> clients;
  {
    MutexLock lock(&mu_);
    clients = durable_clients_;
  }
  if (clients == nullptr) return 0;
  const ClientRecord* const record = clients->Find(client_id);
  return record == nullptr ? 0 : record->contained_through();
}

void Published::Forget(const Pin* pin) {
  MutexLock lock(&mu_);
  for (Entry& entry : live_) {
    if (entry.pins.erase(pin) > 0) return;
  }
}

std::vector<std::shared_ptr<Pin>> Published::TakeExcess() {
  live_.remove_if([](const Entry& entry) { return entry.live.expired(); });
  std::vector<std::shared_ptr<Pin>> excess;
  while (live_.size() > max_live_versions_) {
    for (const auto& [key, weak] : live_.front().pins) {
      if (auto pin = weak.lock()) excess.push_back(std::move(pin));
    }
    live_.pop_front();
  }
  return excess;
}

}  // namespace stepback
