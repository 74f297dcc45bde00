// What the server sees of a device: buffers, folding of contributions, and the commit (one pass over memory
// that reduces, applies the inner and/or outer rule and writes the next version's buffers). Two
// implementations, cpu/ and cuda/, generated from the same rule functors; equal bits unless a rule declares a
// budget.
//
// Threads: an object may be used by several models' strands at once; buffers belong to one caller at a time.
// Errors: no exceptions; allocation failure is nullptr, a device fault is Status::kDeviceError.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/clip.h"
#include "kernels/codec_info.h"
#include "kernels/encoded_view.h"
#include "kernels/executor.h"
#include "kernels/rule_info.h"

namespace stepback::kernels {

inline constexpr size_t kArenaAlignFloats = 16;  // every tensor starts at a multiple of 64 B; pads stay zero
// Cache block of the fused pass and of the norms; restarts at every tensor.
inline constexpr size_t kBlockElements = 1024;

// A flat array in device memory: floats, or doubles for an fp64 accumulator.
class Buffer {
 public:
  virtual ~Buffer() = default;
  size_t bytes() const { return bytes_; }
  // Host address, or nullptr when the memory is not addressable by the host.
  virtual std::byte* host() = 0;
  const float* host_floats() const {
    return reinterpret_cast<const float*>(const_cast<Buffer*>(this)->host());
  }
  float* host_floats() { return reinterpret_cast<float*>(host()); }

 protected:
  explicit Buffer(size_t bytes) : bytes_(bytes) {}

 private:
  size_t bytes_;
};

// Where host memory comes from. The default takes it from the C library; the server passes its pool.
class HostAllocator {
 public:
  virtual ~HostAllocator() = default;
  virtual std::byte* Allocate(
      size_t bytes) noexcept = 0;  // 64-byte aligned, contents undefined; nullptr on failure
  virtual void Free(std::byte* p, size_t bytes) noexcept = 0;
};

enum class Accumulate : uint8_t { kF32, kF64 };

// One contiguous run of elements of one tensor to fold into the running sum: acc[i] (+)= weight *
// decode(bytes)[i].
struct Fold {
  int codec = 0;
  uint64_t byte_offset = 0;  // of the run's first encoded byte in the contribution's view
  uint64_t arena_begin = 0;  // first element, in the arena
  uint64_t count = 0;        // elements; a multiple of the codec's block, or up to the tensor's end
  bool first = false;        // overwrite instead of add (no contribution to this tensor yet)
  // Carried tensor: `count` is BYTES (a multiple of 4, or up to the tensor's end), copied unchanged to the
  // arena position. In an fp64 accumulator the four bytes of an element lie in the first half of its double.
  bool raw = false;
};

// One staged contribution of an `ordered` round.
struct Contribution {
  int codec = 0;
  double weight =
      1;  // 0: takes no part (an overflowed push that only counts for membership); its bytes are not read
  const EncodedView* bytes = nullptr;
  // Byte offset of each tensor's encoded form in `bytes`; -1: the contribution does not have that tensor.
  std::vector<int64_t> tensor_offsets;
};

// What the commit does to one tensor.
enum class TensorAction : uint8_t {
  kKeep,      // unchanged: next = current, state too
  kTrained,   // inner rule on theta (gradient) or outer rule on phi (delta)
  kAveraged,  // next = current - mean of the contributions, no optimizer
  kCarried,   // raw bytes of the newest contribution that has the tensor (last in order)
};

struct TensorStep {
  uint64_t arena_begin = 0;
  uint64_t count = 0;  // elements in the arena (carried: floats that hold the bytes)
  // Carried tensors, and frozen ones (kKeep): bytes, exempt from the finiteness check and the norms. 0:
  // numbers.
  uint64_t carried_bytes = 0;
  TensorAction action = TensorAction::kKeep;
  double divisor = 1;   // (running or staged sum) / divisor = mean over the contributors of this tensor
  int inner_rule = -1;  // index into InnerRules(); -1: no inner rule (group "none": theta keeps)
  uint32_t inner_used_slots =
      ~0u;  // RuleInfo::used_slots of the tensor's hypers; the other slots keep their content
  bool inner_reduces = true;        // RuleInfo::reduces of the tensor's hypers; rules that take no sums: any
  std::span<const uint64_t> shape;  // for rules that step whole tensors: its product is `count`
  uint64_t inner_scalars = 0;       // byte offset into CommitPlan::scalars
  uint64_t outer_scalars = 0;
};

// Tensors that a commit steps as a whole at one time, each in memory of its own (RuleInfo::workspace).
inline constexpr size_t kWholeTensorsAtOnce = 4;

enum class InnerStatePolicy : uint8_t { kKeep, kReset, kPullback };

// One commit. All `next` buffers are distinct from each other and from all current ones; only the fp32
// running sum `acc` may be phi_next or theta_next, which is how a sum's buffer becomes the next weights. A
// null next pointer means that the array does not change in this commit (its current buffer is shared with
// the next version).
struct CommitPlan {
  std::span<const TensorStep> tensors;  // every tensor of the arena, in order
  std::span<const std::byte> scalars;   // prepared rule scalars; offsets are multiples of 16
  int outer_rule = -1;                  // index into OuterRules(); -1: this commit has no outer step

