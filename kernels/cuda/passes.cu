// The kernels: the same functors as the CPU loops around a grid. One CUDA block handles one cache block
// (1,024 elements of one tensor), so a grid covers the arena whatever its tensors are, with one launch per
// inner rule. Deterministic: no float atomics; norms are summed in the fixed order and added up by the host
// in block order.
#include <type_traits>
#include <utility>

#include "kernels/clip.h"
#include "kernels/codecs/codecs.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/passes.h"
#include "kernels/delay.h"
#include "kernels/rules.h"

namespace stepback::kernels::cuda {
namespace {

constexpr int kPerThread = kBlockElements / kThreads;
static_assert(kPerThread * kThreads == kBlockElements && kThreads >= 3 * 32);

// Stands for "no inner rule".
struct NoRule {
  static constexpr std::array<SlotInfo, 0> kSlots = {};
};

template <class Rule>
inline constexpr int kSlotCount = static_cast<int>(Rule::kSlots.size());

// --- calling a rule on slots held in registers ---

template <class Rule, size_t... slot>
__device__ void StepOn(const std::byte* scalars, float input, float& w, float* slots,
                       std::index_sequence<slot...>) {
  Rule::Step(*reinterpret_cast<const typename Rule::Scalars*>(scalars), input, w, slots[slot]...);
}

template <class Rule, size_t... slot>
__device__ void MergeOn(const std::byte* scalars, float theta, float& w, float* slots,
                        std::index_sequence<slot...>) {
  MergeStep<Rule>(*reinterpret_cast<const typename Rule::Scalars*>(scalars), theta, w, slots[slot]...);
}

// The outer rule is the same for a whole launch, so this branch never diverges.
template <bool merge, class... Rules>
__device__ void OuterOn(RuleList<Rules...>, int rule, const std::byte* scalars, float input, float& w,
                        float* slots) {
  int id = 0;
  const auto call = [&]<class Rule>(Rule*) {
    if (id++ != rule) return;
    constexpr auto kSlots = std::make_index_sequence<kSlotCount<Rule>>();
    if constexpr (merge) {
      MergeOn<Rule>(scalars, input, w, slots, kSlots);
    } else {
      StepOn<Rule>(scalars, input, w, slots, kSlots);
    }
  };
  (call(static_cast<Rules*>(nullptr)), ...);
}

// Where the codec block that holds element `begin` starts; blocks larger than a cache block are staged whole.
template <class Codec>
__device__ uint32_t SkipOf(uint64_t begin) {
  return begin % Codec::kBlockElements;
}

// Element begin + i of a run of `total` elements; `bytes` start with the codec block that holds `begin`.
template <class Codec>
__device__ float LoadElement(const std::byte* bytes, uint64_t begin, uint64_t total, uint32_t i) {
  const uint32_t at = SkipOf<Codec>(begin) + i, block = at / Codec::kBlockElements;
  const std::byte* const in = bytes + block * Codec::kBlockBytes;
  if constexpr (requires { Codec::Load(in, i, i); }) {
    const uint64_t left = total - (begin - SkipOf<Codec>(begin)) - block * Codec::kBlockElements;
    const uint32_t n = left < Codec::kBlockElements ? left : Codec::kBlockElements;
    return Codec::Load(in, at % Codec::kBlockElements, n);
  } else {
    return Codec::Load(in, at % Codec::kBlockElements);
  }
}

template <class... Codecs>
__device__ float LoadFrom(CodecList<Codecs...>, int codec, const std::byte* bytes, uint64_t begin,
                          uint64_t total, uint32_t i) {
  int id = 0;
  float x = 0;
  const auto load = [&]<class Codec>(Codec*) {
    if (id++ == codec) x = LoadElement<Codec>(bytes, begin, total, i);
  };
  (load(static_cast<Codecs*>(nullptr)), ...);
  return x;
}

// --- one block of the arena ---

struct Block {
  DeviceTensor tensor;  // a copy: it stays in registers whatever is stored meanwhile
  uint64_t begin;       // within the tensor
  uint64_t at;          // within the arena
  uint32_t count;
  uint32_t of_launch;  // row of staged_offsets
};

// The tensor of a block: the last one whose first block is not after it.
__device__ Block FindBlock(const PassArgs& p, uint64_t first) {
  const uint64_t wanted = first + blockIdx.x;
  uint32_t low = 0, high = p.tensor_count;
  while (high - low > 1) {
    const uint32_t middle = (low + high) / 2;
    (p.tensors[middle].first_block <= wanted ? low : high) = middle;
  }
  const DeviceTensor tensor = p.tensors[low];
  const uint64_t begin = (wanted - tensor.first_block) * kBlockElements;
  const uint64_t rest = tensor.count - begin;
  const uint32_t count = rest < kBlockElements ? rest : kBlockElements;
  return {tensor, begin, tensor.arena_begin + begin, count, blockIdx.x};
}

__device__ float MeanOfStaged(const PassArgs& p, const Block& block, uint32_t i) {
  const uint64_t* const offsets = p.staged_offsets + uint64_t{block.of_launch} * p.staged_count;
  double sum = 0;
  bool first = true;
  for (uint32_t k = 0; k < p.staged_count; ++k) {
    if (offsets[k] == kAbsent) continue;
    const double x = LoadFrom(AllCodecs(), p.staged[k].codec, p.staged_bytes + offsets[k], block.begin,
                              block.tensor.count, i);
    sum = first ? p.staged[k].weight * x : Fma(p.staged[k].weight, x, sum);
    first = false;
  }
  return static_cast<float>(sum / block.tensor.divisor);
}

__device__ float Mean(const PassArgs& p, const Block& block, uint32_t i) {
  if (p.acc == nullptr) return MeanOfStaged(p, block, i);
  const double divisor = block.tensor.divisor;
  if (p.acc_wide) return static_cast<float>(reinterpret_cast<const double*>(p.acc)[block.at + i] / divisor);
  return reinterpret_cast<const float*>(p.acc)[block.at + i] / static_cast<float>(divisor);
}

// The mean, of a gradient compensated for its age.
__device__ float Received(const PassArgs& p, const Block& block, uint32_t i) {
  const float mean = Mean(p, block, i);
  const uint64_t at = block.at + i;
  return block.tensor.compensated ? Compensated(mean, p.theta[at], p.base[at], p.delay_lambda) : mean;
}

// The mean as the rules may see it.
__device__ float Input(const PassArgs& p, const Block& block, float mean) {
  return block.tensor.clipped ? Clipped(mean, p.limit, block.tensor.factor) : mean;
}

// Four raw bytes, those past the end zero.
__device__ float Carried(const PassArgs& p, const Block& block, uint32_t i) {
  uint32_t bits;
  if (p.acc != nullptr) {
    bits = *reinterpret_cast<const uint32_t*>(p.acc +
                                              (block.at + i) * (p.acc_wide ? sizeof(double) : sizeof(float)));
  } else {
    const uint64_t offset = p.staged_offsets[uint64_t{block.of_launch} * p.staged_count];
    bits = reinterpret_cast<const uint32_t*>(p.staged_bytes + offset)[i];
  }
  const uint64_t begin = (block.begin + i) * sizeof(float), end = block.tensor.carried_bytes;
  const uint64_t valid = begin >= end ? 0 : end - begin;
  if (valid < sizeof(float)) bits &= (1u << (8 * valid)) - 1;
  return BitsAs<float>(bits);
}

__device__ bool IsFinite(float x) { return (BitsAs<uint32_t>(x) & 0x7f800000u) != 0x7f800000u; }

// What the norms of one block are made of, by element.
struct NormInputs {
  float input[kBlockElements];
  float weight[kBlockElements];
  float distance[kBlockElements];
};

// Lane i mod 32 adds in fp64 in index order, lanes fold 16, 8, 4, 2, 1. Products of floats are exact in fp64.
__device__ void SumSquares(const float* values, uint32_t count, double* out) {
  const uint32_t lane = threadIdx.x % 32;
  double sum = 0;
  for (uint32_t i = lane; i < count; i += 32) sum += double{values[i]} * double{values[i]};
  for (int half = 16; half > 0; half /= 2) sum += __shfl_down_sync(0xffffffffu, sum, half);
  if (lane == 0) *out = sum;
}

// Ends a block: norms by three warps, the pad, the flag.
__device__ void Finish(const PassArgs& p, const Block& block, const NormInputs& norms, bool finite) {
  const bool all_finite = __syncthreads_and(finite || block.tensor.carried_bytes > 0);
  if (threadIdx.x == 0 && !all_finite) atomicMin(p.bad_tensor, block.tensor.index);
  if (p.norms[0] == nullptr) return;
  const uint64_t row = block.tensor.norm_begin + block.begin / kBlockElements;
  const uint32_t warp = threadIdx.x / 32;
  if (warp == 0) SumSquares(norms.input, block.count, p.norms[0] + row);
  if (warp == 1) SumSquares(norms.weight, block.count, p.norms[1] + row);
  if (warp == 2) SumSquares(norms.distance, block.count, p.norms[2] + row);
}

__device__ void ZeroPad(const Block& block, float* next) {
  if (next == nullptr || block.begin + block.count != block.tensor.count) return;
  for (uint64_t i = threadIdx.x; i < block.tensor.pad; i += kThreads) next[block.at + block.count + i] = 0.0f;
}

__device__ void ZeroPads(const PassArgs& p, const Block& block) {
  ZeroPad(block, p.theta_next);
  ZeroPad(block, p.phi_next);
  ZeroPad(block, p.delta_next);
  for (int i = 0; i < kMaxSlots; ++i) {
    ZeroPad(block, p.inner_next[i]);
    ZeroPad(block, p.outer_next[i]);
    ZeroPad(block, p.caches_next[i]);
  }
}

// --- the passes ---

template <class... Rules>
constexpr int MostSlots(RuleList<Rules...>) {
  int most = 0;
  ((most = kSlotCount<Rules> > most ? kSlotCount<Rules> : most), ...);
  return most;
}
constexpr int kOuterSlots = MostSlots(OuterRuleList());
constexpr int AtLeastOne(int n) { return n > 0 ? n : 1; }  // for arrays that may be empty

// One element on its way through a pass: all that is loaded for it and all that is stored, in registers.
// `sync` tells whether a gradient pass merges; a delta pass has no inner state.
template <int inner_slots, bool outer_too>
struct Element {
  static constexpr int kInner = inner_slots;
  static constexpr int kOuter = outer_too ? kOuterSlots : 0;
  static constexpr int kCaches = outer_too ? inner_slots : 0;
  float w = 0;     // theta, phi in a delta pass; then its next value
  float phi = 0;   // before a merge
  float mean = 0;  // of the contributions
  float distance = 0;
  float inner[AtLeastOne(kInner)], outer[AtLeastOne(kOuter)], caches[AtLeastOne(kCaches)];
};

template <int count>
__device__ void LoadSlots(const float* const* now, uint64_t at, float* slots) {
#pragma unroll
  for (int i = 0; i < count; ++i) slots[i] = now[i] != nullptr ? now[i][at] : 0.0f;
}

// Writes a value where there is a next array, and remembers whether it was finite.
__device__ void Put(float* next, uint64_t at, float value, bool* finite) {
  if (next == nullptr) return;
  next[at] = value;
  *finite = *finite && IsFinite(value);
}

template <int count>
__device__ void PutSlots(float* const* next, uint64_t at, const float* slots, bool* finite) {
#pragma unroll
  for (int i = 0; i < count; ++i) Put(next[i], at, slots[i], finite);
}

// Arrays that other tensors' rules use: this tensor's part moves over unchanged.
template <int from>
__device__ void KeepSlots(const float* const* now, float* const* next, uint64_t at) {
#pragma unroll
  for (int i = from; i < kMaxSlots; ++i) {
    if (next[i] != nullptr) next[i][at] = now[i][at];
  }
}

template <class E>
__device__ void Load(const PassArgs& p, const Block& block, uint32_t i, const float* weights, E& e) {
  const uint64_t at = block.at + i;
  e.w = block.tensor.has_carried ? Carried(p, block, i) : weights[at];
  if (block.tensor.has_input) e.mean = Received(p, block, i);
  LoadSlots<E::kInner>(p.inner, at, e.inner);
  LoadSlots<E::kOuter>(p.outer, at, e.outer);
  LoadSlots<E::kCaches>(p.caches, at, e.caches);
}

__device__ bool SlotIsUsed(const PassArgs& p, const Block& block, int slot) {
  return p.inner[slot] != nullptr && (block.tensor.inner_used_slots >> slot & 1) != 0;
}

// A slot that is not used reads zero and keeps what it holds.
template <class Rule, class E>
__device__ void InnerStep(const PassArgs& p, const Block& block, E& e) {
  float slots[AtLeastOne(E::kInner)] = {};
#pragma unroll
  for (int i = 0; i < E::kInner; ++i) slots[i] = SlotIsUsed(p, block, i) ? e.inner[i] : 0.0f;
  StepOn<Rule>(p.scalars + block.tensor.inner_scalars, Input(p, block, e.mean), e.w, slots,
               std::make_index_sequence<E::kInner>());
#pragma unroll
  for (int i = 0; i < E::kInner; ++i) e.inner[i] = SlotIsUsed(p, block, i) ? slots[i] : e.inner[i];
}

template <class Rule, size_t slot, class E>
__device__ void PolicyOn(const PassArgs& p, E& e) {
  constexpr float kInit = Rule::kSlots[slot].init;
  constexpr bool kFirstMoment = Rule::kSlots[slot].first_moment;
  constexpr bool kFromWeights = Rule::kSlots[slot].from_weights;
  if (p.inner[slot] == nullptr) return;
  if (p.policy == InnerStatePolicy::kReset) e.inner[slot] = kFromWeights ? e.w : kInit;
  if (kFirstMoment && p.policy == InnerStatePolicy::kPullback && p.caches[slot] != nullptr) {
    e.caches[slot] = Fma(p.pullback_alpha, e.inner[slot], (1.0f - p.pullback_alpha) * e.caches[slot]);
    e.inner[slot] = e.caches[slot];
  }
}

template <class Rule, class E, size_t... slot>
__device__ void Policy(const PassArgs& p, E& e, std::index_sequence<slot...>) {
  (PolicyOn<Rule, slot>(p, e), ...);
}

template <class Rule, class E>
__device__ void NextTheta(const PassArgs& p, const Block& block, E& e) {
  if (!block.tensor.has_input) return;
  if (block.tensor.action == TensorAction::kAveraged) {
    e.w = e.w - e.mean;
  } else if constexpr (!std::is_same_v<Rule, NoRule>) {
    InnerStep<Rule>(p, block, e);
  }
}

template <class Rule, class E>
__device__ void Sync(const PassArgs& p, const Block& block, E& e) {
  const float theta = e.w;
  e.w = e.phi;
  e.distance = e.w - theta;
  OuterOn<true>(OuterRuleList(), p.outer_rule, p.scalars + block.tensor.outer_scalars, theta, e.w, e.outer);
  Policy<Rule>(p, e, std::make_index_sequence<E::kInner>());
}

__device__ bool NeedsPhi(const PassArgs& p, const Block& block) {
  return block.tensor.merges || (p.delta_next != nullptr && block.tensor.carried_bytes == 0);
}

// Before a merge: what the outer step goes along.
template <class E>
__device__ float DeltaOf(const Block& block, const E& e) {
  return block.tensor.carried_bytes == 0 ? e.phi - e.w : 0.0f;
}

// Where weights were sent, the delta that they amount to takes the place of the mean.
template <class E>
__device__ void NextPhi(const PassArgs& p, const Block& block, E& e) {
  if (!block.tensor.has_input) return;
  if (p.weights) {
    const float theta = e.mean;
    e.mean = e.w - theta;
    return OuterOn<true>(OuterRuleList(), p.outer_rule, p.scalars + block.tensor.outer_scalars, theta, e.w,
                         e.outer);
  }
  const float delta = Input(p, block, e.mean);
  if (block.tensor.action == TensorAction::kAveraged || p.outer_rule < 0) {
    e.w = e.w - delta;
  } else {
    OuterOn<false>(OuterRuleList(), p.outer_rule, p.scalars + block.tensor.outer_scalars, delta, e.w,
                   e.outer);
  }
}

template <class E>
__device__ void Note(const Block& block, uint32_t i, const E& e, NormInputs& norms) {
  norms.input[i] = block.tensor.action == TensorAction::kTrained ? e.mean : 0.0f;
  norms.weight[i] = block.tensor.carried_bytes == 0 ? e.w : 0.0f;
  norms.distance[i] = e.distance;
}

// Both passes load everything a thread needs before they store anything: the next buffers may alias the
// running sum, so the compiler would not move later loads up by itself, and too few would be in flight.
template <class Rule, bool sync>
__global__ void __launch_bounds__(kThreads) GradientPass(const __grid_constant__ PassArgs p, uint64_t first) {
  __shared__ NormInputs norms;
  const Block block = FindBlock(p, first);
  using E = Element<kSlotCount<Rule>, sync>;
  E elements[kPerThread];
#pragma unroll
  for (int j = 0; j < kPerThread; ++j) {
    const uint32_t i = threadIdx.x + j * kThreads;
    if (i >= block.count) continue;
    Load(p, block, i, p.theta, elements[j]);
    if (sync && NeedsPhi(p, block)) elements[j].phi = p.phi[block.at + i];
  }
  bool finite = true;
#pragma unroll
  for (int j = 0; j < kPerThread; ++j) {
    const uint32_t i = threadIdx.x + j * kThreads;
    if (i >= block.count) continue;
    const uint64_t at = block.at + i;
    E& e = elements[j];
    NextTheta<Rule>(p, block, e);
    if constexpr (sync) {
      Put(p.delta_next, at, DeltaOf(block, e), &finite);
      if (block.tensor.merges) Sync<Rule>(p, block, e);
      Put(p.phi_next, at, e.w, &finite);
      PutSlots<E::kOuter>(p.outer_next, at, e.outer, &finite);
      PutSlots<E::kCaches>(p.caches_next, at, e.caches, &finite);
      KeepSlots<E::kCaches>(p.caches, p.caches_next, at);
    }
    Put(p.theta_next, at, e.w, &finite);
    PutSlots<E::kInner>(p.inner_next, at, e.inner, &finite);
    KeepSlots<E::kInner>(p.inner, p.inner_next, at);
    Note(block, i, e, norms);
  }
  ZeroPads(p, block);
  Finish(p, block, norms, finite);
}

__global__ void __launch_bounds__(kThreads) DeltaPass(const __grid_constant__ PassArgs p, uint64_t first) {
  __shared__ NormInputs norms;
  const Block block = FindBlock(p, first);
  using E = Element<0, true>;
  E elements[kPerThread];
#pragma unroll
  for (int j = 0; j < kPerThread; ++j) {
    const uint32_t i = threadIdx.x + j * kThreads;
    if (i < block.count) Load(p, block, i, p.phi, elements[j]);
  }
  bool finite = true;
#pragma unroll
  for (int j = 0; j < kPerThread; ++j) {
    const uint32_t i = threadIdx.x + j * kThreads;
    if (i >= block.count) continue;
    E& e = elements[j];
    NextPhi(p, block, e);
    Put(p.delta_next, block.at + i, Input(p, block, e.mean), &finite);
    Put(p.phi_next, block.at + i, e.w, &finite);
    PutSlots<E::kOuter>(p.outer_next, block.at + i, e.outer, &finite);
    Note(block, i, e, norms);
  }
  ZeroPads(p, block);
  Finish(p, block, norms, finite);
}

// --- sums over whole tensors, before anything is written ---

// The squares of the mean after the limit on values.
struct InputSquares {
  static constexpr int kSums = 1;
  __device__ static bool Wants(const DeviceTensor& tensor) { return tensor.clipped; }
  __device__ static void Terms(const PassArgs& p, const Block& block, uint32_t i, double (&sums)[1]) {
    const float g = Input(p, block, Received(p, block, i));
    sums[0] = double{g} * g;
  }
};

// What an inner rule takes before it steps.
template <class Rule>
struct RuleSums {
  static constexpr int kSums = Rule::kSums;
  __device__ static bool Wants(const DeviceTensor& tensor) { return tensor.takes_sums; }
  __device__ static void Terms(const PassArgs& p, const Block& block, uint32_t i, double (&sums)[kSums]) {
    Of(p, block, i, sums, std::make_index_sequence<kSlotCount<Rule>>());
  }
  template <size_t... slot>
  __device__ static void Of(const PassArgs& p, const Block& block, uint32_t i, double (&sums)[kSums],
                            std::index_sequence<slot...>) {
    const uint64_t at = block.at + i;
    const auto& s = *reinterpret_cast<const typename Rule::Scalars*>(p.scalars + block.tensor.inner_scalars);
    Rule::Reduce(s, Input(p, block, Received(p, block, i)), p.theta[at],
                 (SlotIsUsed(p, block, slot) ? p.inner[slot][at] : 0.0f)..., sums);
  }
};

// What an outer rule takes before it merges; the inner step is taken and forgotten.
template <class Inner, class Outer>
struct MergeSums {
  static constexpr int kSums = Outer::kMergeSums;
  __device__ static bool Wants(const DeviceTensor& tensor) { return tensor.takes_merge_sums; }
  __device__ static void Terms(const PassArgs& p, const Block& block, uint32_t i, double (&sums)[kSums]) {
    const uint64_t at = block.at + i;
    const std::byte* const scalars = p.scalars + block.tensor.inner_scalars;
    const float g = Input(p, block, Received(p, block, i));
    float w = p.theta[at], slots[AtLeastOne(kSlotCount<Inner>)] = {};
#pragma unroll
    for (int k = 0; k < kSlotCount<Inner>; ++k) slots[k] = SlotIsUsed(p, block, k) ? p.inner[k][at] : 0.0f;
    StepOn<Inner>(scalars, g, w, slots, std::make_index_sequence<kSlotCount<Inner>>());
    const float scale = Inner::CurvatureScale(*reinterpret_cast<const typename Inner::Scalars*>(scalars));
    Outer::MergeTerms(g, slots[Inner::kCurvatureSlot] * scale, p.theta[at], w, p.phi[at], sums);
  }
};

// The order of SumSquares: one warp per sum.
__device__ void AddTerms(const double* terms, uint32_t count, double* out) {
  const uint32_t lane = threadIdx.x % 32;
  double sum = 0;
  for (uint32_t i = lane; i < count; i += 32) sum += terms[i];
  for (int half = 16; half > 0; half /= 2) sum += __shfl_down_sync(0xffffffffu, sum, half);
  if (lane == 0) *out = sum;
}

template <class Sums>
__global__ void __launch_bounds__(kThreads) ReducePass(const __grid_constant__ PassArgs p, uint64_t first) {
  static_assert(Sums::kSums <= kMaxSums && kMaxSums * 32 <= kThreads);
  __shared__ double terms[Sums::kSums][kBlockElements];
  const Block block = FindBlock(p, first);
  if (!Sums::Wants(block.tensor)) return;
  for (uint32_t i = threadIdx.x; i < block.count; i += kThreads) {
    double of_element[Sums::kSums];
    Sums::Terms(p, block, i, of_element);
    for (int k = 0; k < Sums::kSums; ++k) terms[k][i] = of_element[k];
  }
  __syncthreads_and(1);
  const uint32_t warp = threadIdx.x / 32;
  const uint64_t row = block.tensor.norm_begin + block.begin / kBlockElements;
  if (warp < Sums::kSums) AddTerms(terms[warp], block.count, p.sums + row * kMaxSums + warp);
}

// --- folding ---

// Raw bytes keep four to an element; in an fp64 accumulator the four lie at the start of the element.
__device__ void CopyRaw(const FoldPiece& piece, const std::byte* in, std::byte* acc, size_t stride) {
  for (uint32_t i = threadIdx.x; i < piece.count; i += kThreads) {
    acc[(piece.arena_begin + i / sizeof(float)) * stride + i % sizeof(float)] = in[i];
  }
}

template <class Real>
__global__ void __launch_bounds__(kThreads)
    FoldPass(const FoldPiece* pieces, const std::byte* bytes, std::byte* acc, Real weight) {
  const FoldPiece piece = pieces[blockIdx.x];
  const std::byte* const in = bytes + piece.offset;
  if (piece.raw) return CopyRaw(piece, in, acc, sizeof(Real));
  Real* const out = reinterpret_cast<Real*>(acc) + piece.arena_begin;
  for (uint32_t i = threadIdx.x; i < piece.count; i += kThreads) {
    const Real x = LoadFrom(AllCodecs(), piece.codec, in, piece.begin, piece.total, i);
    out[i] = piece.first ? weight * x : Fma(weight, x, out[i]);
  }
}

// --- averages ---

template <class Rule>
__global__ void __launch_bounds__(kThreads)
    AveragePass(const __grid_constant__ typename Rule::Scalars scalars, const float* phi,
                const float* average, float* next, uint64_t count, uint32_t* bad) {
  const uint64_t i = uint64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i >= count) return;
  float mean = average[i];
  Rule::Step(scalars, phi[i], mean);
  next[i] = mean;
  if (!IsFinite(mean)) *bad = 1;
}

template <class Rule>
void AverageOf(const std::byte* scalars, const float* phi, const float* average, float* next, uint64_t count,
               uint32_t* bad, cudaStream_t stream) {
  StartGrid(AveragePass<Rule>, (count + kThreads - 1) / kThreads, stream,
            *reinterpret_cast<const typename Rule::Scalars*>(scalars), phi, average, next, count, bad);
}

__global__ void FillPass(float* out, size_t count, float value) {
  const size_t i = size_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i < count) out[i] = value;
}

