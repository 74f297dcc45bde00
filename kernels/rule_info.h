// Every rule as data: names, hyperparameters with default and bounds, slots. Used to check specs, to lay out
// state, to write snapshots, for ListRules and for the docs. Built from kernels/rules.h; nothing here names a
// rule.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace stepback::kernels {

inline constexpr int kMaxSlots = 4;  // state arrays of one rule
inline constexpr int kMaxCarry = 4;  // running fp64 scalars of one rule and tensor (beta^t, ...)
inline constexpr int kMaxSums = 4;   // fp64 sums over a tensor that a rule takes before it steps
inline constexpr size_t kMaxAverageScalarsBytes = 64;  // of what an average's Prepare writes

// One named double. Bounds are inclusive unless an `open` flag says otherwise. Flags are 0 or 1 with integer
// = true.
struct HyperInfo {
  std::string_view name;
  double default_value = 0;
  double min = 0;
  double max = 0;
  std::string_view doc;
  bool min_open = false;
  bool max_open = false;
  bool integer = false;
};

// One state array, as long as the weights. `first_moment` arrays follow the "pullback" inner-state policy.
// `from_weights`: starts, and is reset to, a copy of the weights instead of `init`.
struct SlotInfo {
  std::string_view name;
  float init = 0;
  bool first_moment = false;
  bool from_weights = false;
};

// Averages follow the slow weights and change nothing else.
enum class RuleKind : uint8_t { kInner, kOuter, kAverage };

// Values of a rule's hyperparameters, in the order of RuleInfo::hypers.
using HyperSpan = std::span<const double>;

struct RuleInfo {
  std::string_view name;
  RuleKind kind;
  int id;                     // index into the back-ends' tables; not stable across versions, never stored
  std::string_view citation;  // paper and section of the equation
  std::span<const HyperInfo> hypers;
  std::span<const SlotInfo> slots;
  int eval_slot;              // inner rules that average: the slot that evaluators read; -1: the weights
  int carry;             // running scalars per tensor, all starting at 1.0
  size_t scalars_bytes;  // size of what Prepare writes
  // Bit i set: slot i is used with these hyperparameters (sgd without momentum has none, adam without amsgrad
  // two).
  uint32_t (*used_slots)(HyperSpan hypers);
  // Cross-field check; nullptr or a sentence naming field, value and bound is written to `error` (false =
  // refused).
  bool (*check)(HyperSpan hypers, char* error, size_t error_size);
  // Host scalars of step `step` (from 1, the tensor's own counter) in fp64, rounded once to fp32, written to
  // `scalars` (scalars_bytes). Advances `carry` in place: called exactly once per tensor and step. Averages:
  // `step` counts samples, once per sample whatever the tensors.
  void (*prepare)(HyperSpan hypers, int64_t step, double* carry, void* scalars);
  // Bytes per parameter read and written by one step with every used slot, fp32 (performance.md 2.1).
  int bytes_per_parameter;
  // Averages: whether sync `sync` (from 1) is a sample. Null for other kinds.
  bool (*samples)(HyperSpan hypers, int64_t sync);
  // Extrapolations: past slow weights that they keep and combine; they have no prepare. Null for other rules.
  int (*history)(HyperSpan hypers);
  bool keeps_deltas;  // extrapolations: of each interval the delta as well, two arrays
  // Sums over the whole tensor that the rule takes before its step, in one more read pass; 0: none.
  int sums = 0;
  // Whether these hyperparameters need the sums; nullptr when the rule takes none.
  bool (*reduces)(HyperSpan hypers) = nullptr;
  // The sums of one tensor (fp64, order of decision 21) into its prepared scalars; nullptr as above.
  void (*finish)(void* scalars, const double* sums) = nullptr;
  // Steps whole tensors at once; device back-ends do not run it.
  bool whole_tensor = false;
  // Bytes of scratch that one tensor takes while it is stepped, beside a copy of its mean, weights and slots;
  // nullptr unless whole_tensor.
  size_t (*workspace)(std::span<const uint64_t> shape) = nullptr;
  // Whether the rule works on tensors of this shape; nullptr: on all. False: `error` says what it wants.
  bool (*applies)(std::span<const uint64_t> shape, char* error, size_t error_size) = nullptr;
  // Outer rules that take the weights of a worker instead of its delta (CommitPlan::weights). Their "alpha"
  // is multiplied by the push's staleness weight.
  bool takes_weights = false;
  // Inner rules: the slot whose elements, times the scale of the step's scalars, estimate the diagonal of the
  // curvature (the mean square of the gradient); -1: none.
  int curvature_slot = -1;
  float (*curvature_scale)(const void* scalars) = nullptr;
  // Outer rules: sums over all elements that a sync merges and that have a gradient and a curvature, in one
  // more read pass; 0: none. `merge_finish` puts them into prepared scalars, any number of times, and returns
  // the share of the fast weights that results.
  int merge_sums = 0;
  double (*merge_finish)(void* scalars, const double* sums) = nullptr;
};

std::span<const RuleInfo> InnerRules();
std::span<const RuleInfo> OuterRules();
std::span<const RuleInfo> AverageRules();              // extrapolations last
const RuleInfo* FindInnerRule(std::string_view name);  // nullptr when unknown
const RuleInfo* FindOuterRule(std::string_view name);
const RuleInfo* FindAverageRule(std::string_view name);
// Index of a hyperparameter in rule.hypers, -1 when the rule has none of that name.
int HyperIndex(const RuleInfo& rule, std::string_view name);

}  // namespace stepback::kernels
