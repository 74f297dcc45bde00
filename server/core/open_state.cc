#include "server/core/open_state.h"

namespace stepback {
namespace {

void Shift(Duration by, std::optional<TimePoint>* time) {
  if (time->has_value()) **time += by;
}

}  // namespace

void ShiftTimes(Duration by, OpenState* state) {
  state->last_now += by;
  for (auto& [id, client] : state->sessions) {
    client.lease_end += by;
    Shift(by, &client.pace.pushed_at);
    Shift(by, &client.base_wait);
    Shift(by, &client.quarantined_since);
    for (OpenState::Held& held : client.held) held.arrived += by;
  }
  for (OpenState::OpenRound& round : state->rounds) {
    Shift(by, &round.retry_at);
    for (OpenState::Member& member : round.members) member.arrived += by;
  }
}

}  // namespace stepback