template <class Rule>
void LaunchOf(const PassArgs& args, uint64_t first, uint64_t blocks, cudaStream_t stream) {
  if constexpr (TensorRule<Rule>) {
    return;  // CudaBackend::Runs tells before a plan is made
  } else if (args.outer_rule >= 0) {
    StartGrid(GradientPass<Rule, true>, blocks, stream, args, first);
  } else {
    StartGrid(GradientPass<Rule, false>, blocks, stream, args, first);
  }
}

template <class... Rules>
void LaunchInner(RuleList<Rules...>, int rule, const PassArgs& args, uint64_t first, uint64_t blocks,
                 cudaStream_t stream) {
  int id = 0;
  ((id++ == rule ? LaunchOf<Rules>(args, first, blocks, stream) : void()), ...);
}

template <class Rule>
void LaunchReduceOf(const PassArgs& args, uint64_t first, uint64_t blocks, cudaStream_t stream) {
  if constexpr (ReducingRule<Rule>) StartGrid(ReducePass<RuleSums<Rule>>, blocks, stream, args, first);
}

template <class... Rules>
void LaunchInnerReduce(RuleList<Rules...>, int rule, const PassArgs& args, uint64_t first, uint64_t blocks,
                       cudaStream_t stream) {
  int id = 0;
  ((id++ == rule ? LaunchReduceOf<Rules>(args, first, blocks, stream) : void()), ...);
}

