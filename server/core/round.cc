#include "server/core/round.h"

#include <algorithm>
#include <tuple>

#include "server/base/check.h"
#include "server/core/fold_plan.h"
#include "server/core/staleness_weight.h"

namespace stepback {
namespace {

// A sync round waits for its workers instead.
double WeightOfAge(const RoundSpec& rounds, uint64_t staleness) {
  if (rounds.policy == RoundPolicy::kSync) return 1;
  const absl::StatusOr<StalenessWeight> weight = StalenessWeight::Make(rounds, "spec.rounds");
  SB_CHECK(weight.ok(), "%s", weight.status().ToString().c_str());
  return weight->At(staleness);
}

}  // namespace

PushWeight WeightOf(const PushHeader& header, const RoundSpec& rounds, uint64_t staleness) {
  const double share = rounds.weighting == Weighting::kSamples ? static_cast<double>(header.samples) : 1;
  const double age = WeightOfAge(rounds, staleness);
  if (header.kind == PushKind::kWeights) return {.share = share, .numerator = share, .mixing = age};
  return {.share = share, .numerator = share * age / header.loss_scale};
}

Round::Round(std::shared_ptr<const Layout> layout, uint32_t number)
    : layout_(std::move(layout)), number_(number) {
  const bool whole = layout_->fragments().empty();
  divisors_.resize(whole ? layout_->tensors().size() : layout_->fragments()[number].tensors.size());
}

std::optional<size_t> Round::PlaceOf(size_t tensor) const {
  if (layout_->fragments().empty()) return tensor;
  const FragmentTable::Place& place = layout_->fragments().Of(tensor);
  return place.fragment == static_cast<int64_t>(number_) ? std::optional<size_t>(place.index) : std::nullopt;
}

RoundMember& Round::AddMember(const PushHeader& header, TimePoint now) {
  arrivals_.push_back(now);
  members_.push_back({.client_id = header.client_id,
                      .sequence = header.sequence,
                      .samples = header.samples,
                      .local_steps = header.local_steps,
                      .scaled = header.loss_scale != 1,
                      .codec = header.codec,
                      .epoch = header.epoch,
                      .base = header.base,
                      .loss_scale = header.loss_scale});
  return members_.back();
}

void Round::AddSkipped(const PushHeader& header, TimePoint now) {
  RoundMember& member = AddMember(header, now);
  member.skipped = true;
  member.weight = {.share = 0, .numerator = 0};
}

void Round::Add(CheckedPush push, const PushWeight& weight, uint64_t staleness, bool stage, TimePoint now) {
  SB_CHECK(effective_ == 0 || stage == staged_);
  RoundMember& member = AddMember(push.push.header, now);
  member.log_position = push.push.log_position;
  member.weight = weight;
  member.staleness = staleness;
  for (const WireRun& run : push.wire.runs())
    divisors_[*PlaceOf(run.tensor)] += weight.share;  // one run per tensor
  ++effective_;
  staged_ = stage;
  if (!stage) return;
  member.tensor_offsets = TensorOffsets(*layout_, push.wire);
  staged_bytes_ += push.push.payload.size();
  member.payload = std::move(push.push.payload);
}

void Round::Sort() {
  std::sort(members_.begin(), members_.end(), [](const RoundMember& a, const RoundMember& b) {
    return std::tie(a.client_id, a.sequence) < std::tie(b.client_id, b.sequence);
  });
}

void Round::SetTaken(const std::vector<double>& shares) {
  size_t next = 0;
  for (RoundMember& member : members_) {
    if (!member.skipped) member.taken = shares[next++];
  }
}

void Round::Clear() {
  members_.clear();
  std::fill(divisors_.begin(), divisors_.end(), 0.0);
  effective_ = staged_bytes_ = 0;
  staged_ = false;
  arrivals_.clear();
}

}  // namespace stepback
