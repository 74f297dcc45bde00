// The vocabulary in which a rule is written once, for every instruction set and for CUDA. A rule is a struct
// with
//   kName, kCitation          what it is called and where its equation stands
//   kSlots, kHypers           state arrays and hyperparameters, as data
//   Scalars, Prepare(...)     what one step needs, computed once on the host in fp64 and rounded once to fp32
//   Step(scalars, input, w, slots...)    one element: the mean gradient (inner) or the mean delta (outer)
//   goes in; an average instead gets a sample of the slow weights and the average, Step(scalars, x, average)
// and, where it has something to say:
//   kCarry                    running fp64 scalars per tensor (beta^t), all starting at 1
//   kEvalSlot                 inner rules that average: the slot whose array evaluators read; it starts as a
//   copy of the weights
//   UsedSlots(hypers)         bit i: slot i is used with these values (default: all)
//   Check(hypers, error, n)   bounds across fields (default: none)
//   Merge(scalars, theta, w, slots...)   outer rules at a sync (default: Step with delta = w - theta)
//   kSums, Reduce(scalars, input, w, slots..., sums)   inner rules that need norms of the whole tensor: what
//                             one element adds to each of up to four fp64 sums, taken before any Step
//   Finish(scalars, sums)     on the host: the tensor's sums into the scalars that Step reads
//   Reduces(hypers)           whether these values need the sums at all (default: yes)
// An inner rule that works on whole tensors (rows and columns, matrix products) has, in place of Step,
//   StepTensor(args)          kernels/tensor_args.h; CPU only
//   Workspace(dims, rank)     bytes of scratch for one tensor
//   Applies(dims, rank, error, n)   shapes it works on (default: all)
//   History(hypers)           extrapolations, instead of Step: how many iterates they keep (rules.h)
//   Samples(hypers, sync)     averages: whether they take the slow weights of sync `sync`, from 1 (default:
//   all)
// docs/howto/add_a_rule.md walks through one. Rules are pure: no state, no threads, no memory of their own.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <utility>

#include "kernels/rule_info.h"

// Device functions are always inlined: a file compiled for a wide instruction set must leave no weak function
// behind that the linker could hand to an older CPU.
#if defined(__CUDACC__)
#define PS_HD __host__ __device__ __forceinline__
#else
#define PS_HD [[gnu::always_inline]] inline
#endif

namespace stepback::kernels {

// Contraction is off everywhere (docs/decisions/0002-one-numerics-mode.md), so a fused multiply-add is always
// written.
PS_HD float Fma(float a, float b, float c) {
#if defined(__CUDA_ARCH__)
  return __fmaf_rn(a, b, c);
#else
  return __builtin_fmaf(a, b, c);
#endif
}

PS_HD double Fma(double a, double b, double c) {
#if defined(__CUDA_ARCH__)
  return __fma_rn(a, b, c);
#else
  return __builtin_fma(a, b, c);
#endif
}

PS_HD float Sqrt(float x) {
#if defined(__CUDA_ARCH__)
  return __fsqrt_rn(x);
#else
  return __builtin_sqrtf(x);
#endif
}

// NaN in `x` or `y` gives `y`, on every device (fmax differs between them).
PS_HD float Max(float x, float y) { return x > y ? x : y; }

// a + w (b - a) in ATen's two-sided form: exact at w = 0 and, for finite values, at w = 1. `w` and `w - 1`
// are exact complements in fp32 for w >= 0.5. Written without a branch so that the loop stays one vector
// loop.
PS_HD float Lerp(float a, float b, float w) {
  const bool near_a = w < 0.5f;
  return Fma(near_a ? w : w - 1.0f, b - a, near_a ? a : b);
}

// Values of a rule's hyperparameters by name; the index is found when the rule is compiled, so h["lr"] costs
// one load and a misspelt name does not compile.
template <class Rule>
class HyperValues {
 public:
  struct Key {
    size_t index;
    consteval Key(const char* name) : index(Find(name)) {}  // NOLINT(runtime/explicit): h["lr"]
  };

  explicit HyperValues(HyperSpan values) : values_(values) {}
  double operator[](Key key) const { return values_[key.index]; }

 private:
  static consteval size_t Find(std::string_view name) {
    for (size_t i = 0; i < Rule::kHypers.size(); ++i) {
      if (Rule::kHypers[i].name == name) return i;
    }
    throw "the rule declares no hyperparameter of this name";
  }

  HyperSpan values_;
};

// An explicit list of rules. The position in the list is the rule's id inside one program.
template <class... Rules>
struct RuleList {
  static constexpr size_t kSize = sizeof...(Rules);

  // {Make<Rules>()...}: a table indexed by rule id.
  template <class Entry, class Make>
  static constexpr std::array<Entry, kSize> Table(Make make) {
    return {make.template operator()<Rules>()...};
  }
  template <class Visit>
  static constexpr void ForEach(Visit visit) {
    (visit.template operator()<Rules>(), ...);
  }
};

// The merge of an outer rule at a sync: its own, or Step with the pseudo-gradient w - theta.
template <class Rule, class... Slots>
PS_HD void MergeStep(const typename Rule::Scalars& s, float theta, float& w, Slots&... slots) {
  if constexpr (requires { Rule::Merge(s, theta, w, slots...); }) {
    Rule::Merge(s, theta, w, slots...);
  } else {
    Rule::Step(s, w - theta, w, slots...);
  }
}

// A rule that takes sums over the whole tensor before it steps.
template <class Rule>
concept ReducingRule = requires {
  Rule::kSums;
};

// A rule that steps a whole tensor at once instead of element by element.
template <class Rule>
concept TensorRule = requires {
  &Rule::StepTensor;
};

// An inner rule whose state estimates the diagonal of the loss's curvature: slot kCurvatureSlot times
// CurvatureScale.
template <class Rule>
concept CurvatureRule = requires {
  Rule::kCurvatureSlot;
};

// An outer rule that takes sums over the whole model before it merges at a sync.
template <class Rule>
concept SumMergingRule = requires {
  Rule::kMergeSums;
};

// Bounds that every rule shares (fp32 is what the loops compute in).
inline constexpr double kFloatMax = 3.4028234663852886e38;

}  // namespace stepback::kernels
