// The open round of a model: who is in it with what weight, per tensor what the sum is to be divided by, and
// the pushes that stay staged until it closes. The running sum itself belongs to ModelState. Owned by a
// Model, used on its strand.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "server/base/clock.h"
#include "server/base/payload.h"
#include "server/core/checked_push.h"
#include "server/core/layout.h"
#include "server/core/spec.h"

namespace stepback {

// A push's share in the mean: sum(numerator x push) / sum(share), so loss scales and staleness weights act on
// the push and not on the others. Weights that were pushed are not made smaller by their age: it goes into
// the rule's mixing weight.
struct PushWeight {
  double share = 1;      // 1, or its samples
  double numerator = 1;  // share x staleness weight / loss scale; of pushed weights: share
  double clip = 1;       // multiplies the numerator of trained tensors: Clipping.contribution_norm
  double mixing = 1;     // of pushed weights: their staleness weight

  double of_trained() const { return numerator * clip; }
  friend bool operator==(const PushWeight&, const PushWeight&) = default;
};
PushWeight WeightOf(const PushHeader& header, const RoundSpec& rounds, uint64_t staleness);

struct RoundMember {
  std::string client_id;
  uint64_t sequence = 0;
  PushWeight weight;
  uint64_t staleness = 0;
  uint64_t samples = 0;
  uint64_t local_steps = 0;
  bool scaled = false;   // its loss scale is not 1
  bool skipped = false;  // overflowed: counts as present, with weight 0
  double taken = 1;      // by the aggregator: 0 left out, between 0 and 1 scaled down
  int codec = 0;
  uint64_t epoch = 0, log_position = 0;  // of the push
  Version base;
  double loss_scale = 1;
  Payload payload;                      // staged members only
  std::vector<int64_t> tensor_offsets;  // staged members only
};

class Round {
 public:
  // `number`: of the fragment, in a model that has them.
  explicit Round(std::shared_ptr<const Layout> layout, uint32_t number = 0);

  // The fragment that the round is of.
  std::optional<uint32_t> fragment() const {
    return layout_->fragments().empty() ? std::nullopt : std::optional(number_);
  }

  bool open() const { return !members_.empty(); }
  uint64_t contributions() const { return members_.size(); }
  // With weight: the others overflowed.
  uint64_t effective() const { return effective_; }
  bool has(size_t tensor) const { return divisor(tensor) > 0; }
  double divisor(size_t tensor) const {
    const std::optional<size_t> at = PlaceOf(tensor);
    return at.has_value() ? divisors_[*at] : 0;
  }
  // Its pushes lie staged in the members; else in the running sum.
  bool staged() const { return staged_; }
  uint64_t staged_bytes() const { return staged_bytes_; }
  std::optional<TimePoint> first_at() const { return arrived(1); }
  // When the `count`-th contribution came (from 1); nullopt: it has not.
  std::optional<TimePoint> arrived(uint64_t count) const {
    return count >= 1 && count <= arrivals_.size() ? std::optional(arrivals_[count - 1]) : std::nullopt;
  }
  const std::vector<RoundMember>& members() const { return members_; }

  void AddSkipped(const PushHeader& header, TimePoint now);
  // Takes the payload when `stage`. All effective members of one round are staged, or none.
  void Add(CheckedPush push, const PushWeight& weight, uint64_t staleness, bool stage, TimePoint now);
  // Reduction order of ordered rounds: by (client id, sequence).
  void Sort();
  // What the aggregator took of every member that was not skipped, in order.
  void SetTaken(const std::vector<double>& shares);
  void Clear();

 private:
  RoundMember& AddMember(const PushHeader& header, TimePoint now);
  // Where `divisors_` has the tensor; nullopt: it is in another fragment.
  std::optional<size_t> PlaceOf(size_t tensor) const;

  std::shared_ptr<const Layout> layout_;
  uint32_t number_ = 0;
  std::vector<RoundMember> members_;  // in order of arrival until Sort
  std::vector<double>
      divisors_;  // per tensor (of the fragment): sum of the shares of the members that sent it; 0: none
  uint64_t effective_ = 0;
  uint64_t staged_bytes_ = 0;
  bool staged_ = false;
  std::vector<TimePoint> arrivals_;  // of the members, ascending
};

}  // namespace stepback
