// When a round closes (decisions 3): the decision with its reason in words. Pure.
//
//   const RoundDecision decision = DecideRound(progress, spec.rounds, now);
//   if (decision.close) ...
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "server/base/clock.h"
#include "server/core/spec.h"

namespace stepback {

struct RoundProgress {
  uint64_t contributions =
      0;                 // pushes in the round; SYNC: also those that overflowed, they satisfy membership
  uint64_t awaited = 0;  // live trainers that have not contributed and are not excused
  std::optional<TimePoint> first_at;   // of the first contribution
  std::optional<TimePoint> quorum_at;  // SYNC: of the contribution that made the quorum
  std::optional<Duration>
      grace;  // SYNC: longest wait from then on (grace_window.h); nullopt: not bounded by one
};

struct RoundDecision {
  bool close = false;
  std::string reason;  // "2 of 2 workers contributed", "1 of 2 workers, quorum 2"
};

RoundDecision DecideRound(const RoundProgress& progress, const RoundSpec& rounds, TimePoint now);

// When DecideRound closes the round by time alone; nullopt: never.
std::optional<TimePoint> RoundDeadline(const RoundProgress& progress, const RoundSpec& rounds);

}  // namespace stepback
