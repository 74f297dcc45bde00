// One commit as plain host data: tensors, state, contributions and what the commit shall do. The same
// scenario runs on any back-end and executor, and on the reference (reference.h), and the outcomes are
// compared bit for bit.
//
//   Scenario s = RandomScenario(random);
//   Outcome a = RunOn(*MakeCpuBackend("avx2"), executor, s), b = RunReference(s);
//   EXPECT_EQ(DifferenceOf(a, b), "");
#pragma once

#include <random>
#include <string>
#include <vector>

#include "kernels/backend.h"

namespace stepback::kernels::testing {

using Floats = std::vector<float>;
using Bytes = std::vector<std::byte>;

enum class Input { kRunningF32, kRunningF64, kStaged };

struct TensorCase {
  uint64_t count = 0;
  std::vector<uint64_t> shape;  // Prepare() makes it a matrix, as square as can be, unless given
  TensorAction action = TensorAction::kTrained;
  uint64_t carried_bytes = 0;
  bool merges = true;
  int inner_rule = -1;
  std::vector<double> inner_hypers;
  std::vector<double> carry = std::vector<double>(kMaxCarry, 1.0);
  int64_t step = 1;
};

// What one worker sends: per tensor its encoded form, or nothing.
struct Worker {
  int codec = 0;
  double weight = 1;
  std::vector<Bytes> tensors;  // empty: the worker does not have that tensor (or the tensor has no elements)
};

// Arrays in arena layout; an empty one does not exist.
struct State {
  Floats theta, phi;
  Floats inner[kMaxSlots], outer[kMaxSlots], caches[kMaxSlots];

  template <class Visit>
  void ForEach(Visit visit) {
    visit("theta", theta);
    visit("phi", phi);
    for (int i = 0; i < kMaxSlots; ++i) visit("inner slot " + std::to_string(i), inner[i]);
    for (int i = 0; i < kMaxSlots; ++i) visit("outer slot " + std::to_string(i), outer[i]);
    for (int i = 0; i < kMaxSlots; ++i) visit("cache " + std::to_string(i), caches[i]);
  }
};

struct Scenario {
  std::vector<TensorCase> tensors;
  int outer_rule = -1;
  std::vector<double> outer_hypers;
  std::vector<double> outer_carry = std::vector<double>(kMaxCarry, 1.0);
  int64_t outer_step = 1;
  bool gradient = false;
  Input input = Input::kRunningF32;
  bool sum_is_next = false;  // the running sum's buffer becomes the next weights
  InnerStatePolicy policy = InnerStatePolicy::kKeep;
  float pullback_alpha = 0.5f;
  std::vector<Worker> workers;
  State state;
  double loss_scale = 1;
  Clip clip;
  bool weights = false;  // the workers send weights
  Floats base;           // what the contribution was computed at, to be compensated for; empty: nothing
  float delay_lambda = 0;
  uint32_t cuts_seed = 1;  // where the contributions' bytes are cut into slices

  // Prepared once per step by Prepare(), which also advances the carries.
  Bytes scalars;
  std::vector<uint64_t> inner_scalars;
  uint64_t outer_scalars = 0;
  std::vector<uint32_t> inner_used_slots;
  std::vector<uint8_t> inner_reduces;

  bool sync() const { return gradient && outer_rule >= 0; }
  bool has_outer_step() const { return outer_rule >= 0; }
  std::vector<uint64_t> Begins() const;  // of every tensor, in the arena
  uint64_t arena_floats() const;
  // Weights of the workers that have the tensor, added in order.
  double WeightOf(size_t tensor) const;
  // What the sum is divided by. Loss scales make it differ from the sum of the weights.
  double DivisorOf(size_t tensor) const { return WeightOf(tensor) * loss_scale; }
  bool Has(const Worker& worker, size_t tensor) const;
  void Prepare();
};

struct Outcome {
  State next;
  Floats delta;  // CommitPlan::delta_next of outer steps
  CommitResult result;
};

Outcome RunOn(Backend& backend, Executor* executor, const Scenario& scenario);
// "" when every array and figure has the same bits, else where they first differ.
std::string DifferenceOf(Outcome a, Outcome b);

// An arena of `floats` with every tensor's elements drawn from a normal distribution and zero pads.
Floats RandomArena(const Scenario& scenario, std::mt19937& random);
Bytes Encode(int codec, const Floats& values);
Scenario RandomScenario(std::mt19937& random);
// Whether the back-end has every rule of the scenario.
bool RunsOn(const Backend& backend, const Scenario& scenario);
// rows x cols of so many elements, rows <= cols, as square as can be.
std::vector<uint64_t> MatrixShape(uint64_t count);
std::vector<double> RandomHypers(const RuleInfo& rule, std::mt19937& random);
std::vector<double> DefaultHypers(const RuleInfo& rule);

// How many scenarios a suite runs: `full`, or a share of it where STEPBACK_CONFORMANCE_SHARE says 1 in how
// many.
uint32_t ScenarioCount(uint32_t full);

// Every back-end of this machine: all CPU targets, and CUDA where there is a device.
std::vector<std::string> BackendNames();
std::unique_ptr<Backend> MakeBackend(const std::string& name, HostAllocator* allocator = nullptr);

}  // namespace stepback::kernels::testing
