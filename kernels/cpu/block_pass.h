// The fused pass over one cache block: mean of the contributions, inner rule, outer rule, inner-state policy,
// and the new values out to the next version's buffers, checked for finiteness on the way. Whatever lies
// between reading the current arrays and writing the next ones stays in the caches of the core. Owned by one
// task, which calls Run for one block after another.
#pragma once

#include "kernels/backend.h"
#include "kernels/cpu/loops.h"

namespace stepback::kernels::cpu {

// Where the partial sums of one block's norms go, one double per kNormBlock elements; null: not wanted.
struct NormSums {
  double* input = nullptr;
  double* weight = nullptr;
  double* distance = nullptr;
};

// What is the same for every block of a commit.
struct PassContext {
  const Loops& loops;
  const CommitPlan& plan;
  std::span<const uint8_t> has_sum;    // per tensor: somebody contributed to it
  bool stream;                         // write around the caches
  std::span<const std::byte> scalars;  // of the plan, finished where rules take sums
  std::span<const float> factors;      // per tensor: what clipping multiplies the mean by; empty: 1
  float pullback_alpha;                // the plan's, or what the outer rule made of its sums
};

// What a rule made of a whole tensor: its next weights and used slots, from the tensor's first element.
struct SteppedTensor {
  const float* weights = nullptr;
  const float* slots[kMaxSlots] = {};  // null: not used
};

class BlockPass {
 public:
  explicit BlockPass(const PassContext& context);
  // `begin` and `count` are elements of the tensor, count <= kBlockElements. True: every output is finite.
  // `stepped` takes the place of the inner rule's step.
  bool Run(size_t tensor, uint64_t begin, size_t count, const NormSums& norms,
           const SteppedTensor* stepped = nullptr);
  // The clipped mean of the block at `out`.
  void ReadInput(size_t tensor, uint64_t begin, size_t count, float* out);
  // The same block, read only: the sum of squares of its mean after the limit on values, and what it adds to
  // the sums of its inner rule.
  void SquareInput(size_t tensor, uint64_t begin, size_t count, double* sum);
  void Reduce(size_t tensor, uint64_t begin, size_t count, double* sums);
  // And what it adds to the sums of the outer rule that merges it: its inner step is taken and forgotten.
  void ReduceMerge(size_t tensor, uint64_t begin, size_t count, double* sums);

 private:
  using Block = float[kBlockElements];
  struct Scratch {
    Scratch() {}  // left as it is: only `zeros` needs a value
    alignas(64) double sum[kBlockElements];
    alignas(64) Block input, weights, merged, zeros, unused;
    alignas(64) Block inner_slots[kMaxSlots], outer_slots[kMaxSlots];
    alignas(64) std::byte gather[sizeof(Block)];
  };
  // The block of every slot of a rule: in the current buffers, or in scratch once it has changed.
  struct Slots {
    const float* now[kMaxSlots] = {};
  };
  struct RuleCall {
    StepLoop loop;
    size_t slots;
    uint32_t used;
    uint64_t scalars;
  };

  void Begin(size_t tensor, uint64_t begin, size_t count);
  bool HasInput() const;

  const float* Gradient(const NormSums& norms);
  const float* Delta();
  const float* NextTheta(const float* current);
  const float* TakeStepped();
  const float* NextPhi(const float* current);
  const float* Outer(const StepLoop* loops, const float* input, const float* current, float* out);
  const float* Sent();
  const float* Merge(const float* theta, double* distance);
  RuleCall InnerCall() const;
  void Step(const RuleCall& call, const float* input, const float* weights, float* out, Block* scratch,
            Slots* slots);

  const float* Clip(const float* mean);
  StepArgs ArgsOf(const RuleCall& call, const float* input, const float* weights, float* out, Block* scratch,
                  Slots* slots);

  const float* Received();
  const float* Mean();
  const float* MeanOfStaged();
  const Contribution* OnlyContribution() const;
  EncodedRun Encoded(const Contribution& from);
  const float* Subtract(const float* current);
  const float* Carried(const float* current);
  bool CopyCarried(uint64_t begin, size_t bytes, std::byte* out);

  void ApplyPolicy(const float* weights);
  void Reset(const float* weights);
  void Pullback();

  const float* At(const Buffer* buffer) const;
  Slots SlotsAt(const Buffer* const* buffers) const;
  void Publish(Buffer* next, const float* values);
  void PublishDelta(const float* from, const float* to);
  void PublishSlots(Buffer* const* next, const Slots& slots);
  void Square(const float* values, double* sums) const;

  const PassContext& context_;
  const Loops& loops_;
  const CommitPlan& plan_;
  Scratch scratch_;

  const TensorStep* step_ = nullptr;
  size_t tensor_ = 0;
  uint64_t begin_ = 0;  // of the block, within the tensor
  uint64_t at_ = 0;     // of the block, within the arena
  size_t count_ = 0;
  const float* input_ = nullptr;  // mean gradient or delta; null: this block has none
  Slots inner_, outer_, caches_;
  const SteppedTensor* stepped_ = nullptr;
  bool finite_ = true;
};

}  // namespace stepback::kernels::cpu
