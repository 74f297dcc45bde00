// Rounds of a model: how far the open one is, and what happens when it closes.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>

#include "server/base/errors.h"
#include "server/base/failpoint.h"
#include "server/core/model_impl.h"

namespace stepback {
namespace {

constexpr Duration kRetryAfter = std::chrono::seconds(1);
constexpr size_t kMembersNamed = 64;  // in an event

// "worker-0:7 weight 1 staleness 0"; fmt prints the shortest decimal that reads back as the same bits.
std::string Describe(const RoundMember& member) {
  std::string fate = member.skipped ? " skipped" : "";
  if (!member.skipped && member.taken != 1) {
    fate = member.taken == 0 ? " not selected" : fmt::format(" scaled by {}", member.taken);
  }
  if (member.weight.clip != 1) fate += fmt::format(" clipped by {}", member.weight.clip);
  if (member.weight.mixing != 1) fate += fmt::format(" mixed by {}", member.weight.mixing);
  return fmt::format("{}:{} weight {} staleness {}{}", member.client_id, member.sequence,
                     member.weight.numerator, member.staleness, fate);
}

std::string Describe(const std::vector<RoundMember>& members) {
  std::string text;
  for (size_t i = 0; i < std::min(members.size(), kMembersNamed); ++i) {
    text += (i == 0 ? "" : "; ") + Describe(members[i]);
  }
  if (members.size() > kMembersNamed) text += fmt::format("; and {} more", members.size() - kMembersNamed);
  return text;
}

// "worker-0:7; worker-3:2": of whom the aggregator took something.
std::string Selected(const std::vector<RoundMember>& members) {
  std::string text;
  size_t named = 0, more = 0;
  for (const RoundMember& member : members) {
    if (member.skipped || member.taken == 0) continue;
    if (named == kMembersNamed) {
      ++more;
      continue;
    }
    text += fmt::format("{}{}:{}", named++ == 0 ? "" : "; ", member.client_id, member.sequence);
  }
  return more == 0 ? text : fmt::format("{}; and {} more", text, more);
}

absl::Status AllOverflowed(const ModelSpec& spec, const Round& round) {
  return Error(
      absl::StatusCode::kAborted, "ROUND_SKIPPED",
      fmt::format("model '{}': all {} pushes of the round overflowed under loss scaling; nothing to commit",
                  spec.name, round.contributions()));
}

}  // namespace

RoundProgress Model::Impl::Progress(uint32_t number) const {
  const OpenRound& open = rounds[number];
  return {.contributions = open.round.contributions(),
          .awaited = sessions.awaited(number),
          .first_at = open.round.first_at(),
          .quorum_at = open.round.arrived(spec().rounds.quorum),
          .grace = open.grace.For(spec().rounds)};
}

RoundProgress Model::Impl::ProgressWith(const PushHeader& header, TimePoint now) const {
  RoundProgress progress = Progress(header.round());
  ++progress.contributions;
  progress.awaited -= sessions.Find(header.client_id)->awaited(header.round());
  if (!progress.first_at.has_value()) progress.first_at = now;
  if (progress.contributions == spec().rounds.quorum) progress.quorum_at = now;
  return progress;
}

bool Model::Impl::EvaluateRounds(TimePoint now, Effects* effects) {
  bool ended = false;
  for (uint32_t number = 0; number < rounds.size(); ++number) {
    ended = EvaluateRound(number, now, effects) || ended;
  }
  return ended;
}

bool Model::Impl::EvaluateRound(uint32_t number, TimePoint now, Effects* effects) {
  const Round& round = rounds[number].round;
  const RoundDecision decision = DecideRound(Progress(number), spec().rounds, now);
  if (!decision.close) return false;
  if (round.effective() == 0) {
    DropRound(number, AllOverflowed(spec(), round), effects);
    return true;
  }
  absl::StatusOr<NextArrays> next = state->ReserveNext(round, round.staged());
  if (!next.ok()) {
    RetryLater(number, next.status(), now, effects);
    return false;
  }
  absl::StatusOr<std::shared_ptr<ModelVersion>> version = CommitRound(number, *std::move(next), effects);
  if (version.ok()) Publish(number, *std::move(version), decision.reason, effects);
  if (!round.open()) return true;
  RetryLater(number, version.status(), now, effects);
  return false;
}

// Nothing is lost: the round stays complete and open.
void Model::Impl::RetryLater(uint32_t number, const absl::Status& why, TimePoint now, Effects* effects) {
  std::optional<TimePoint>& retry_at = rounds[number].retry_at;
  if (!retry_at.has_value()) effects->events.push_back({"round_delayed", std::string(why.message()), {}});
  retry_at = now + kRetryAfter;
}

absl::StatusOr<std::shared_ptr<ModelVersion>> Model::Impl::CommitRound(uint32_t number, NextArrays next,
                                                                       Effects* effects) {
  FAILPOINT("round.before_close");
  Round& round = rounds[number].round;
  if (spec().rounds.reduction == Reduction::kOrdered) round.Sort();
  FAILPOINT("round.before_commit");
  bool intact = false;
  absl::StatusOr<std::shared_ptr<ModelVersion>> version = state->Commit(&round, std::move(next), &intact);
  FAILPOINT("round.after_commit");
  if (!version.ok() && !intact) DropRound(number, version.status(), effects);
  return version;
}

void Model::Impl::Publish(uint32_t number, std::shared_ptr<ModelVersion> made, const std::string& reason,
                          Effects* effects) {
  const Round& round = rounds[number].round;
  const auto& members = round.members();
  const bool scaled =
      std::any_of(members.begin(), members.end(), [](const RoundMember& m) { return m.scaled; });
  const bool skipped =
      std::any_of(members.begin(), members.end(), [](const RoundMember& m) { return m.skipped; });
  if (scaled && !skipped) scaler.Committed();
  effects->synced = effects->synced || made->outer_steps > state->current()->outer_steps;
  made->clients = ClientsWithout(number);
  effects->events.push_back(RoundClosed(number, *made, reason));
  effects->committed = std::move(made);
  state->Publish(effects->committed);
  EndRound(number, effects);
  FAILPOINT("round.after_close");
}

std::shared_ptr<const ClientTable> Model::Impl::ClientsWithout(uint32_t number) const {
  ClientLog::Sequences open;
  for (uint32_t other = 0; other < rounds.size(); ++other) {
    if (other == number) continue;
    for (const RoundMember& member : rounds[other].round.members()) {
      open[member.client_id].push_back(member.sequence);
    }
  }
  return log.Freeze(open);
}

void Model::Impl::DropRound(uint32_t number, const absl::Status& why, Effects* effects) {
  effects->round_dropped = why;
  effects->dropped_rounds.emplace_back(number, why);
  effects->events.push_back({"round_dropped",
                             std::string(why.message()),
                             {{"reason", ReasonOf(why)},
                              {"version", version().ToString()},
                              {"members", Describe(rounds[number].round.members())}},
                             RecordRound(number, nullptr)});
  EndRound(number, effects);
}

void Model::Impl::EndRound(uint32_t number, Effects* effects) {
  OpenRound& open = rounds[number];
  if (open.round.open()) effects->ended_rounds.insert(number);
  if (const auto quorum_at = open.round.arrived(spec().rounds.quorum))
    open.grace.Record(*quorum_at - *open.round.first_at());
  for (const RoundMember& member : open.round.members())
    sessions.SetContributed(member.client_id, number, false);
  open.round.Clear();
  open.retry_at.reset();
  ready.insert(sessions.holders().begin(), sessions.holders().end());
}

void Model::Impl::EndAllRounds(const std::string& why, Effects* effects) {
  for (uint32_t number = 0; number < rounds.size(); ++number) {
    if (rounds[number].round.open())
      effects->events.push_back({"round_abandoned", why, {}, RecordRound(number, nullptr)});
    EndRound(number, effects);
  }
}

std::shared_ptr<const MergeRecord> Model::Impl::RecordRound(uint32_t number, const ModelVersion* made) const {
  const Round& round = rounds[number].round;
  const ModelVersion& before = *state->current();
  const ModelVersion& after = made == nullptr ? before : *made;
  auto record = std::make_shared<MergeRecord>();
  *record = {.before = before.version,
             .after = after.version,
             .fragment = round.fragment(),
             .outer_step = after.outer_steps > before.outer_steps,
             .inner_steps = after.inner_steps,
             .outer_steps = after.outer_steps,
             .samples = after.samples,
             .progress = Progress(number),
             .decided_at = last_now};
  for (const RoundMember& member : round.members()) record->members.push_back(RecordOf(member));
  if (made == nullptr) return record;
  record->update_norm = made->update_norm;
  record->weight_norm = made->weight_norm;
  record->distance = made->distance;
  record->merge_share = made->merge_share;
  record->rates = made->rates;
  return record;
}

bool Model::Impl::AnyOpen() const {
  return std::any_of(rounds.begin(), rounds.end(), [](const OpenRound& open) { return open.round.open(); });
}

Effects::Event Model::Impl::RoundClosed(uint32_t number, const ModelVersion& made,
                                        const std::string& reason) const {
  const Round& round = rounds[number].round;
  Effects::Event event{"round_closed",
                       reason,
                       {{"version", made.version.ToString()},
                        {"members", Describe(round.members())},
                        {"outer_step", made.outer_steps > state->current()->outer_steps ? "yes" : "no"},
                        {"update_norm", fmt::format("{}", made.update_norm)},
                        {"weight_norm", fmt::format("{}", made.weight_norm)},
                        {"distance", fmt::format("{}", made.distance)}},
                       RecordRound(number, &made)};
  if (made.merge_share >= 0) event.fields.emplace_back("alpha", fmt::format("{}", made.merge_share));
  if (round.fragment().has_value()) event.fields.emplace_back("fragment", std::to_string(*round.fragment()));
  const AggregatorChoice& aggregator = state->aggregator();
  if (aggregator.robust()) event.fields.emplace_back("aggregator", aggregator.Describe());
  if (aggregator.info().compares()) event.fields.emplace_back("selected", Selected(round.members()));
  return event;
}

}  // namespace stepback
