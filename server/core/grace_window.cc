#include "server/core/grace_window.h"

#include <algorithm>

#include "server/core/seconds.h"

namespace stepback {

void GraceWindow::Record(Duration spread) {
  if (spreads_.size() < kRoundsRemembered) {
    spreads_.push_back(spread);
    return;
  }
  spreads_[next_] = spread;
  next_ = (next_ + 1) % kRoundsRemembered;
}

std::vector<Duration> GraceWindow::spreads() const {
  std::vector<Duration> oldest_first = spreads_;
  std::rotate(oldest_first.begin(), oldest_first.begin() + static_cast<std::ptrdiff_t>(next_),
              oldest_first.end());
  return oldest_first;
}

// Of an even number: the mean of the middle two.
Duration GraceWindow::Median() const {
  std::vector<Duration> sorted = spreads_;
  std::sort(sorted.begin(), sorted.end());
  const size_t middle = sorted.size() / 2;
  if (sorted.size() % 2 == 1) return sorted[middle];
  return sorted[middle - 1] + (sorted[middle] - sorted[middle - 1]) / 2;
}

std::optional<Duration> GraceWindow::For(const RoundSpec& rounds) const {
  std::optional<Duration> window;
  if (rounds.policy != RoundPolicy::kSync) return window;
  if (rounds.grace_seconds > 0) window = FromSeconds(rounds.grace_seconds);
  if (rounds.grace_factor == 0 || spreads_.empty()) return window;
  const Duration adaptive = FromSeconds(rounds.grace_factor * ToSeconds(Median()));
  return window.has_value() ? std::min(*window, adaptive) : adaptive;
}

}  // namespace stepback
