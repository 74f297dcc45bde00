// What both back-ends read out of a CommitPlan. Pure functions.
#pragma once

#include <algorithm>
#include <vector>

#include "kernels/backend.h"

namespace stepback::kernels {

// A contribution takes part in a tensor when it has it and carries weight. One of weight zero (an overflowed
// push that only counts for membership) may hold anything, so it is left out rather than multiplied by zero.
inline bool TakesPart(const Contribution& from, size_t tensor) {
  return from.tensor_offsets[tensor] >= 0 && from.weight != 0;
}

// Per tensor: whether there is a sum to take its mean from. A running sum is there by the plan's word.
inline std::vector<uint8_t> HasSum(const CommitPlan& plan) {
  std::vector<uint8_t> has(plan.tensors.size(), plan.acc != nullptr ? 1 : 0);
  for (const Contribution& from : plan.staged) {
    for (size_t t = 0; t < has.size(); ++t) has[t] |= TakesPart(from, t) ? 1 : 0;
  }
  return has;
}

// The encoded bytes of elements [begin, begin + count) of a run of `total`, with the rest of the codec block
// that they begin in when codec blocks are larger than cache blocks.
struct EncodedPart {
  uint64_t skip;      // wanted elements start here in it
  uint64_t elements;  // whole blocks, or up to the end of the run
  uint64_t offset;    // in the run's encoded form
  uint64_t bytes;
};

inline EncodedPart PartAround(const CodecInfo& codec, uint64_t begin, uint64_t count, uint64_t total) {
  const uint64_t skip = begin % codec.block_elements, first = begin - skip;
  const uint64_t elements =
      std::min<uint64_t>(total - first, std::max<uint64_t>(count, codec.block_elements));
  return {skip, elements, codec.encoded_bytes(first), codec.encoded_bytes(elements)};
}

// Whether the mean of the contributions is needed for a tensor.
inline bool NeedsMean(const CommitPlan& plan, const TensorStep& step, bool has_sum) {
  if (!has_sum) return false;
  if (step.action == TensorAction::kAveraged) return true;
  const bool has_rule = plan.theta == nullptr || step.inner_rule >= 0;
  return step.action == TensorAction::kTrained && has_rule;
}

// Whether the mean of a tensor is clipped: what a rule, or a delta without one, is about to use.
inline bool IsClipped(const CommitPlan& plan, const TensorStep& step, bool has_sum) {
  return plan.clip.any() && step.action == TensorAction::kTrained && NeedsMean(plan, step, has_sum);
}

// Whether the inner rule takes sums over the tensor before it steps.
inline bool TakesSums(const CommitPlan& plan, const TensorStep& step, bool has_sum) {
  if (plan.theta == nullptr || step.action != TensorAction::kTrained) return false;
  if (!NeedsMean(plan, step, has_sum) || !step.inner_reduces) return false;
  return InnerRules()[step.inner_rule].sums > 0;
}

// Whether a sync's outer rule takes the tensor's elements into its sums before it merges.
inline bool TakesMergeSums(const CommitPlan& plan, size_t tensor, bool has_sum) {
  const TensorStep& step = plan.tensors[tensor];
  if (plan.theta == nullptr || plan.outer_rule < 0 || OuterRules()[plan.outer_rule].merge_sums == 0)
    return false;
  if (step.action != TensorAction::kTrained || plan.merges[tensor] == 0) return false;
  return NeedsMean(plan, step, has_sum) && InnerRules()[step.inner_rule].curvature_slot >= 0;
}

// Whether the tensor's mean is compensated for the age of the contribution.
inline bool IsCompensated(const CommitPlan& plan, const TensorStep& step) {
  return plan.base != nullptr && plan.theta != nullptr && step.action == TensorAction::kTrained &&
         step.inner_rule >= 0;
}

// Whether the inner rule steps the tensor as a whole.
inline bool StepsWhole(const CommitPlan& plan, const TensorStep& step, bool has_sum) {
  if (plan.theta == nullptr || step.action != TensorAction::kTrained || step.count == 0) return false;
  return NeedsMean(plan, step, has_sum) && InnerRules()[step.inner_rule].whole_tensor;
}

// The newest contribution that takes part in a carried tensor; nullptr: none does.
inline const Contribution* Newest(const CommitPlan& plan, size_t tensor) {
  for (size_t i = plan.staged.size(); i-- > 0;) {
    if (TakesPart(plan.staged[i], tensor)) return &plan.staged[i];
  }
  return nullptr;
}

inline std::vector<Buffer*> NextBuffers(const CommitPlan& plan) {
  std::vector<Buffer*> next = {plan.theta_next, plan.phi_next, plan.delta_next};
  for (auto* const* slots : {plan.inner_slots_next, plan.outer_slots_next, plan.caches_next}) {
    next.insert(next.end(), slots, slots + kMaxSlots);
  }
  std::erase(next, nullptr);
  return next;
}

// Floats from a tensor's last element to the next tensor, or to the end of `buffer`.
inline uint64_t PadOf(const CommitPlan& plan, size_t tensor, const Buffer& buffer) {
  const TensorStep& step = plan.tensors[tensor];
  const bool last = tensor + 1 == plan.tensors.size();
  const uint64_t end = last ? buffer.bytes() / sizeof(float) : plan.tensors[tensor + 1].arena_begin;
  return end - step.arena_begin - step.count;
}

}  // namespace stepback::kernels