  // Input: a running sum (acc != nullptr), or staged contributions already in reduction order, reduced in
  // fp64 within each block: sum_i w_i x_i in that order / TensorStep::divisor (NOT the sum of the weights:
  // loss scales and staleness weights enter the numerator only), rounded once to fp32 (algorithms.md 10.6).
  // Weighted sums of a running fp32 accumulator use acc = fma(weight, x, acc) and one fp32 division by
  // (float)divisor.
  const Buffer* acc = nullptr;
  Accumulate acc_type = Accumulate::kF32;
  std::span<const Contribution> staged;

  // Delta mode, with an outer rule that takes weights: the mean is of the workers' weights, not of deltas,
  // and phi' = Merge(phi, mean), for averaged tensors too. Goes with no clip.
  bool weights = false;

  // Gradient mode: g + lambda g g (theta - base) in place of a trained tensor's mean g, where `base` is what
  // the only contribution was computed at (delay compensation, kernels/delay.h); null: none. Before the clip.
  const Buffer* base = nullptr;
  float delay_lambda = 0;

  // Of the trained tensors that have a mean (and, in gradient mode, a rule); applied before the rules.
  Clip clip;

  // Gradient mode: theta, and phi too when outer_rule >= 0 (a sync). The inner rule gives theta'; with an
  // outer rule phi' = Merge(phi, theta') and theta' := phi' bit for bit, so theta_next must be null then
  // (share phi_next), except that a kKeep/kAveraged/kCarried tensor's phi' is its theta'. In a sync EVERY
  // trained tensor merges, also one whose action is kKeep for lack of a gradient (the inner rule is skipped
  // for it). Delta mode: theta == nullptr; phi' = Step(phi, mean delta).
  const Buffer* theta = nullptr;
  Buffer* theta_next = nullptr;
  const Buffer* phi = nullptr;
  Buffer* phi_next = nullptr;
  std::span<const uint8_t> merges;  // gradient sync: per tensor, 1 = the outer rule merges it (role trained)

  const Buffer* inner_slots[kMaxSlots] = {};  // null: slot unused
  Buffer* inner_slots_next[kMaxSlots] = {};
  const Buffer* outer_slots[kMaxSlots] = {};
  Buffer* outer_slots_next[kMaxSlots] = {};

  // At a sync (algorithms.md 4.2): reset: every inner slot of a merged tensor := its init (the merged weights
  // where a slot starts from them). pullback:
  // first-moment slots m := alpha m + (1 - alpha) cache, cache := m; caches parallel inner_slots, null for
  // other slots.
  InnerStatePolicy policy = InnerStatePolicy::kKeep;
  float pullback_alpha = 0;
  const Buffer* caches[kMaxSlots] = {};
  Buffer* caches_next[kMaxSlots] = {};

  // Outer steps: also writes out what they step along, the mean delta, or phi - theta before a sync's merge
  // (for averaged tensors before phi' = theta'); zeros where nobody contributed, and for bytes. Null: nobody
  // asks.
  Buffer* delta_next = nullptr;

