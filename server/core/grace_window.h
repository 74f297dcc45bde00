// How long a sync round still waits once it has its quorum: at most grace_seconds, or grace_factor times what
// the recent rounds took from their first contribution to their quorum-th (the median), so that a window that
// suits the pace needs no tuning. What it has seen is not part of a version: after a recovery from a snapshot
// alone it learns anew. Owned by a Model.
#pragma once

#include <cstddef>
#include <optional>
#include <utility>
#include <vector>

#include "server/base/clock.h"
#include "server/core/spec.h"

namespace stepback {

class GraceWindow {
 public:
  static constexpr size_t kRoundsRemembered = 16;

  GraceWindow() = default;
  // Has seen `spreads`, oldest first, at most kRoundsRemembered.
  explicit GraceWindow(std::vector<Duration> spreads) : spreads_(std::move(spreads)) {}
  std::vector<Duration> spreads() const;

  // A round that closed: its quorum-th contribution came `spread` after its first.
  void Record(Duration spread);
  // The smaller of grace_seconds and the adaptive window, whichever are set; nullopt: only the deadline
  // bounds the wait. Before the first round has closed there is no adaptive window.
  std::optional<Duration> For(const RoundSpec& rounds) const;

 private:
  Duration Median() const;

  std::vector<Duration> spreads_;  // the newest rounds', a ring
  size_t next_ = 0;
};

}  // namespace stepback
