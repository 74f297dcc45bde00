#include "server/engine/stored_open_state.h"

#include <fmt/format.h>

#include <algorithm>

#include "server/base/status_macros.h"
#include "server/engine/stored_clients.h"
#include "server/engine/stored_spec.h"

namespace stepback {
namespace {

int64_t NanosOf(TimePoint time) { return time.time_since_epoch().count(); }
TimePoint TimeOf(int64_t nanos) { return TimePoint(Duration(nanos)); }

void StoreRef(const PushRef& push, v1::StoredPushRef* stored) {
  stored->set_client(push.client_id);
  stored->set_epoch(push.epoch);
  stored->set_sequence(push.sequence);
  stored->set_position(push.log_position);
}

PushRef LoadRef(const v1::StoredPushRef& stored) {
  return {stored.client(), stored.epoch(), stored.sequence(), stored.position()};
}

void StoreSession(const std::string& id, const OpenState::Client& client, v1::StoredSession* stored) {
  stored->set_client(id);
  stored->set_epoch(client.epoch);
  stored->set_role(static_cast<uint32_t>(client.role));
  stored->set_end(static_cast<uint32_t>(client.end));
  stored->set_lease_end_nanos(NanosOf(client.lease_end));
  stored->mutable_contributed()->Add(client.contributed.begin(), client.contributed.end());
  if (client.excused) stored->set_excused(*client.excused);
  if (client.base_wait) stored->set_base_wait_nanos(NanosOf(*client.base_wait));
  stored->set_nonfinite(client.nonfinite.refused);
  stored->set_overflows(client.nonfinite.overflows);
  if (client.quarantined_since) stored->set_quarantined_nanos(NanosOf(*client.quarantined_since));
  stored->set_staleness(client.staleness);
  if (client.pace.pushed_at) stored->set_pushed_nanos(NanosOf(*client.pace.pushed_at));
  stored->set_steps_per_second(client.pace.steps_per_second);
  for (const OpenState::Held& held : client.held) {
    v1::StoredSession::Held* const to = stored->add_held();
    StoreRef(held.push, to->mutable_push());
    to->set_arrived_nanos(NanosOf(held.arrived));
  }
}

absl::StatusOr<OpenState::Client> LoadSession(const v1::StoredSession& stored) {
  if (stored.role() < 1 || stored.role() > static_cast<uint32_t>(SessionRole::kReader) ||
      stored.end() > static_cast<uint32_t>(SessionEnd::kQuarantined)) {
    return DamagedImage(fmt::format("the session of client '{}' has role {} and end {}", stored.client(),
                                    stored.role(), stored.end()));
  }
  OpenState::Client client{.epoch = stored.epoch(),
                           .role = static_cast<SessionRole>(stored.role()),
                           .end = static_cast<SessionEnd>(stored.end()),
                           .lease_end = TimeOf(stored.lease_end_nanos()),
                           .contributed = {stored.contributed().begin(), stored.contributed().end()},
                           .nonfinite = {.refused = stored.nonfinite(), .overflows = stored.overflows()},
                           .staleness = stored.staleness(),
                           .pace = {.steps_per_second = stored.steps_per_second()}};
  if (stored.has_excused()) client.excused = stored.excused();
  if (stored.has_base_wait_nanos()) client.base_wait = TimeOf(stored.base_wait_nanos());
  if (stored.has_quarantined_nanos()) client.quarantined_since = TimeOf(stored.quarantined_nanos());
  if (stored.has_pushed_nanos()) client.pace.pushed_at = TimeOf(stored.pushed_nanos());
  for (const v1::StoredSession::Held& held : stored.held())
    client.held.push_back({LoadRef(held.push()), TimeOf(held.arrived_nanos())});
  return client;
}

void StoreMember(const OpenState::Member& member, v1::StoredMember* stored) {
  StoreRef(member.push, stored->mutable_push());
  stored->set_share(member.weight.share);
  stored->set_numerator(member.weight.numerator);
  stored->set_clip(member.weight.clip);
  stored->set_mixing(member.weight.mixing);
  stored->set_staleness(member.staleness);
  stored->set_samples(member.samples);
  stored->set_local_steps(member.local_steps);
  stored->set_scaled(member.scaled);
  stored->set_skipped(member.skipped);
  stored->set_codec(static_cast<uint32_t>(member.codec));
  stored->set_arrived_nanos(NanosOf(member.arrived));
}

OpenState::Member LoadMember(const v1::StoredMember& stored) {
  return {.push = LoadRef(stored.push()),
          .weight = {.share = stored.share(),
                     .numerator = stored.numerator(),
                     .clip = stored.clip(),
                     .mixing = stored.mixing()},
          .staleness = stored.staleness(),
          .samples = stored.samples(),
          .local_steps = stored.local_steps(),
          .scaled = stored.scaled(),
          .skipped = stored.skipped(),
          .codec = static_cast<int>(stored.codec()),
          .arrived = TimeOf(stored.arrived_nanos())};
}

void StoreRound(const OpenState::OpenRound& round, v1::StoredRound* stored) {
  for (const OpenState::Member& member : round.members) StoreMember(member, stored->add_members());
  for (const Duration spread : round.spreads) stored->add_spreads_nanos(spread.count());
  if (round.retry_at) stored->set_retry_nanos(NanosOf(*round.retry_at));
}

OpenState::OpenRound LoadRound(const v1::StoredRound& stored) {
  OpenState::OpenRound round;
  for (const v1::StoredMember& member : stored.members()) round.members.push_back(LoadMember(member));
  for (const int64_t nanos : stored.spreads_nanos()) round.spreads.push_back(Duration(nanos));
  if (stored.has_retry_nanos()) round.retry_at = TimeOf(stored.retry_nanos());
  return round;
}

// Tables share the records that did not change.
void StoreOpenClients(const ClientTable& open, const ClientTable& version, v1::StoredOpenState* stored) {
  ClientTable changed;
  for (const auto& [id, record] : open) {
    const auto there = version.find(id);
    if (there == version.end() || there->second != record) changed.insert_or_assign(id, record);
  }
  StoreClients(changed, stored->mutable_clients());
  for (const auto& [id, record] : version)
    if (!open.contains(id)) stored->add_forgotten(id);
}

absl::StatusOr<std::shared_ptr<const ClientTable>> LoadOpenClients(const v1::StoredOpenState& stored,
                                                                   const ClientTable& version) {
  ASSIGN_OR_RETURN(const auto changed, LoadClients(stored.clients()));
  auto open = std::make_shared<ClientTable>(version);
  for (const auto& [id, record] : *changed) open->insert_or_assign(id, record);
  for (const std::string& id : stored.forgotten()) open->erase(id);
  return open;
}

}  // namespace

uint64_t OldestNeeded(const OpenPlace& open) {
  uint64_t oldest = open.place.end;
  for (const auto& [id, client] : open.state.sessions) {
    for (const OpenState::Held& held : client.held) oldest = std::min(oldest, held.push.log_position);
  }
  for (const OpenState::OpenRound& round : open.state.rounds) {
    for (const OpenState::Member& member : round.members)
      if (!member.skipped) oldest = std::min(oldest, member.push.log_position);
  }
  return oldest;
}

void StoreOpen(const OpenPlace& open, const ClientTable& clients, v1::StoredOpenState* stored) {
  const OpenState& state = open.state;
  StoreOpenClients(*state.clients, clients, stored);
  stored->set_log_position(open.place.end);
  stored->set_log_chain(open.place.chain);
  stored->set_time_nanos(open.time.count());
  for (const auto& [id, client] : state.sessions) StoreSession(id, client, stored->add_sessions());
  for (const OpenState::OpenRound& round : state.rounds) StoreRound(round, stored->add_rounds());
  stored->set_oldest_base(state.oldest_base);
  stored->set_loss_scale(state.loss_scale);
  stored->set_clean_commits(state.clean_commits);
  stored->set_reevaluate(state.reevaluate);
  stored->set_last_nanos(NanosOf(state.last_now));
  for (const PastWeights& past : state.history) stored->add_history(past.counter);
}

absl::StatusOr<OpenPlace> LoadOpen(const v1::StoredOpenState& stored, const ClientTable& clients) {
  OpenPlace open{
      .place = {.position = stored.log_position(), .end = stored.log_position(), .chain = stored.log_chain()},
      .time = Duration(stored.time_nanos())};
  OpenState& state = open.state;
  ASSIGN_OR_RETURN(state.clients, LoadOpenClients(stored, clients));
  for (const v1::StoredSession& session : stored.sessions()) {
    ASSIGN_OR_RETURN(state.sessions[session.client()], LoadSession(session));
  }
  for (const v1::StoredRound& round : stored.rounds()) state.rounds.push_back(LoadRound(round));
  state.oldest_base = stored.oldest_base();
  state.loss_scale = stored.loss_scale();
  state.clean_commits = stored.clean_commits();
  state.reevaluate = stored.reevaluate();
  state.last_now = TimeOf(stored.last_nanos());
  for (const uint64_t counter : stored.history())
    state.history.push_back({.counter = counter, .theta = nullptr});
  return open;
}

}  // namespace stepback
