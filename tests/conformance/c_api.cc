// The inner rules for tests in other languages (torch_test.py, inner_rules_test.py): their tables, and many
// steps of one rule over plain arrays, through the CPU back-end of this machine. Not installed.
#include <algorithm>
#include <cstring>
#include <memory>
#include <vector>

#include "kernels/backend.h"

namespace {

using namespace stepback::kernels;  // NOLINT(build/namespaces): this file is a handful of functions

struct Arrays {
  std::unique_ptr<Buffer> now, next;
};

Arrays MakeArrays(Backend& backend, const float* values, size_t count) {
  Arrays arrays{backend.Allocate(count * sizeof(float)), backend.Allocate(count * sizeof(float))};
  backend.Upload(arrays.now.get(), 0, reinterpret_cast<const std::byte*>(values), count * sizeof(float));
  return arrays;
}

int RunRule(const char* target, const char* rule_name, const double* hypers, size_t hyper_count,
            int64_t first_step, int64_t steps, std::span<const uint64_t> shape, const float* gradients,
            float* weights, float* slots, double* carry) {
  const RuleInfo* const rule = FindInnerRule(rule_name);
  const auto backend = MakeCpuBackend(target);
  const HyperSpan values(hypers, hyper_count);
  size_t count = 1;
  for (const uint64_t extent : shape) count *= extent;
  char error[256];
  if (rule == nullptr || backend == nullptr || rule->hypers.size() != hyper_count) return 1;
  if (!rule->check(values, error, sizeof error)) return 1;
  if (rule->applies != nullptr && !rule->applies(shape, error, sizeof error)) return 1;

  const size_t padded = (count + kArenaAlignFloats - 1) / kArenaAlignFloats * kArenaAlignFloats;
  std::vector<float> row(padded, 0.0f);
  const auto load = [&](const float* from) {
    std::copy_n(from, count, row.begin());
    return MakeArrays(*backend, row.data(), padded);
  };
  Arrays theta = load(weights);
  Arrays gradient = load(gradients);
  Arrays state[kMaxSlots];
  for (size_t i = 0; i < rule->slots.size(); ++i) state[i] = load(slots + i * count);

  InlineExecutor executor;
  alignas(16) std::byte scalars[256];
  for (int64_t step = 0; step < steps; ++step) {
    rule->prepare(values, first_step + step, carry, scalars);
    backend->Upload(gradient.now.get(), 0, reinterpret_cast<const std::byte*>(gradients + step * count),
                    count * sizeof(float));
    const TensorStep tensor = {.count = count,
                               .action = TensorAction::kTrained,
                               .inner_rule = rule->id,
                               .inner_used_slots = rule->used_slots(values),
                               .inner_reduces = rule->reduces != nullptr && rule->reduces(values),
                               .shape = shape};
    CommitPlan plan;
    plan.tensors = {&tensor, 1};
    plan.scalars = scalars;
    plan.acc = gradient.now.get();
    plan.theta = theta.now.get();
    plan.theta_next = theta.next.get();
    for (size_t i = 0; i < rule->slots.size(); ++i) {
      plan.inner_slots[i] = state[i].now.get();
      plan.inner_slots_next[i] = state[i].next.get();
    }
    backend->Commit(plan, &executor);
    std::swap(theta.now, theta.next);
    for (Arrays& each : state) std::swap(each.now, each.next);
  }

  const auto store = [&](const Arrays& arrays, float* to) {
    backend->Download(*arrays.now, 0, reinterpret_cast<std::byte*>(to), count * sizeof(float));
  };
  store(theta, weights);
  for (size_t i = 0; i < rule->slots.size(); ++i) store(state[i], slots + i * count);
  return 0;
}

}  // namespace

// Hyperparameter `index` of a rule: its name and default. Null: the rule is unknown or has no more.
extern "C" const char* stepback_hyper(const char* rule_name, size_t index, double* default_value) {
  const RuleInfo* const rule = FindInnerRule(rule_name);
  if (rule == nullptr || index >= rule->hypers.size()) return nullptr;
  *default_value = rule->hypers[index].default_value;
  return rule->hypers[index].name.data();  // a literal, so it ends with a zero
}

// Slot `index` of a rule likewise, and whether it starts as a copy of the weights.
extern "C" const char* stepback_slot(const char* rule_name, size_t index, int* from_weights) {
  const RuleInfo* const rule = FindInnerRule(rule_name);
  if (rule == nullptr || index >= rule->slots.size()) return nullptr;
  *from_weights = rule->slots[index].from_weights ? 1 : 0;
  return rule->slots[index].name.data();
}

// The slot that evaluators read; -1: the weights.
extern "C" int stepback_eval_slot(const char* rule_name) {
  const RuleInfo* const rule = FindInnerRule(rule_name);
  return rule == nullptr ? -1 : rule->eval_slot;
}

// Applies `steps` gradients ([steps][count]) to `weights` in place. `slots` is [kMaxSlots][count] and `carry`
// is [kMaxCarry]: the state before the first step, then after the last. `first_step` counts from 1. Returns
// 0, or 1 when the rule or the target is unknown or refuses the hyperparameters.
extern "C" int stepback_run_rule(const char* target, const char* rule_name, const double* hypers,
                                 size_t hyper_count, int64_t first_step, int64_t steps, size_t count,
                                 const float* gradients, float* weights, float* slots, double* carry) {
  const uint64_t shape[] = {count};
  return RunRule(target, rule_name, hypers, hyper_count, first_step, steps, shape, gradients, weights, slots,
                 carry);
}

// The same for a tensor of `rank` dimensions; 1 also when the rule does not work on its shape.
extern "C" int stepback_run_shaped(const char* target, const char* rule_name, const double* hypers,
                                   size_t hyper_count, int64_t first_step, int64_t steps,
                                   const uint64_t* dims, size_t rank, const float* gradients, float* weights,
                                   float* slots, double* carry) {
  return RunRule(target, rule_name, hypers, hyper_count, first_step, steps, {dims, rank}, gradients, weights,
                 slots, carry);
}
