#include "kernels/cpu/block_pass.h"

#include <algorithm>
#include <cstring>

#include "kernels/codecs/codecs.h"
#include "kernels/plan.h"

namespace stepback::kernels::cpu {
namespace {

template <class Codec>
constexpr bool FitsBlocks() {
  constexpr size_t kBlock = Codec::kBlockElements;
  constexpr size_t kTogether = std::max(kBlock, kBlockElements);
  return kTogether % kBlock == 0 && kTogether % kBlockElements == 0 && kBlock <= kCodecBlockMax &&
         Codec::kBlockBytes <= kCodecBlockMax &&
         EncodedBytes<Codec>(kTogether) <= sizeof(float) * kBlockElements;
}
static_assert(kBlockElements % kNormBlock == 0);
static_assert(
    [] {
      bool fits = true;
      AllCodecs::ForEach([&]<class Codec>() { fits = fits && FitsBlocks<Codec>(); });
      return fits;
    }(),
    "one of cache block and codec block is a multiple of the other; the form of the larger fits the scratch");

}  // namespace

BlockPass::BlockPass(const PassContext& context)
    : context_(context), loops_(context.loops), plan_(context.plan) {
  std::fill_n(scratch_.zeros, kBlockElements, 0.0f);
}

bool BlockPass::Run(size_t tensor, uint64_t begin, size_t count, const NormSums& norms,
                    const SteppedTensor* stepped) {
  Begin(tensor, begin, count);
  stepped_ = stepped;
  // Before anything is published: the accumulator may be one of the next buffers.
  input_ = HasInput() ? Received() : nullptr;
  if (input_ != nullptr && step_->action == TensorAction::kTrained) Square(Sent(), norms.input);
  input_ = Clip(input_);
  const float* weights = plan_.theta != nullptr ? Gradient(norms) : Delta();
  if (step_->carried_bytes == 0) Square(weights, norms.weight);
  return finite_ || step_->carried_bytes > 0;
}

void BlockPass::ReadInput(size_t tensor, uint64_t begin, size_t count, float* out) {
  Begin(tensor, begin, count);
  std::copy_n(Clip(Received()), count, out);
}

void BlockPass::SquareInput(size_t tensor, uint64_t begin, size_t count, double* sum) {
  Begin(tensor, begin, count);
  Square(Clip(Received()), sum);
}

void BlockPass::Reduce(size_t tensor, uint64_t begin, size_t count, double* sums) {
  Begin(tensor, begin, count);
  loops_.reduce[step_->inner_rule](
      ArgsOf(InnerCall(), Clip(Received()), At(plan_.theta), scratch_.weights, scratch_.inner_slots, &inner_),
      sums);
}

void BlockPass::ReduceMerge(size_t tensor, uint64_t begin, size_t count, double* sums) {
  Begin(tensor, begin, count);
  input_ = Clip(Received());
  const float* const before = At(plan_.theta);
  const float* const after = NextTheta(before);
  const RuleInfo& rule = InnerRules()[step_->inner_rule];
  const float scale = rule.curvature_scale(context_.scalars.data() + step_->inner_scalars);
  loops_.merge_sums[plan_.outer_rule](
      {input_, inner_.now[rule.curvature_slot], scale, before, after, At(plan_.phi), count_}, sums);
}

void BlockPass::Begin(size_t tensor, uint64_t begin, size_t count) {
  step_ = &plan_.tensors[tensor];
  tensor_ = tensor;
  begin_ = begin;
  at_ = step_->arena_begin + begin;
  count_ = count;
  inner_ = SlotsAt(plan_.inner_slots);
  outer_ = SlotsAt(plan_.outer_slots);
  caches_ = SlotsAt(plan_.caches);
  finite_ = true;
}

bool BlockPass::HasInput() const { return NeedsMean(plan_, *step_, context_.has_sum[tensor_] != 0); }

// --- what happens to the weights ---

const float* BlockPass::Gradient(const NormSums& norms) {
  const float* weights = NextTheta(At(plan_.theta));
  const bool sync = plan_.outer_rule >= 0;
  if (sync) PublishDelta(At(plan_.phi), weights);
  if (sync && plan_.merges[tensor_] != 0) {
    weights = Merge(weights, norms.distance);
    ApplyPolicy(weights);
  }
  Publish(plan_.theta_next, weights);
  if (sync) Publish(plan_.phi_next, weights);
  PublishSlots(plan_.inner_slots_next, inner_);
  PublishSlots(plan_.outer_slots_next, outer_);
  PublishSlots(plan_.caches_next, caches_);
  return weights;
}

const float* BlockPass::Delta() {
  // First: the mean may lie in the buffer of the next phi.
  Publish(plan_.delta_next, input_ != nullptr ? Sent() : scratch_.zeros);
  const float* weights = NextPhi(At(plan_.phi));
  Publish(plan_.phi_next, weights);
  PublishSlots(plan_.outer_slots_next, outer_);
  return weights;
}

const float* BlockPass::NextTheta(const float* current) {
  if (step_->action == TensorAction::kCarried) return Carried(current);
  if (input_ == nullptr) return current;
  if (step_->action == TensorAction::kAveraged) return Subtract(current);
  if (stepped_ != nullptr) return TakeStepped();
  Step(InnerCall(), input_, current, scratch_.weights, scratch_.inner_slots, &inner_);
  return scratch_.weights;
}

const float* BlockPass::NextPhi(const float* current) {
  if (step_->action == TensorAction::kCarried) return Carried(current);
  if (input_ == nullptr) return current;
  if (plan_.weights) return Outer(loops_.merge, input_, current, scratch_.weights);
  if (step_->action == TensorAction::kAveraged || plan_.outer_rule < 0) return Subtract(current);
  return Outer(loops_.outer, input_, current, scratch_.weights);
}

const float* BlockPass::Outer(const StepLoop* loops, const float* input, const float* current, float* out) {
  const size_t rule = plan_.outer_rule;
  Step({loops[rule], OuterRules()[rule].slots.size(), ~0u, step_->outer_scalars}, input, current, out,
       scratch_.outer_slots, &outer_);
  return out;
}

// The input as a delta: where weights were sent, what the slow weights are away from them.
const float* BlockPass::Sent() {
  if (!plan_.weights) return input_;
  loops_.subtract(At(plan_.phi), input_, count_, scratch_.merged);
  return scratch_.merged;
}

const float* BlockPass::Merge(const float* theta, double* distance) {
  const float* phi = At(plan_.phi);
  if (distance != nullptr) {
    loops_.subtract(phi, theta, count_, scratch_.merged);
    Square(scratch_.merged, distance);
  }
  return Outer(loops_.merge, theta, phi, scratch_.merged);
}

const float* BlockPass::TakeStepped() {
  for (int i = 0; i < kMaxSlots; ++i) {
    if (stepped_->slots[i] != nullptr) inner_.now[i] = stepped_->slots[i] + begin_;
  }
  return stepped_->weights + begin_;
}

BlockPass::RuleCall BlockPass::InnerCall() const {
  const size_t rule = step_->inner_rule;
  return {loops_.inner[rule], InnerRules()[rule].slots.size(), step_->inner_used_slots, step_->inner_scalars};
}

void BlockPass::Step(const RuleCall& call, const float* input, const float* weights, float* out,
                     Block* scratch, Slots* slots) {
  call.loop(ArgsOf(call, input, weights, out, scratch, slots));
}

// A slot that is not used reads zeros and writes where nobody looks, so every rule has one loop.
StepArgs BlockPass::ArgsOf(const RuleCall& call, const float* input, const float* weights, float* out,
                           Block* scratch, Slots* slots) {
  StepArgs args{context_.scalars.data() + call.scalars, input, weights, out};
  for (size_t i = 0; i < call.slots; ++i) {
    const bool used = slots->now[i] != nullptr && (call.used >> i & 1) != 0;
    args.slots[i] = used ? slots->now[i] : scratch_.zeros;
    args.slots_out[i] = used ? scratch[i] : scratch_.unused;
    if (used) slots->now[i] = scratch[i];
  }
  args.count = count_;
  return args;
}

// --- the input ---

// The mean, of a gradient compensated for its age.
const float* BlockPass::Received() {
  const float* const mean = Mean();
  if (!IsCompensated(plan_, *step_)) return mean;
  loops_.compensate(mean, At(plan_.theta), At(plan_.base), count_, plan_.delay_lambda, scratch_.input);
  return scratch_.input;
}

const float* BlockPass::Mean() {
  if (plan_.acc == nullptr) return MeanOfStaged();
  const std::byte* acc = const_cast<Buffer*>(plan_.acc)->host();
  if (plan_.acc_type == Accumulate::kF64) {
    loops_.mean_f64(reinterpret_cast<const double*>(acc) + at_, count_, step_->divisor, scratch_.input);
    return scratch_.input;
  }
  const float* sum = reinterpret_cast<const float*>(acc) + at_;
  const float divisor = static_cast<float>(step_->divisor);
  if (divisor == 1.0f) return sum;
  loops_.mean_f32(sum, count_, divisor, scratch_.input);
  return scratch_.input;
}

// The mean as the rules may see it; null for null.
const float* BlockPass::Clip(const float* mean) {
  if (mean == nullptr || !IsClipped(plan_, *step_, true)) return mean;
  const float factor = context_.factors.empty() ? 1.0f : context_.factors[tensor_];
  loops_.clip(mean, count_, plan_.clip.limit(), factor, scratch_.input);
  return scratch_.input;
}

const float* BlockPass::MeanOfStaged() {
  if (const Contribution* only = OnlyContribution()) {
    loops_.codecs[only->codec].decode(Encoded(*only), scratch_.input);
    return scratch_.input;
  }
  bool first = true;
  for (const Contribution& from : plan_.staged) {
    if (!TakesPart(from, tensor_)) continue;
    loops_.codecs[from.codec].fold_f64(Encoded(from), from.weight, first, scratch_.sum);
    first = false;
  }
  loops_.mean_f64(scratch_.sum, count_, step_->divisor, scratch_.input);
  return scratch_.input;
}

// A contribution alone whose weight is the divisor is its own mean, bit for bit: w x / w in fp64 is x within
// 2^-52, far inside half an ulp of an fp32 number. Without the fp64 arithmetic the pass is bound by memory
// again.
const Contribution* BlockPass::OnlyContribution() const {
  const Contribution* only = nullptr;
  for (const Contribution& from : plan_.staged) {
    if (!TakesPart(from, tensor_)) continue;
    if (only != nullptr) return nullptr;
    only = &from;
  }
  return only != nullptr && only->weight == step_->divisor ? only : nullptr;
}

// The block at hand as it was sent, or the larger codec block that it lies in.
EncodedRun BlockPass::Encoded(const Contribution& from) {
  const EncodedPart part = PartAround(Codecs()[from.codec], begin_, count_, step_->count);
  const uint64_t offset = from.tensor_offsets[tensor_] + part.offset;
  return {from.bytes->Read(offset, part.bytes, scratch_.gather), part.elements, part.skip, count_};
}

const float* BlockPass::Subtract(const float* current) {
  loops_.subtract(current, input_, count_, scratch_.weights);
  return scratch_.weights;
}

// --- carried tensors: bytes, not numbers ---

const float* BlockPass::Carried(const float* current) {
  const uint64_t begin = begin_ * sizeof(float);
  const uint64_t end = std::min<uint64_t>(step_->carried_bytes, (begin_ + count_) * sizeof(float));
  const size_t bytes = begin < end ? end - begin : 0;
  auto* out = reinterpret_cast<std::byte*>(scratch_.weights);
  std::memset(out + bytes, 0, count_ * sizeof(float) - bytes);
  return CopyCarried(begin, bytes, out) ? scratch_.weights : current;
}

// False: no contribution has the tensor.
bool BlockPass::CopyCarried(uint64_t begin, size_t bytes, std::byte* out) {
  if (plan_.acc != nullptr) {
    const size_t stride = plan_.acc_type == Accumulate::kF32 ? sizeof(float) : sizeof(double);
    const std::byte* in = const_cast<Buffer*>(plan_.acc)->host() + at_ * stride;
    for (size_t i = 0; i * sizeof(float) < bytes; ++i) {
      std::memcpy(out + i * sizeof(float), in + i * stride,
                  std::min(sizeof(float), bytes - i * sizeof(float)));
    }
    return true;
  }
  const Contribution* const from = Newest(plan_, tensor_);
  if (from == nullptr) return false;
  const std::byte* in = from->bytes->Read(from->tensor_offsets[tensor_] + begin, bytes, out);
  if (in != out) std::memcpy(out, in, bytes);
  return true;
}

// --- inner state at a sync ---

void BlockPass::ApplyPolicy(const float* weights) {
  if (step_->inner_rule < 0) return;
  if (plan_.policy == InnerStatePolicy::kReset) Reset(weights);
  if (plan_.policy == InnerStatePolicy::kPullback) Pullback();
}

void BlockPass::Reset(const float* weights) {
  const auto slots = InnerRules()[step_->inner_rule].slots;
  for (size_t i = 0; i < slots.size(); ++i) {
    if (inner_.now[i] == nullptr) continue;
    if (slots[i].from_weights) {
      std::copy_n(weights, count_, scratch_.inner_slots[i]);
    } else {
      std::fill_n(scratch_.inner_slots[i], count_, slots[i].init);
    }
    inner_.now[i] = scratch_.inner_slots[i];
  }
}

void BlockPass::Pullback() {
  const auto slots = InnerRules()[step_->inner_rule].slots;
  for (size_t i = 0; i < slots.size(); ++i) {
    if (!slots[i].first_moment || inner_.now[i] == nullptr || caches_.now[i] == nullptr) continue;
    loops_.blend(inner_.now[i], caches_.now[i], count_, context_.pullback_alpha, scratch_.inner_slots[i]);
    inner_.now[i] = caches_.now[i] = scratch_.inner_slots[i];
  }
}

// --- memory ---

const float* BlockPass::At(const Buffer* buffer) const {
  return buffer != nullptr ? buffer->host_floats() + at_ : nullptr;
}

BlockPass::Slots BlockPass::SlotsAt(const Buffer* const* buffers) const {
  Slots slots;
  for (int i = 0; i < kMaxSlots; ++i) slots.now[i] = At(buffers[i]);
  return slots;
}

// The accumulator's lines are in the cache already, so writing it back through the cache is cheaper.
void BlockPass::Publish(Buffer* next, const float* values) {
  if (next == nullptr || values == nullptr) return;
  const bool stream = context_.stream && next != plan_.acc;
  finite_ &= loops_.publish(values, count_, stream, next->host_floats() + at_);
}

void BlockPass::PublishDelta(const float* from, const float* to) {
  if (plan_.delta_next == nullptr) return;
  if (step_->carried_bytes > 0) return Publish(plan_.delta_next, scratch_.zeros);
  loops_.subtract(from, to, count_, scratch_.merged);
  Publish(plan_.delta_next, scratch_.merged);
}

void BlockPass::PublishSlots(Buffer* const* next, const Slots& slots) {
  for (int i = 0; i < kMaxSlots; ++i) Publish(next[i], slots.now[i]);
}

void BlockPass::Square(const float* values, double* sums) const {
  if (sums != nullptr) loops_.square_sums(values, count_, sums);
}

}  // namespace stepback::kernels::cpu