template <class Inner, class Outer>
void LaunchMergeSumsOf(const PassArgs& args, uint64_t first, uint64_t blocks, cudaStream_t stream) {
  if constexpr (CurvatureRule<Inner> && SumMergingRule<Outer>) {
    StartGrid(ReducePass<MergeSums<Inner, Outer>>, blocks, stream, args, first);
  }
}

template <class Inner, class... Outers>
void LaunchMergeSumsFrom(RuleList<Outers...>, const PassArgs& args, uint64_t first, uint64_t blocks,
                         cudaStream_t stream) {
  int id = 0;
  ((id++ == args.outer_rule ? LaunchMergeSumsOf<Inner, Outers>(args, first, blocks, stream) : void()), ...);
}

template <class... Inners>
void LaunchInnerMergeSums(RuleList<Inners...>, int rule, const PassArgs& args, uint64_t first,
                          uint64_t blocks, cudaStream_t stream) {
  int id = 0;
  ((id++ == rule ? LaunchMergeSumsFrom<Inners>(OuterRuleList(), args, first, blocks, stream) : void()), ...);
}

}  // namespace

cudaError_t LaunchMergeSums(int inner_rule, const PassArgs& args, uint64_t first, uint64_t blocks,
                            cudaStream_t stream) {
  LaunchInnerMergeSums(InnerRuleList(), inner_rule, args, first, blocks, stream);
  return cudaGetLastError();
}

