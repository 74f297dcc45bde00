#include "tests/sim/network.h"

#include <algorithm>
#include <utility>

namespace stepback::sim {

void Network::Send(size_t client, std::function<void()> deliver) {
  if (Loses(client)) return;
  if (random_->Chance(plan_.repeated)) {
    ++repeated_;
    events_->After(Delay(), deliver);
  }
  events_->After(Delay(), std::move(deliver));
}

void Network::OnStream(size_t client, Stream* stream, std::function<void()> deliver,
                       std::function<void()> broke) {
  if (stream->broken) return;
  stream->broken = Loses(client);
  const TimePoint when = std::max(stream->last, events_->Now() + Delay());
  stream->last = when;
  events_->At(when, stream->broken ? std::move(broke) : std::move(deliver));
}

bool Network::Loses(size_t client) {
  const bool lost = events_->Now() < partitioned_until_[client] || random_->Chance(plan_.lost);
  lost_ += lost;
  return lost;
}

void Network::Partition(size_t client, Duration how_long) {
  partitioned_until_[client] = events_->Now() + how_long;
}

void Network::Heal() {
  plan_.lost = plan_.repeated = plan_.late = 0;
  for (TimePoint& until : partitioned_until_) until = TimePoint{};
}

}  // namespace stepback::sim