  bool want_norms = false;
};

enum class Status : uint8_t { kOk, kOutOfMemory, kDeviceError };

// One robust reduction (kernels/aggregator_info.h): the staged contributions of a round become one array in
// arena layout that a commit takes as its sum, with divisor 1.
struct AggregatePlan {
  int aggregator = 0;                   // index into Aggregators()
  HyperSpan hypers;                     // of that aggregator, checked
  std::span<const TensorStep> tensors;  // as in the commit; kKeep ones are left out
  std::span<const Contribution>
      staged;  // in reduction order; at least AggregatorInfo::least of them carry weight
  // Written, parallel to `staged`: 0 left out, 1 took part, between: scaled down.
  std::span<double> shares;
};

// Norms cover the elements of trained tensors' means and of every tensor's weights, carried bytes exempt;
// each is one sum over the arena's blocks in order.
struct CommitResult {
  Status status = Status::kOk;
  bool finite = true;  // no NaN or infinity in any array written (weights and slots; carried bytes exempt)
  int64_t bad_tensor = -1;  // first tensor with a non-finite output
  // Sum of squares of the mean gradient or delta (phi - mean where weights were sent) before clipping, order
  // of decisions 21 (want_norms).
  double input_sq = 0;
  double weight_sq = 0;    // of phi' (theta' when phi does not change)
  double distance_sq = 0;  // of phi - theta' before a sync's merge (0 otherwise)
  double merge_share = -1;  // what an outer rule made of its sums (RuleInfo::merge_finish); -1: it takes none
};

// A sample for one average: next = Step(average, phi) where numbers lie, phi's own bytes elsewhere. A pass of
// its own after the commit (docs/decisions/0076): averages change at syncs only.
struct AverageRun {
  uint64_t begin = 0;  // floats of the arena, pads included: multiples of kArenaAlignFloats
  uint64_t count = 0;
  bool numbers = true;  // false: carried and frozen tensors
};

struct AveragePlan {
  int rule = 0;                        // index into AverageRules()
  std::span<const std::byte> scalars;  // prepared, 16-byte aligned
  std::span<const AverageRun> runs;    // tile the arena, in order
  const Buffer* phi = nullptr;
  const Buffer* average = nullptr;  // before; may be phi
  Buffer* next = nullptr;           // neither of both
};

struct AverageResult {
  Status status = Status::kOk;
  bool finite = true;
};

class Backend {
 public:
  virtual ~Backend() = default;
  virtual std::string_view name() const = 0;                   // "cpu/avx2", "cuda:0", ...
  virtual std::unique_ptr<Buffer> Allocate(size_t bytes) = 0;  // undefined contents; nullptr on failure
  virtual Status Fill(Buffer* buffer, float value) = 0;
  virtual Status Zero(Buffer* buffer) = 0;  // all bytes
  virtual Status Upload(Buffer* to, uint64_t byte_offset, const std::byte* from, size_t bytes) = 0;
  virtual Status Download(const Buffer& from, uint64_t byte_offset, std::byte* to, size_t bytes) = 0;
  virtual Status Copy(Buffer* to, const Buffer& from) = 0;  // equal sizes
  // Whether a commit may use the rule. Those that step whole tensors run on the CPU only.
  virtual bool Runs(const RuleInfo& rule) const {
    (void)rule;
    return true;
  }
  // Folds one contribution; folds cover disjoint arena ranges and may run in parallel.
  virtual Status FoldInto(Buffer* acc, Accumulate type, const EncodedView& bytes, std::span<const Fold> folds,
                          double weight, Executor* executor) = 0;
  // Writes the elements (carried: the bytes) of the plan's tensors to `out`, fp32, and nothing else; `out`
  // may become the sum and one of the next buffers of the commit that follows. The same bits on every
  // back-end: the arithmetic is the host's, where the contributions lie. kOutOfMemory and kDeviceError leave
  // `out` unspecified.
  virtual Status Aggregate(const AggregatePlan& plan, Buffer* out, Executor* executor);
  // Writes every next buffer completely (pads of the arena are zero in them). Keeps no pointer afterwards.
  virtual CommitResult Commit(const CommitPlan& plan, Executor* executor) = 0;
  virtual AverageResult Average(const AveragePlan& plan, Executor* executor) = 0;
};

// Instruction sets of the CPU back-end present on this machine, best first: "avx512", "avx2", "generic".
std::vector<std::string_view> CpuTargets();
// target "" picks the best; nullptr when the name is unknown or not supported here. `allocator` must outlive
// it.
std::unique_ptr<Backend> MakeCpuBackend(std::string_view target = "", HostAllocator* allocator = nullptr);
// nullptr when built without CUDA or no such device; `error` says why.
std::unique_ptr<Backend> MakeCudaBackend(int device, std::string* error);

}  // namespace stepback::kernels