cudaError_t LaunchSquares(const PassArgs& args, uint64_t first, uint64_t blocks, cudaStream_t stream) {
  StartGrid(ReducePass<InputSquares>, blocks, stream, args, first);
  return cudaGetLastError();
}

cudaError_t LaunchReduce(int inner_rule, const PassArgs& args, uint64_t first, uint64_t blocks,
                         cudaStream_t stream) {
  LaunchInnerReduce(InnerRuleList(), inner_rule, args, first, blocks, stream);
  return cudaGetLastError();
}

cudaError_t LaunchGradient(int inner_rule, const PassArgs& args, uint64_t first, uint64_t blocks,
                           cudaStream_t stream) {
  if (inner_rule >= 0) {
    LaunchInner(InnerRuleList(), inner_rule, args, first, blocks, stream);
  } else {
    LaunchOf<NoRule>(args, first, blocks, stream);
  }
  return cudaGetLastError();
}

cudaError_t LaunchDelta(const PassArgs& args, uint64_t first, uint64_t blocks, cudaStream_t stream) {
  StartGrid(DeltaPass, blocks, stream, args, first);
  return cudaGetLastError();
}

cudaError_t LaunchFold(const FoldPiece* pieces, size_t count, const std::byte* bytes, std::byte* acc,
                       bool wide, double weight, cudaStream_t stream) {
  if (wide) {
    StartGrid(FoldPass<double>, count, stream, pieces, bytes, acc, weight);
  } else {
    StartGrid(FoldPass<float>, count, stream, pieces, bytes, acc, static_cast<float>(weight));
  }
  return cudaGetLastError();
}

template <class... Rules, class... Arguments>
void LaunchAverageOf(RuleList<Rules...>, int rule, const Arguments&... arguments) {
  int id = 0;
  ((id++ == rule ? AverageOf<Rules>(arguments...) : void()), ...);
}

cudaError_t LaunchAverage(int rule, const std::byte* scalars, const float* phi, const float* average,
                          float* next, uint64_t count, uint32_t* bad, cudaStream_t stream) {
  LaunchAverageOf(AverageRuleList(), rule, scalars, phi, average, next, count, bad, stream);
  return cudaGetLastError();
}

cudaError_t LaunchFill(float* out, size_t count, float value, cudaStream_t stream) {
  if (count == 0) return cudaSuccess;
  StartGrid(FillPass, (count + kThreads - 1) / kThreads, stream, out, count, value);
  return cudaGetLastError();
}

}  // namespace stepback::kernels::cuda
