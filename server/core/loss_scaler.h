// Suggests the loss scale that workers use next (algorithms.md 3): halves on an overflow, doubles after 2,000
// commits without one. A push carries the scale it used and is divided by that, so a suggestion is never more
// than advice; it is not part of the state hash. Value type, pure.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>

namespace stepback {

class LossScaler {
 public:
  static constexpr double kFirstScale = 65536;
  static constexpr uint32_t kGrowthInterval = 2000;

  LossScaler() = default;
  LossScaler(double scale, uint32_t clean_commits) : scale_(scale), clean_commits_(clean_commits) {}

  double scale() const { return scale_; }
  uint32_t clean_commits() const { return clean_commits_; }

  // A push with loss scale `used` overflowed. One that used more than the present suggestion says nothing
  // new: the suggestion came down after it had started (several workers overflow in the same step).
  void Overflowed(double used) {
    clean_commits_ = 0;
    if (used <= scale_) scale_ = std::max(scale_ / 2, 1.0);
  }

  // A commit used scaled pushes, none of which overflowed.
  void Committed() {
    if (++clean_commits_ < kGrowthInterval) return;
    clean_commits_ = 0;
    if (scale_ <= std::numeric_limits<float>::max() / 2) scale_ *= 2;
  }

 private:
  double scale_ = kFirstScale;
  uint32_t clean_commits_ = 0;
};

}  // namespace stepback
