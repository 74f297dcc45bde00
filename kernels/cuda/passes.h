// The device side of the CUDA back-end behind plain functions: what the kernels read, and their launches. The
// .cu file is the only one that nvcc compiles; the rest of the back-end is ordinary C++ over the runtime API.
// Every launch is asynchronous on its stream and returns what cudaGetLastError says.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

#include "kernels/backend.h"

namespace stepback::kernels::cuda {

inline constexpr uint64_t kAbsent = ~uint64_t{0};

// One tensor of a commit, as the device sees it. Sorted by inner rule; `first_block` counts blocks in that
// order.
struct DeviceTensor {
  uint64_t first_block;
  uint64_t arena_begin;
  uint64_t count;
  uint64_t pad;  // zeros to write after the last element
  uint64_t carried_bytes;
  uint64_t norm_begin;  // index of the first partial sum, in arena order
  uint64_t inner_scalars;
  uint64_t outer_scalars;
  double divisor;  // sum / divisor = mean
  float factor;    // what clipping multiplies the mean by
  uint32_t index;  // in the plan
  uint32_t inner_used_slots;
  TensorAction action;
  bool has_input;
  bool has_carried;
  bool merges;
  bool clipped;
  bool takes_sums;  // its inner rule does, before it steps
  bool takes_merge_sums;  // its outer rule does, before it merges
  bool compensated;       // its mean is, for the age of the contribution
};

// Where one staged contribution lies for the blocks of one launch.
struct DeviceContribution {
  double weight;
  int codec;
};

struct PassArgs {
  const DeviceTensor* tensors;
  uint32_t tensor_count;
  const std::byte* scalars;
  int outer_rule;
  bool weights;  // a delta pass: the mean is of weights

  const std::byte* acc;  // null: staged
  bool acc_wide;
  const DeviceContribution* staged;
  uint32_t staged_count;
  const std::byte* staged_bytes;
  const uint64_t*
      staged_offsets;  // [block of the launch][contribution], kAbsent: takes no part; carried: column 0

  const float* theta;
  float* theta_next;
  const float* base;  // of compensated tensors
  float delay_lambda;
  const float* phi;
  float* phi_next;
  float* delta_next;
  const float* inner[kMaxSlots];
  float* inner_next[kMaxSlots];
  const float* outer[kMaxSlots];
  float* outer_next[kMaxSlots];
  const float* caches[kMaxSlots];
  float* caches_next[kMaxSlots];
  InnerStatePolicy policy;
  float pullback_alpha;

  float limit;  // of clipped values

  double* norms[3];  // input, weight, distance; null: not wanted
  double* sums;      // of a reading pass: kMaxSums per block, in arena order
  uint32_t* bad_tensor;
};

// One piece of a fold: at most kBlockElements elements, encoded at `offset` of the staged bytes.
struct FoldPiece {
  uint64_t offset;
  uint64_t arena_begin;
  uint64_t begin;  // first element within the run that is folded, which starts at a codec block
  uint64_t total;  // elements of that run
  uint32_t count;  // elements, or bytes when raw
  int16_t codec;
  bool first;
  bool raw;
};

// Blocks first .. first + blocks of one group of tensors: all of inner rule `inner_rule` (-1: none) in
// gradient mode, every tensor in delta mode.
cudaError_t LaunchGradient(int inner_rule, const PassArgs& args, uint64_t first, uint64_t blocks,
                           cudaStream_t stream);
// Reading passes over the same blocks into PassArgs::sums: the squares of the clipped tensors' means (sum 0),
// what `inner_rule` takes of the tensors that need it, and what the outer rule takes of those that it merges.
// Blocks of other tensors are left alone.
cudaError_t LaunchSquares(const PassArgs& args, uint64_t first, uint64_t blocks, cudaStream_t stream);
cudaError_t LaunchReduce(int inner_rule, const PassArgs& args, uint64_t first, uint64_t blocks,
                         cudaStream_t stream);
cudaError_t LaunchMergeSums(int inner_rule, const PassArgs& args, uint64_t first, uint64_t blocks,
                            cudaStream_t stream);
cudaError_t LaunchDelta(const PassArgs& args, uint64_t first, uint64_t blocks, cudaStream_t stream);
cudaError_t LaunchFold(const FoldPiece* pieces, size_t count, const std::byte* bytes, std::byte* acc,
                       bool wide, double weight, cudaStream_t stream);
// One run of an average: next = Step(average, phi). `scalars`: the rule's, in host memory; `bad`: set to 1
// where a result is not finite.
cudaError_t LaunchAverage(int rule, const std::byte* scalars, const float* phi, const float* average,
                          float* next, uint64_t count, uint32_t* bad, cudaStream_t stream);
cudaError_t LaunchFill(float* out, size_t count, float value, cudaStream_t stream);

}  // namespace stepback::kernels::cuda
