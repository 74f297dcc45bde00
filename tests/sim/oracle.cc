#include "tests/sim/oracle.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "server/base/errors.h"

namespace stepback::sim {
namespace {

constexpr size_t kViolationsKept = 20;
constexpr uint64_t kAnswersHeld = 8;  // decisions 1

std::string Join(const std::vector<uint64_t>& values) {
  std::string text;
  for (const uint64_t value : values) text += fmt::format("{}{}", text.empty() ? "" : " ", value);
  return text;
}

}  // namespace

std::string ClientId(size_t client) { return fmt::format("client-{}", client); }

void Oracle::Violate(std::string what) {
  if (violations_.size() < kViolationsKept) violations_.push_back(std::move(what));
}

Oracle::Entry Oracle::Describe(const ModelVersion& version, const std::vector<float>& weights) const {
  Entry entry{
      .version = version.version, .counts = {}, .decided = {}, .reference = {weights.begin(), weights.end()}};
  for (size_t client = 0; client < clients(); ++client) {
    entry.counts.push_back((version.samples >> (10 * client)) & 1023);
    const ClientRecord* record = version.clients->Find(ClientId(client));
    entry.decided.push_back(record == nullptr ? 0 : record->last_sequence);
  }
  return entry;
}

void Oracle::OnVersion(const ModelVersion& version, const std::vector<float>& weights, bool durable) {
  Entry now = Describe(version, weights);
  if (lineage_.empty()) {
    CheckSums(now, weights);
    lineage_.push_back(std::move(now));
    newest_term_ = version.version.term;
  } else if (lineage_.back().version < now.version) {
    Append(std::move(now), weights, /*restored=*/now.version.term != lineage_.back().version.term);
  } else if (now.version < lineage_.back().version) {
    Violate(fmt::format("the version went back from {} to {}", lineage_.back().version.ToString(),
                        now.version.ToString()));
  } else if (now.reference != lineage_.back().reference) {
    Violate(fmt::format("version {} has two contents", now.version.ToString()));
  }
  if (durable) durable_ = lineage_.size() - 1;
}

void Oracle::Append(Entry now, const std::vector<float>& weights, bool restored) {
  const Entry& before = lineage_.back();
  now.restored_decided = before.restored_decided;
  now.restored_counts = before.restored_counts;
  now.commits = before.commits + now.version.counter - before.version.counter;
  if (restored)
    CheckRestored(before, &now);
  else
    CheckWeights(before, now, weights);
  lineage_.push_back(std::move(now));
}

// What one commit more may do to the weights: async and buffered rounds add their pushes' mean, one after the
// other in order of numbers; several sync rounds in one task are told apart by their sums only.
void Oracle::CheckWeights(const Entry& before, const Entry& now, const std::vector<float>& weights) {
  const uint64_t commits = now.commits - before.commits;
  std::vector<double> expected = before.reference;
  uint64_t contributions = 0;
  for (size_t client = 0; client < clients(); ++client) {
    if (now.counts[client] < before.counts[client] || now.decided[client] < before.decided[client])
      Violate(fmt::format("{} lost pushes of client {} without a restart", now.version.ToString(), client));
    contributions += now.counts[client] - before.counts[client];
  }
  const bool refusals = [&] {
    for (size_t client = 0; client < clients(); ++client)
      if (now.decided[client] - before.decided[client] != now.counts[client] - before.counts[client])
        return true;
    return false;
  }();
  const bool mean_known = plan_.spec.rounds.policy != RoundPolicy::kSync || commits == 1;
  if (!refusals && mean_known) {
    const double share = static_cast<double>(commits) / static_cast<double>(contributions) * kUnit;
    for (size_t client = 0; client < clients(); ++client) {
      for (uint64_t s = before.decided[client] + 1; s <= now.decided[client]; ++s) {
        expected[client] += share;
        expected[clients() + client] += share * static_cast<double>(s);
      }
    }
    expected[2 * clients()] += kUnit * static_cast<double>(commits);
    const bool equal = std::equal(expected.begin(), expected.end(), now.reference.begin(),
                                  [&](double a, double b) { return std::abs(a - b) <= slack(); });
    if (!equal) {
      Violate(fmt::format(
          "{}: weights are not those of the serial reference after {} ({} commits; counts {} -> {})",
          now.version.ToString(), before.version.ToString(), commits, Join(before.counts), Join(now.counts)));
    }
  }
  CheckSums(now, weights);
}

double Oracle::slack() const {
  const RoundSpec& rounds = plan_.spec.rounds;
  const bool halves =
      rounds.policy == RoundPolicy::kAsync ||
      (rounds.policy == RoundPolicy::kBuffered && (rounds.buffer_pushes == 2 || rounds.buffer_pushes == 4));
  return rounds.reduction == Reduction::kOrdered || halves ? 0 : 2;
}

// Without knowing any order: every commit adds one unit to `all`.
void Oracle::CheckSums(const Entry& entry, const std::vector<float>& weights) {
  const double commits = static_cast<double>(entry.commits);
  if (std::abs(weights[2 * clients()] - kUnit * commits) > slack())
    Violate(fmt::format("{}: 'all' is {}, {} commits add up to {}", entry.version.ToString(),
                        weights[2 * clients()], entry.commits, kUnit * commits));
}

void Oracle::CheckRestored(const Entry& before, Entry* now) {
  const auto labelled = labelled_.find(restoring_);
  if (labelled == labelled_.end())
    return Violate(fmt::format("the term rose without a restart: {}", now->version.ToString()));
  newest_term_ = std::max(newest_term_, now->version.term);
  now->commits = labelled->second.commits;
  now->restored_counts = now->counts;
  now->restored_decided = now->decided;
  if (!SameContent(labelled->second, *now))
    Violate(fmt::format("{} was restored from '{}' and is not version {}", now->version.ToString(),
                        restoring_, labelled->second.version.ToString()));
  if (now->version.counter <= before.version.counter)
    Violate(fmt::format("{} was restored over {}", now->version.ToString(), before.version.ToString()));
  for (size_t client = 0; client < clients(); ++client) {
    if (now->decided[client] < highest_decided_[client])
      Violate(fmt::format("{} was restored and forgot pushes of client {}: {} instead of {}",
                          now->version.ToString(), client, now->decided[client], highest_decided_[client]));
  }
}

void Oracle::OnLabelled(const std::string& label, const Version& version) {
  const auto same = std::find_if(lineage_.begin(), lineage_.end(), [&](const Entry& entry) {
    return entry.version.counter == version.counter;
  });
  if (same == lineage_.end())
    return Violate(fmt::format("'{}' is of version {}, which never was", label, version.ToString()));
  labelled_.emplace(label, *same);
}

void Oracle::OnRestoring(const std::string& label) { restoring_ = label; }

// What was acknowledged is on disk, except in a model that is never saved by itself.
void Oracle::OnRestored() {
  if (plan_.spec.durability != Durability::kVolatile) durable_ = lineage_.size() - 1;
}

void Oracle::OnRecovered(const ModelVersion& version, const std::vector<float>& weights,
                         bool lost_generation) {
  const Entry recovered = Describe(version, weights);
  if (version.version.term <= newest_term_)
    Violate(fmt::format("recovered as {}, though term {} was served before", version.version.ToString(),
                        newest_term_));
  newest_term_ = std::max(newest_term_, version.version.term);
  if (plan_.spec.durability == Durability::kPush) return OnReplayed(recovered, weights);
  const auto same = std::find_if(lineage_.begin(), lineage_.end(), [&](const Entry& entry) {
    return entry.version.counter == version.version.counter;
  });
  if (same == lineage_.end())
    return Violate(fmt::format("recovered {}, which never was", version.version.ToString()));
  const size_t index = static_cast<size_t>(same - lineage_.begin());
  if (same->reference != recovered.reference || same->counts != recovered.counts ||
      same->decided != recovered.decided)
    Violate(fmt::format("recovered {} is not the version that was served as {}", version.version.ToString(),
                        same->version.ToString()));
  if (!lost_generation && index < durable_)
    Violate(fmt::format("recovered {}, though {} was called durable", version.version.ToString(),
                        lineage_[durable_].version.ToString()));
  for (size_t client = 0; client < clients(); ++client) {
    if (!lost_generation && recovered.decided[client] < durable_sequence_[client])
      Violate(fmt::format("recovered {} has pushes of client {} up to {}, though {} was called durable",
                          version.version.ToString(), client, recovered.decided[client],
                          durable_sequence_[client]));
    highest_decided_[client] = recovered.decided[client];
    durable_sequence_[client] = std::min(durable_sequence_[client], recovered.decided[client]);
  }
  std::erase_if(decisions_, [&](const auto& d) { return d.first.second > recovered.decided[d.first.first]; });
  lineage_.resize(index + 1);
  lineage_.back().version = version.version;
  durable_ = index;
  restoring_.clear();
}

// Nothing that was ever served or answered is lost; what was in the log, and nobody had heard of, may be
// there too. After a restore that nobody had heard of nothing more was decided: it ends every session.
void Oracle::OnReplayed(const Entry& recovered, const std::vector<float>& weights) {
  const Entry& last = lineage_.back();
  const auto labelled = labelled_.find(restoring_);
  if (recovered.version.counter < last.version.counter) {
    Violate(fmt::format("recovered {}, though {} was served", recovered.version.ToString(),
                        last.version.ToString()));
  } else if (recovered.version.counter > last.version.counter) {
    Append(recovered, weights, labelled != labelled_.end() && SameContent(recovered, labelled->second));
  } else if (!SameContent(recovered, last) || recovered.decided != last.decided) {
    Violate(fmt::format("recovered {} is not the version that was served as {}", recovered.version.ToString(),
                        last.version.ToString()));
  }
  lineage_.back().version = recovered.version;
  restoring_.clear();
}

void Oracle::OnAnswer(size_t client, uint64_t sequence, const absl::StatusOr<PushAnswer>& answer) {
  const bool refused = !answer.ok() && ReasonOf(answer.status()) == "STALE_BASE";
  if (answer.ok() || refused) highest_decided_[client] = std::max(highest_decided_[client], sequence);
  if (!answer.ok()) return;
  const bool repeat = answer->outcome == PushOutcome::kDuplicate;
  // Beyond the horizon the server knows that it was decided, not how.
  if (repeat && answer->version.term == 0) {
    if (highest_decided_[client] < sequence + kAnswersHeld)
      Violate(fmt::format("the answer to push {} of client {} is forgotten already", sequence, client));
    return;
  }
  const Decision decision{repeat ? answer->first_outcome : answer->outcome, answer->version};
  const auto [found, is_new] = decisions_.emplace(std::pair(client, sequence), decision);
  OnDurable(client, answer->durable_sequence);
  if (plan_.spec.durability == Durability::kPush && answer->durable_sequence < sequence)
    Violate(fmt::format("push {} of client {} was answered, though only {} is durable", sequence, client,
                        answer->durable_sequence));
  if (is_new) return;
  if (!repeat) Violate(fmt::format("push {} of client {} was decided twice", sequence, client));
  if (found->second.outcome != decision.outcome || found->second.version != decision.version)
    Violate(fmt::format("push {} of client {} was answered {} first, {} when repeated", sequence, client,
                        found->second.version.ToString(), decision.version.ToString()));
}

void Oracle::OnDurable(size_t client, uint64_t sequence) {
  durable_sequence_[client] = std::max(durable_sequence_[client], sequence);
}

void Oracle::OnEnd(const std::vector<std::vector<bool>>& accepted_pushes) {
  const Entry& last = lineage_.back();
  const RoundSpec& rounds = plan_.spec.rounds;
  const uint64_t open = rounds.policy == RoundPolicy::kBuffered ? rounds.buffer_pushes - 1
                        : rounds.policy == RoundPolicy::kSync   ? clients()
                                                                : 0;
  // What a restore took away, or kept, is as it was then, whatever the clients were told before.
  std::vector<uint64_t> accepted;
  for (size_t client = 0; client < clients(); ++client) {
    const bool restored = !last.restored_decided.empty();
    const std::vector<bool>& pushes = accepted_pushes[client];
    const size_t from = restored ? std::min<size_t>(last.restored_decided[client], pushes.size()) : 0;
    const auto since = std::count(pushes.begin() + static_cast<ptrdiff_t>(from), pushes.end(), true);
    accepted.push_back((restored ? last.restored_counts[client] : 0) + static_cast<uint64_t>(since));
  }
  uint64_t missing = 0;
  for (size_t client = 0; client < clients(); ++client) {
    if (last.counts[client] > accepted[client])
      Violate(fmt::format("client {}: {} pushes are in, {} were accepted", client, last.counts[client],
                          accepted[client]));
    else
      missing += accepted[client] - last.counts[client];
  }
  if (missing > open)
    Violate(fmt::format("{} accepted pushes are not in the weights ({} of {} are), an open round explains {}",
                        missing, Join(last.counts), Join(accepted), open));
}

}  // namespace stepback::sim
