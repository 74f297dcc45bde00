#include "server/core/round_policy.h"

#include <fmt/format.h>

#include "server/core/seconds.h"

namespace stepback {
namespace {

std::string Share(const RoundProgress& progress) {
  const uint64_t workers = progress.contributions + progress.awaited;
  return fmt::format("{} of {} worker{}", progress.contributions, workers, workers == 1 ? "" : "s");
}

RoundDecision DecideSync(const RoundProgress& progress, const RoundSpec& rounds, TimePoint now) {
  if (progress.contributions < rounds.quorum) {
    return {false, fmt::format("{}, quorum {}", Share(progress), rounds.quorum)};
  }
  if (progress.awaited == 0) return {true, Share(progress) + " contributed"};
  const std::optional<TimePoint> deadline = RoundDeadline(progress, rounds);
  if (deadline.has_value() && now >= *deadline) {
    return {true, fmt::format("deadline of {} s passed with {}", rounds.deadline_seconds, Share(progress))};
  }
  return {false, Share(progress)};
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
                         rounds.deadline_seconds > 0 && progress.first_at.has_value();
  if (!can_close) return std::nullopt;
  return *progress.first_at + FromSeconds(rounds.deadline_seconds);
}

}  // namespace stepback
