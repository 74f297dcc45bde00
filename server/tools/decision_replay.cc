#include "server/tools/decision_replay.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <string_view>

#include "kernels/rule_info.h"
#include "server/core/round.h"
#include "server/core/round_policy.h"
#include "server/core/staleness_weight.h"
#include "server/engine/stored_spec.h"

namespace stepback {
namespace {

// A weight is a power or two and a division: the last bits may be another machine's.
constexpr double kWeightTolerance = 4e-16;
constexpr Duration kLongest = std::chrono::hours(24 * 365 * 100);
constexpr double kDeadlineSecondsMax = 1e9;

bool IsSameWeight(double a, double b) { return std::abs(a - b) <= kWeightTolerance * std::abs(b); }

std::string FieldOf(const v1::EventRecord& record, std::string_view name) {
  for (const v1::StoredLabel& field : record.fields()) {
    if (field.name() == name) return field.value();
  }
  return "";
}

Version VersionOf(const v1::EventRecord& record) { return {record.term(), record.counter()}; }
Version BeforeOf(const v1::MergeEvent& merge) { return {merge.before_term(), merge.before_counter()}; }

std::string Who(const v1::MergeEvent::Member& member) {
  return fmt::format("push {} of client '{}'", member.sequence(), member.client_id());
}

bool TakesWeights(const ModelSpec& spec) {
  const kernels::RuleInfo* const outer = kernels::FindOuterRule(spec.outer.name);
  return outer != nullptr && outer->takes_weights;
}

PushWeight WeightUnder(const ModelSpec& spec, const v1::MergeEvent::Member& member) {
  PushHeader header;
  header.kind = TakesWeights(spec) ? PushKind::kWeights : PushKind::kDelta;
  header.samples = member.samples();
  header.loss_scale = member.loss_scale();
  return WeightOf(header, spec.rounds, member.staleness());
}

// Times are differences; any point will do as the present. Nonsense is cut to what a clock can hold.
RoundProgress ProgressOf(const v1::MergeEvent& merge, TimePoint now) {
  const auto span = [](int64_t nanos) { return std::clamp(Duration(nanos), Duration::zero(), kLongest); };
  RoundProgress progress{
      .contributions = static_cast<uint64_t>(merge.members_size()) + merge.members_omitted(),
      .awaited = merge.awaited()};
  if (merge.has_since_first_nanos()) progress.first_at = now - span(merge.since_first_nanos());
  if (merge.has_since_quorum_nanos()) progress.quorum_at = now - span(merge.since_quorum_nanos());
  if (merge.has_grace_nanos()) progress.grace = span(merge.grace_nanos());
  return progress;
}

// What a replay goes by; the rest of a specification it does not look at.
absl::Status CheckSettings(const ModelSpec& spec) {
  if (!(spec.rounds.deadline_seconds >= 0 && spec.rounds.deadline_seconds <= kDeadlineSecondsMax))
    return absl::DataLossError(fmt::format("a deadline of {} s", spec.rounds.deadline_seconds));
  return StalenessWeight::Make(spec.rounds, "rounds").status();
}

}  // namespace

std::vector<DecisionReplay::Finding> DecisionReplay::Take(const v1::EventRecord& record) {
  found_.clear();
  const std::string& name = record.name();
  if (record.number() == 0) {  // the settings at the head of a file
    if (settings_.empty()) TakeSettings(record);
    return found_;
  }
  ++totals_.records;
  CheckNumber(record);
  if (name == "settings") TakeSettings(record);
  if (name == "round_closed") TakeMerge(record);
  if (name == "round_dropped" || name == "round_abandoned") TakeDrop(record);
  if (name == "push_refused") ++totals_.refused;
  if (name.starts_with("session_")) TakeSession(record);
  if (name == "model_created" || name == "model_recovered") TakeStart(record, name == "model_recovered");
  if (name == "model_restored") TakeRestore(record);
  if (name == "weights_imported") TakeImport(record);
  return found_;
}

void DecisionReplay::LoseTrack() {
  version_.reset();
  progress_.reset();
  next_number_ = 0;
  sessions_known_ = false;
  merged_.clear();  // a recovery may have let pushes be sent again
}

void DecisionReplay::Contradict(const v1::EventRecord& record, const std::string& what) {
  ++totals_.contradictions;
  found_.push_back({true, fmt::format("record {} ({}, version {}): {}", record.number(), record.name(),
                                      VersionOf(record).ToString(), what)});
}

void DecisionReplay::Note(const v1::EventRecord& record, const std::string& what) {
  found_.push_back({false, fmt::format("before record {} ({}, version {}): {}", record.number(),
                                       record.name(), VersionOf(record).ToString(), what)});
}

void DecisionReplay::CheckNumber(const v1::EventRecord& record) {
  const uint64_t expected = std::exchange(next_number_, record.number() + 1);
  if (expected == 0 || record.number() == expected) return;
  if (record.number() < expected) {
    Contradict(record, fmt::format("follows record {}", expected - 1));
    return;
  }
  const uint64_t missing = record.number() - expected;
  totals_.missing += missing;
  Note(record, fmt::format("{} records are missing; {} of them found no room when they were written", missing,
                           std::min(missing, record.dropped())));
  const uint64_t next = next_number_;
  LoseTrack();
  next_number_ = next;
}

void DecisionReplay::TakeSettings(const v1::EventRecord& record) {
  absl::StatusOr<ModelSpec> spec = LoadSpec(record.settings());
  const absl::Status sound = spec.ok() ? CheckSettings(*spec) : spec.status();
  if (!sound.ok()) return Contradict(record, std::string(sound.message()));
  settings_.push_back(*std::move(spec));
}

std::vector<const ModelSpec*> DecisionReplay::SettingsOf(const v1::MergeEvent& merge) const {
  std::vector<const ModelSpec*> all;
  const auto from = settings_at_.find(merge.fragment());
  for (size_t i = from == settings_at_.end() ? 0 : from->second; i < settings_.size(); ++i)
    all.push_back(&settings_[i]);
  return all;
}

// --- rounds ---

void DecisionReplay::TakeMerge(const v1::EventRecord& record) {
  ++totals_.merges;
  if (!record.has_merge()) return Contradict(record, "says nothing of the merge");
  CheckVersions(record);
  CheckMembers(record);
  CheckDecision(record);
  CheckProgress(record);
  version_ = VersionOf(record);
  term_ = std::max(term_, record.term());
  if (!settings_.empty()) settings_at_[record.merge().fragment()] = settings_.size() - 1;
}

void DecisionReplay::CheckVersions(const v1::EventRecord& record) {
  const Version before = BeforeOf(record.merge()), after = VersionOf(record);
  if (version_.has_value() && before != *version_) {
    Contradict(record, fmt::format("is made from version {}, but the model was at {}", before.ToString(),
                                   version_->ToString()));
  }
  if (after.term != before.term || after.counter != before.counter + 1) {
    Contradict(record, fmt::format("does not follow version {}", before.ToString()));
  }
}

void DecisionReplay::CheckMembers(const v1::EventRecord& record) {
  const v1::MergeEvent& merge = record.merge();
  std::set<std::string> clients;
  uint64_t weighed = 0;
  for (const v1::MergeEvent::Member& member : merge.members()) {
    CheckMember(record, member);
    weighed += member.skipped() ? 0 : 1;
    const bool again = !clients.insert(member.client_id()).second;
    if (again && !settings_.empty() && settings_.back().rounds.policy == RoundPolicy::kSync)
      Contradict(record, fmt::format("has several pushes of client '{}'", member.client_id()));
  }
  totals_.pushes += weighed;
  if (weighed == 0 && merge.members_omitted() == 0) Contradict(record, "was made of nothing");
  const bool ordered = !settings_.empty() && settings_.back().rounds.reduction == Reduction::kOrdered;
  const auto before = [](const v1::MergeEvent::Member& a, const v1::MergeEvent::Member& b) {
    return std::make_pair(a.client_id(), a.sequence()) < std::make_pair(b.client_id(), b.sequence());
  };
  if (ordered && !std::is_sorted(merge.members().begin(), merge.members().end(), before))
    Contradict(record, "was reduced in another order than by client and sequence number");
}

void DecisionReplay::CheckMember(const v1::EventRecord& record, const v1::MergeEvent::Member& member) {
  const PushKey key{member.client_id(), member.sequence()};
  if (const auto [first, fresh] = merged_.emplace(key, VersionOf(record)); !fresh) {
    Contradict(record,
               fmt::format("has {}, which is in version {} already", Who(member), first->second.ToString()));
  }
  const auto client = clients_.find(member.client_id());
  if (sessions_known_ && (client == clients_.end() || !client->second.epochs.contains(member.epoch()))) {
    Contradict(record,
               fmt::format("has {} under epoch {}, which no session had", Who(member), member.epoch()));
  }
  if (!(member.taken() >= 0 && member.taken() <= 1))
    Contradict(record, fmt::format("took {} of {}, expected 0..1", member.taken(), Who(member)));
  CheckStaleness(record, member);
  CheckWeight(record, member);
}

void DecisionReplay::CheckStaleness(const v1::EventRecord& record, const v1::MergeEvent::Member& member) {
  if (member.skipped()) return;
  const v1::MergeEvent& merge = record.merge();
  if (!merge.has_fragment() && member.base_counter() + member.staleness() != merge.before_counter()) {
    Contradict(record,
               fmt::format("gives {} staleness {}, but its base is {} and the version was {}", Who(member),
                           member.staleness(), member.base_counter(), merge.before_counter()));
  }
  uint64_t bound = 0;
  for (const ModelSpec* spec : SettingsOf(merge)) {
    const std::optional<uint32_t> most = spec->rounds.max_staleness;  // unset: by the number of workers
    bound = std::max(bound, most.has_value() ? uint64_t{*most} : UINT64_MAX);
  }
  if (!settings_.empty() && member.staleness() > bound) {
    Contradict(record, fmt::format("has {} of staleness {}, above max_staleness {}", Who(member),
                                   member.staleness(), bound));
  }
}

void DecisionReplay::CheckWeight(const v1::EventRecord& record, const v1::MergeEvent::Member& member) {
  if (member.skipped()) {
    if (member.share() != 0 || member.numerator() != 0)
      Contradict(record, fmt::format("gives {} a weight, though it was skipped", Who(member)));
    return;
  }
  PushWeight expected;
  for (const ModelSpec* spec : SettingsOf(record.merge())) {
    expected = WeightUnder(*spec, member);
    if (expected.share == member.share() && IsSameWeight(member.numerator(), expected.numerator) &&
        IsSameWeight(member.mixing(), expected.mixing)) {
      return;
    }
  }
  if (settings_.empty()) return;
  Contradict(record,
             fmt::format("gives {} share {}, numerator {} and mixing {}; the settings give {}, {} and {}",
                         Who(member), member.share(), member.numerator(), member.mixing(), expected.share,
                         expected.numerator, expected.mixing));
}

void DecisionReplay::CheckDecision(const v1::EventRecord& record) {
  if (settings_.empty()) return;
  const v1::MergeEvent& merge = record.merge();
  const TimePoint now{kLongest};
  const RoundDecision decision = DecideRound(ProgressOf(merge, now), settings_.back().rounds, now);
  if (!decision.close)
    Contradict(record, fmt::format("closed ({}), but the rule says: {}", record.reason(), decision.reason));
  const auto trains = [](const auto& entry) { return entry.second.trains; };
  const auto trainers = static_cast<uint64_t>(std::count_if(clients_.begin(), clients_.end(), trains));
  if (sessions_known_ && merge.awaited() > trainers) {
    Contradict(record, fmt::format("waited for {} more workers, but only {} had a session", merge.awaited(),
                                   trainers));
  }
}

void DecisionReplay::CheckProgress(const v1::EventRecord& record) {
  const v1::MergeEvent& merge = record.merge();
  const Progress after{merge.inner_steps(), merge.outer_steps(), merge.samples()};
  const bool whole = !merge.has_fragment() && merge.members_omitted() == 0;  // a fragment's are its own
  if (progress_.has_value() && whole && !settings_.empty()) {
    Progress sum = *progress_;
    sum.outer_steps += merge.outer_step() ? 1 : 0;
    const bool gradient = settings_.back().mode == Mode::kGradient;
    if (gradient) ++sum.inner_steps;
    for (const v1::MergeEvent::Member& member : merge.members()) {
      if (member.skipped()) continue;
      sum.samples += member.samples();
      if (!gradient) sum.inner_steps += member.local_steps();
    }
    if (after != sum) {
      Contradict(record,
                 fmt::format("counts {} inner steps, {} outer steps, {} samples; they add up to {}, {}, {}",
                             after.inner_steps, after.outer_steps, after.samples, sum.inner_steps,
                             sum.outer_steps, sum.samples));
    }
  }
  progress_ = progress_at_[record.counter()] = after;
}

void DecisionReplay::TakeDrop(const v1::EventRecord& record) {
  ++totals_.dropped_rounds;
  if (record.has_merge() && version_.has_value() && BeforeOf(record.merge()) != *version_ &&
      record.name() == "round_dropped") {
    Contradict(record, fmt::format("the model was at version {}", version_->ToString()));
  }
}

// --- sessions ---

void DecisionReplay::TakeSession(const v1::EventRecord& record) {
  const std::string id = FieldOf(record, "client");
  const uint64_t epoch = std::strtoull(FieldOf(record, "epoch").c_str(), nullptr, 10);
  Client& client = clients_[id];
  if (record.name() == "session_opened") {
    if (epoch <= client.newest)
      Contradict(record, fmt::format("client '{}' got epoch {} after {}", id, epoch, client.newest));
    client.newest = epoch;
    client.epochs.insert(epoch);
    client.trains = FieldOf(record, "role") == "trainer";
    return;
  }
  if (sessions_known_ && epoch != client.newest)
    Contradict(record, fmt::format("client '{}' had epoch {}, not {}", id, client.newest, epoch));
  if (epoch == client.newest) client.trains = false;
}

// --- other weights ---

// What was not durable is gone: clients send it again. Sessions end with the server unless every call is
// logged.
void DecisionReplay::TakeStart(const v1::EventRecord& record, bool recovered) {
  const Version version = VersionOf(record);
  if (recovered && term_ != 0 && version.term <= term_)
    Contradict(record, fmt::format("the term did not rise above {}", term_));
  if (recovered && version_.has_value() && version.counter > version_->counter) {
    Note(record, fmt::format("{} versions of before the crash are not in the log",
                             version.counter - version_->counter));
  }
  if (!recovered) {  // it may have had a predecessor of its name that was not on disk
    merged_.clear();
    clients_.clear();
    term_ = 0;
  }
  std::erase_if(merged_, [&](const auto& entry) { return entry.second.counter > version.counter; });
  std::erase_if(progress_at_, [&](const auto& entry) { return entry.first > version.counter; });
  for (auto& [id, client] : clients_) client.trains = false;
  sessions_known_ = settings_.empty() || settings_.back().durability != Durability::kPush;
  version_ = version;
  term_ = std::max(term_, version.term);
  const auto known = progress_at_.find(version.counter);
  progress_ = known == progress_at_.end() ? std::nullopt : std::optional(known->second);
  if (!recovered) progress_ = Progress();
}

void DecisionReplay::TakeRestore(const v1::EventRecord& record) {
  const Version version = VersionOf(record);
  if (term_ != 0 && version.term <= term_)
    Contradict(record, fmt::format("the term did not rise above {}", term_));
  if (version_.has_value() && version.counter <= version_->counter)
    Contradict(record, fmt::format("the counter did not rise above version {}", version_->ToString()));
  version_ = version;
  term_ = std::max(term_, version.term);
  progress_.reset();
}

void DecisionReplay::TakeImport(const v1::EventRecord& record) {
  const Version version = VersionOf(record);
  if (version_.has_value() && version.counter != version_->counter + 1)
    Contradict(record, fmt::format("does not follow version {}", version_->ToString()));
  version_ = version;
  progress_ = Progress();
}

}  // namespace stepback
