// A model's open state given out, and a model that continues from one. What is rebuilt is checked for what would
// make the model break its own rules; it comes from disk.
#include <fmt/format.h>

#include <cmath>

#include "server/base/errors.h"
#include "server/base/status_macros.h"
#include "server/core/model_impl.h"

namespace stepback {
namespace {

PushRef RefOf(const Push& push) {
  const PushHeader& header = push.header;
  return {header.client_id, header.epoch, header.sequence, push.log_position};
}

OpenState::Client ClientOf(const Session& session) {
  OpenState::Client client{.epoch = session.epoch,
                           .role = session.role,
                           .end = session.end,
                           .lease_end = session.lease_end,
                           .contributed = session.contributed,
                           .excused = session.excused,
                           .base_wait = session.base_wait,
                           .nonfinite = session.nonfinite,
                           .quarantined_since = session.quarantined_since,
                           .staleness = session.staleness,
                           .pace = session.pace};
  for (const auto& [sequence, held] : session.held) {
    client.held.push_back({RefOf(held.checked.push), held.arrived});
  }
  return client;
}

OpenState::Member MemberOf(const RoundMember& member, TimePoint arrived) {
  return {.push = {member.client_id, member.epoch, member.sequence, member.log_position},
          .weight = member.weight,
          .staleness = member.staleness,
          .samples = member.samples,
          .local_steps = member.local_steps,
          .scaled = member.scaled,
          .skipped = member.skipped,
          .codec = member.codec,
          .arrived = arrived};
}

std::vector<OpenState::Member> MembersOf(const Round& round) {
  std::vector<OpenState::Member> members;
  members.reserve(round.members().size());
  for (const RoundMember& member : round.members()) {
    members.push_back(MemberOf(member, *round.arrived(members.size() + 1)));
  }
  return members;
}

std::string NameOf(const PushRef& ref) {
  return fmt::format("push {} of client '{}' (epoch {})", ref.sequence, ref.client_id, ref.epoch);
}

absl::Status Invalid(const ModelSpec& spec, const std::string& what) {
  return Error(absl::StatusCode::kInvalidArgument, "OPEN_STATE_INVALID",
               fmt::format("model '{}': {}", spec.name, what));
}

// A number that a sum could be spoilt by.
bool Usable(const PushWeight& weight) {
  for (const double number : {weight.share, weight.numerator, weight.clip, weight.mixing}) {
    if (!std::isfinite(number) || number < 0) return false;
  }
  return true;
}

// What the model took down of a member and its payload's header say alike.
bool Agree(const OpenState::Member& member, const PushHeader& header) {
  return member.samples == header.samples && member.local_steps == header.local_steps &&
         member.codec == header.codec && member.scaled == (header.loss_scale != 1);
}

PushHeader HeaderOf(const OpenState::Member& member, uint32_t round, bool fragments) {
  return {.client_id = member.push.client_id,
          .epoch = member.push.epoch,
          .sequence = member.push.sequence,
          .samples = member.samples,
          .local_steps = member.local_steps,
          .loss_scale = member.scaled ? 2.0 : 1.0,  // only whether it is 1 matters from here on
          .codec = member.codec,
          .fragment = fragments ? std::optional(round) : std::nullopt};
}

}  // namespace

OpenState Model::open_state() const {
  OpenState open;
  for (const auto& [id, session] : impl_->sessions.all()) {
    open.sessions.emplace_hint(open.sessions.end(), id, ClientOf(session));
  }
  for (const Impl::OpenRound& round : impl_->rounds) {
    open.rounds.push_back({MembersOf(round.round), round.grace.spreads(), round.retry_at});
  }
  open.clients = impl_->log.Freeze();
  open.oldest_base = impl_->oldest_base;
  open.loss_scale = impl_->scaler.scale();
  open.clean_commits = impl_->scaler.clean_commits();
  open.reevaluate = impl_->reevaluate;
  open.last_now = impl_->last_now;
  open.history = impl_->state->history();
  return open;
}

absl::StatusOr<std::unique_ptr<Model>> Model::FromImage(std::shared_ptr<const ModelVersion> image,
                                                        const OpenState& open, const FetchPush& fetch,
                                                        Environment environment) {
  RETURN_IF_ERROR(ModelState::CheckImage(*image));
  ASSIGN_OR_RETURN(auto state, ModelState::Make(*image, environment));
  auto impl = std::make_unique<Impl>(std::move(state), environment);
  RETURN_IF_ERROR(impl->Reopen(open, fetch));
  return std::unique_ptr<Model>(new Model(std::move(impl)));
}

absl::Status Model::Impl::Reopen(const OpenState& open, const FetchPush& fetch) {
  if (open.clients == nullptr || open.rounds.size() != rounds.size()) {
    return Invalid(spec(), fmt::format("the open state has {} rounds, the model {}", open.rounds.size(),
                                       rounds.size()));
  }
  if (!(std::isfinite(open.loss_scale) && open.loss_scale >= 1)) {
    return Invalid(spec(), fmt::format("the open state suggests loss scale {}", open.loss_scale));
  }
  log = ClientLog(*open.clients);
  scaler = LossScaler(open.loss_scale, open.clean_commits);
  oldest_base = open.oldest_base;
  last_now = open.last_now;
  RETURN_IF_ERROR(state->SetHistory(open.history));
  for (const auto& [id, client] : open.sessions) RETURN_IF_ERROR(ReopenSession(id, client, fetch));
  for (uint32_t number = 0; number < rounds.size(); ++number) {
    RETURN_IF_ERROR(ReopenRound(number, open.rounds[number], fetch));
  }
  reevaluate = open.reevaluate;
  return absl::OkStatus();
}

absl::Status Model::Impl::ReopenSession(const std::string& id, const OpenState::Client& client,
                                        const FetchPush& fetch) {
  const bool known = (client.contributed.empty() || *client.contributed.rbegin() < rounds.size()) &&
                     client.excused.value_or(0) < rounds.size();
  if (!known) return Invalid(spec(), fmt::format("client '{}' is in a round that there is not", id));
  if (client.held.size() > kPushesAhead + 1 || (client.end != SessionEnd::kLive && !client.held.empty())) {
    return Invalid(spec(), fmt::format("client '{}' has {} pushes that wait", id, client.held.size()));
  }
  if (client.end == SessionEnd::kLive && client.excused.has_value() && client.held.empty()) {
    return Invalid(spec(), fmt::format("client '{}' is excused without a push that waits", id));
  }
  sessions.Restore(id, {.epoch = client.epoch,
                        .role = client.role,
                        .end = client.end,
                        .lease_end = client.lease_end,
                        .contributed = client.contributed,
                        .excused = client.excused,
                        .base_wait = client.base_wait,
                        .nonfinite = client.nonfinite,
                        .quarantined_since = client.quarantined_since,
                        .staleness = client.staleness,
                        .pace = client.pace});
  uint64_t before = 0;
  for (const OpenState::Held& held : client.held) {
    if (held.push.client_id != id || held.push.sequence <= before) {
      return Invalid(spec(), fmt::format("{} waits as one of client '{}' after push {}", NameOf(held.push), id,
                                         before));
    }
    before = held.push.sequence;
    ASSIGN_OR_RETURN(CheckedPush push, Fetch(held.push, fetch));
    sessions.Hold(id, {std::move(push), held.arrived});
  }
  return absl::OkStatus();
}

absl::Status Model::Impl::ReopenRound(uint32_t number, const OpenState::OpenRound& open,
                                      const FetchPush& fetch) {
  if (open.spreads.size() > GraceWindow::kRoundsRemembered) {
    return Invalid(spec(), fmt::format("the grace window remembers {} rounds", open.spreads.size()));
  }
  rounds[number].grace = GraceWindow(open.spreads);
  rounds[number].retry_at = open.retry_at;
  for (const OpenState::Member& member : open.members) RETURN_IF_ERROR(Rejoin(number, member, fetch));
  return absl::OkStatus();
}

// In the recorded order with the recorded weights, so that a running sum gets the same bits.
absl::Status Model::Impl::Rejoin(uint32_t number, const OpenState::Member& member, const FetchPush& fetch) {
  const auto session = sessions.all().find(member.push.client_id);
  if (session == sessions.all().end() || !session->second.contributed.contains(number)) {
    return Invalid(spec(), NameOf(member.push) + " is in a round that its client's session knows nothing of");
  }
  if (!Usable(member.weight)) return Invalid(spec(), NameOf(member.push) + " has a weight that is no weight");
  Round& round = rounds[number].round;
  if (member.skipped) {
    round.AddSkipped(HeaderOf(member, number, round.fragment().has_value()), member.arrived);
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(CheckedPush push, Fetch(member.push, fetch));
  if (!Agree(member, push.push.header) || push.push.header.round() != number) {
    return Invalid(spec(), NameOf(member.push) + " is not the one that is in the open round");
  }
  const bool stage = spec().rounds.reduction == Reduction::kOrdered;
  if (!stage) {
    RETURN_IF_ERROR(state->ReserveSum());
    RETURN_IF_ERROR(state->Fold(push, member.weight, round));
  }
  round.Add(std::move(push), member.weight, member.staleness, stage, member.arrived);
  return absl::OkStatus();
}

absl::StatusOr<CheckedPush> Model::Impl::Fetch(const PushRef& ref, const FetchPush& fetch) const {
  ASSIGN_OR_RETURN(Push push, fetch(ref));
  const PushHeader& header = push.header;
  if (header.client_id != ref.client_id || header.epoch != ref.epoch || header.sequence != ref.sequence) {
    return Invalid(spec(), fmt::format("{} was found in place of {}", NameOf(RefOf(push)), NameOf(ref)));
  }
  push.log_position = ref.log_position;
  return CheckPush(spec(), state->layout(), std::move(push));
}

}  // namespace stepback
