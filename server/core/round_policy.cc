#include "server/core/round_policy.h"

#include <fmt/format.h>

#include <algorithm>

#include "server/core/seconds.h"

namespace stepback {
namespace {

std::string Share(const RoundProgress& progress) {
  const uint64_t workers = progress.contributions + progress.awaited;
  return fmt::format("{} of {} worker{}", progress.contributions, workers, workers == 1 ? "" : "s");
}

std::optional<TimePoint> GraceEnd(const RoundProgress& progress) {
  if (!progress.quorum_at.has_value() || !progress.grace.has_value()) return std::nullopt;
  return *progress.quorum_at + *progress.grace;
}

// The quorum is there; who is awaited has not come yet.
RoundDecision DecideByTime(const RoundProgress& progress, const RoundSpec& rounds, TimePoint now) {
  const std::optional<TimePoint> grace_end = GraceEnd(progress), end = RoundDeadline(progress, rounds);
  const double grace = progress.grace.has_value() ? ToSeconds(*progress.grace) : 0;
  if (!end.has_value()) return {false, Share(progress)};
  const bool by_grace = grace_end == end;
  if (now < *end) {
    return {false, by_grace
                       ? fmt::format("{}, grace of {:.3g} s after the quorum runs", Share(progress), grace)
                       : Share(progress)};
  }
  if (by_grace) {
    return {true, fmt::format("grace of {:.3g} s after the quorum of {} passed with {}", grace, rounds.quorum,
                              Share(progress))};
  }
  return {true, fmt::format("deadline of {} s passed with {}", rounds.deadline_seconds, Share(progress))};
}

RoundDecision DecideSync(const RoundProgress& progress, const RoundSpec& rounds, TimePoint now) {
  if (progress.contributions < rounds.quorum) {
    return {false, fmt::format("{}, quorum {}", Share(progress), rounds.quorum)};
  }
  if (progress.awaited == 0) return {true, Share(progress) + " contributed"};
  return DecideByTime(progress, rounds, now);
}

RoundDecision DecideBuffered(const RoundProgress& progress, const RoundSpec& rounds) {
  const bool full = progress.contributions >= rounds.buffer_pushes;
  return {full, fmt::format("{} of {} pushes", progress.contributions, rounds.buffer_pushes)};
}

}  // namespace

RoundDecision DecideRound(const RoundProgress& progress, const RoundSpec& rounds, TimePoint now) {
  if (progress.contributions == 0) return {false, "no contribution yet"};
  if (rounds.policy == RoundPolicy::kAsync) return {true, "applied at once"};
  if (rounds.policy == RoundPolicy::kBuffered) return DecideBuffered(progress, rounds);
  // An ordered round has room for max_workers staged pushes (quorum is at most that).
  if (rounds.reduction == Reduction::kOrdered && progress.contributions >= rounds.max_workers) {
    return {true, fmt::format("full: {} contributions staged, max_workers {}", progress.contributions,
                              rounds.max_workers)};
  }
  return DecideSync(progress, rounds, now);
}

std::optional<TimePoint> RoundDeadline(const RoundProgress& progress, const RoundSpec& rounds) {
  const bool can_close = rounds.policy == RoundPolicy::kSync && progress.contributions >= rounds.quorum &&
                         progress.first_at.has_value();
  if (!can_close) return std::nullopt;
  std::optional<TimePoint> end = GraceEnd(progress);
  if (rounds.deadline_seconds == 0) return end;
  const TimePoint deadline = *progress.first_at + FromSeconds(rounds.deadline_seconds);
  return end.has_value() ? std::min(*end, deadline) : deadline;
}

}  // namespace stepback
