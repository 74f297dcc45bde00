// The fast weights of a model's last versions, by counter: what delay compensation measures a stale gradient
// against (kernels/delay.h). Arrays are shared with the versions, so a version costs memory only from when
// nobody else has it: `capacity` arrays at most. Owned by a ModelState, used on its strand.
#pragma once

#include <cstdint>
#include <deque>
#include <vector>

#include "server/core/model_version.h"

namespace stepback {

struct PastWeights {
  uint64_t counter = 0;
  Array theta;
  friend bool operator==(const PastWeights&, const PastWeights&) = default;
};

class WeightHistory {
 public:
  explicit WeightHistory(uint32_t capacity) : capacity_(capacity) {}

  // `version` is about to be followed by another.
  void Add(const ModelVersion& version) {
    if (capacity_ == 0) return;
    kept_.push_back({version.version.counter, version.theta});
    if (kept_.size() > capacity_) kept_.pop_front();
  }
  // As it was when `kept` was taken: ascending, at most `capacity`.
  void Restore(std::vector<PastWeights> kept) { kept_.assign(kept.begin(), kept.end()); }
  std::vector<PastWeights> kept() const { return {kept_.begin(), kept_.end()}; }
  uint32_t capacity() const { return capacity_; }
  // Other weights than these led to what comes (import, restore).
  void Clear() { kept_.clear(); }

  // The weights of a past version; null: not kept.
  const kernels::Buffer* Find(uint64_t counter) const {
    for (const PastWeights& past : kept_) {
      if (past.counter == counter) return past.theta.get();
    }
    return nullptr;
  }
  // Its oldest counter; `current` when it is empty. Counters are without gaps.
  uint64_t oldest(uint64_t current) const { return kept_.empty() ? current : kept_.front().counter; }

  template <class Visit>
  void ForEach(Visit visit) const {
    for (const PastWeights& past : kept_) visit(past.theta.get());
  }

 private:
  uint32_t capacity_;
  std::deque<PastWeights> kept_;  // ascending
};

}  // namespace stepback
