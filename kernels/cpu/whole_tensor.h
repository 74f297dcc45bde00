// One tensor's own copy of mean, weights and used slots, and the rule's workspace, in one piece of memory
// that the caller gives for one step. Owned and used by one task.
#pragma once

#include <algorithm>
#include <utility>

#include "kernels/cpu/block_pass.h"

namespace stepback::kernels::cpu {

class WholeTensor {
 public:
  static size_t Bytes(const CommitPlan& plan, const TensorStep& step) {
    const RuleInfo& rule = InnerRules()[step.inner_rule];
    size_t arrays = 2;
    for (size_t i = 0; i < rule.slots.size(); ++i) arrays += Uses(plan, step, i) ? 1 : 0;
    return arrays * Align(step.count * sizeof(float)) + Align(rule.workspace(step.shape));
  }

  // `memory`: Bytes(plan, step), aligned to 64.
  WholeTensor(const CommitPlan& plan, const TensorStep& step, std::span<const std::byte> scalars,
              std::byte* memory)
      : rule_(step.inner_rule), row_(Align(step.count * sizeof(float))) {
    const RuleInfo& rule = InnerRules()[rule_];
    args_ = {.scalars = scalars.data() + step.inner_scalars,
             .dims = step.shape.data(),
             .rank = step.shape.size(),
             .count = step.count};
    std::byte* at = memory;
    args_.input = reinterpret_cast<float*>(std::exchange(at, at + row_));
    args_.weights = Copy(plan.theta, step, &at);
    for (size_t i = 0; i < rule.slots.size(); ++i) {
      if (Uses(plan, step, i)) args_.slots[i] = Copy(plan.inner_slots[i], step, &at);
    }
    args_.workspace = reinterpret_cast<float*>(at);
  }
  WholeTensor(const WholeTensor&) = delete;
  WholeTensor& operator=(const WholeTensor&) = delete;

  // The clipped mean goes here before the step.
  float* input() const { return args_.input; }

  SteppedTensor Step(const Loops& loops) {
    args_.ops = loops.ops;
    loops.tensor[rule_](args_);
    SteppedTensor stepped{.weights = args_.weights};
    std::copy_n(args_.slots, kMaxSlots, stepped.slots);
    return stepped;
  }

 private:
  static size_t Align(size_t bytes) { return (bytes + 63) / 64 * 64; }
  static bool Uses(const CommitPlan& plan, const TensorStep& step, size_t slot) {
    return plan.inner_slots[slot] != nullptr && (step.inner_used_slots >> slot & 1) != 0;
  }
  float* Copy(const Buffer* from, const TensorStep& step, std::byte** at) const {
    auto* const row = reinterpret_cast<float*>(std::exchange(*at, *at + row_));
    std::copy_n(from->host_floats() + step.arena_begin, step.count, row);
    return row;
  }

  const size_t rule_;
  const size_t row_;  // bytes of one array
  TensorArgs args_;
};

}  // namespace stepback::kernels::cpu
