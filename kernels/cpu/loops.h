// The loops of one instruction set as plain function pointers: all that baseline code sees of a file compiled
// with wider instructions. Every loop works on a run of elements that its caller keeps in L1. Pure, no state,
// any thread.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/draw.h"
#include "kernels/rule_info.h"
#include "kernels/tensor_args.h"

namespace stepback::kernels::cpu {

inline constexpr size_t kNormBlock = 1024;  // one fp64 partial sum per this many elements, lane i mod 32

// One call of a rule. An output may be the array of the same name that is read: elements do not depend on
// each other.
struct StepArgs {
  const void* scalars = nullptr;
  const float* input = nullptr;  // mean gradient, mean delta, or theta for a merge
  const float* weights = nullptr;
  float* weights_out = nullptr;
  const float* slots[kMaxSlots] = {};  // every slot of the rule, unused ones too (zeros)
  float* slots_out[kMaxSlots] = {};
  size_t count = 0;
};
using StepLoop = void (*)(const StepArgs& args);
// What the elements of one run of at most kNormBlock add to each of the rule's sums; outputs of `args` are
// not used.
using ReduceLoop = void (*)(const StepArgs& args, double* sums);
using TensorLoop = void (*)(const TensorArgs& args);

// `elements` in a codec's form (whole blocks, the last one short only at a tensor's end), of which [skip,
// skip + count) are wanted: a cache block may be a part of one codec block.
struct EncodedRun {
  const std::byte* bytes;
  size_t elements;
  size_t skip;
  size_t count;
};

struct CodecLoops {
  size_t block_elements;
  size_t block_bytes;
  // acc = weight * x when `first`, else fma(weight, x, acc).
  void (*fold_f32)(const EncodedRun& in, float weight, bool first, float* acc);
  void (*fold_f64)(const EncodedRun& in, double weight, bool first, double* acc);
  void (*encode)(const float* in, size_t count, const Draw& draw, std::byte* out);
  void (*decode)(const EncodedRun& in, float* out);
  bool (*all_finite)(const std::byte* in, size_t count);
};

struct Loops {
  const StepLoop* inner;  // by rule id
  const StepLoop* outer;
  const StepLoop* merge;
  const ReduceLoop* reduce;  // by inner rule id; null for rules that take no sums
  const TensorLoop* tensor;  // by inner rule id; null for rules that step element by element
  const CodecLoops* codecs;  // by codec id

  void (*mean_f32)(const float* sum, size_t count, float divisor, float* out);
  void (*mean_f64)(const double* sum, size_t count, double divisor, float* out);
  void (*subtract)(const float* a, const float* b, size_t count, float* out);  // a - b
  void (*blend)(const float* a, const float* b, size_t count, float share,
                float* out);  // share a + (1 - share) b
  // Copies a run to its place in the next version and tells whether all of it is finite; `stream` goes around
  // the caches (the caller fences). `out` may be `in`.
  bool (*publish)(const float* in, size_t count, bool stream, float* out);
  // One sum of squares per kNormBlock elements, the last block short.
  void (*square_sums)(const float* in, size_t count, double* sums);
  // Limits values to +-limit, then multiplies by factor (kernels/clip.h).
  void (*clip)(const float* in, size_t count, float limit, float factor, float* out);
  TensorOps ops;            // the same bits in every instruction set
  const StepLoop* average;  // by rule id; input: a sample, weights: the average

  // Aggregation: one row of `count` elements per contribution.
  void (*scale)(const float* in, size_t count, double weight,
                float* out);  // in fp64, rounded once; may be in place
  // Sum of (a - b)^2 in fp64 over at most kNormBlock elements, lane i mod 32.
  double (*distance_sq)(const float* a, const float* b, size_t count);
  // Sorts every column ascending; equal values stay where a fixed network leaves them.
  void (*sort_rows)(float* const* rows, size_t row_count, size_t count);
  // out = sum over the rows in order, in fp64, divided once.
  void (*mean_rows)(const float* const* rows, size_t row_count, size_t count, float* out);
};

extern const Loops kLoopsGeneric;
#if defined(__x86_64__)
extern const Loops kLoopsAvx2;
extern const Loops kLoopsAvx512;
#endif

}  // namespace stepback::kernels::cpu
