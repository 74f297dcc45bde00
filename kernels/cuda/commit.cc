#include "kernels/cuda/commit.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <vector>

#include "kernels/clip_factors.h"
#include "kernels/cuda/passes.h"
#include "kernels/cuda/status.h"
#include "kernels/plan.h"

namespace stepback::kernels::cuda {
namespace {

constexpr size_t kAlign = 16;
constexpr size_t kWindowBytes = size_t{8} << 20;
constexpr size_t kResultsHeader = 64;  // the flag, then the partial sums
constexpr uint32_t kNoTensor = ~0u;

size_t Align(size_t bytes) { return (bytes + kAlign - 1) / kAlign * kAlign; }
uint64_t BlocksOf(uint64_t count) { return (count + kBlockElements - 1) / kBlockElements; }

// Tensors that one launch covers: in gradient mode those of one inner rule.
struct Group {
  int inner_rule = -1;
  size_t begin = 0;  // in the sorted table
  size_t end = 0;
  uint64_t blocks = 0;
};

// What a walk over the blocks does: read for sums over tensors, or write the next version.
enum class Pass { kSquares, kReduce, kMergeSums, kWrite };

class Commit {
 public:
  Commit(CommitScratch& scratch, StagingRing& ring, cudaStream_t stream, const CommitPlan& plan)
      : scratch_(scratch), ring_(ring), stream_(stream), plan_(plan) {
    scalars_.assign(plan.scalars.begin(), plan.scalars.end());
    pullback_alpha_ = plan.pullback_alpha;
    Describe();
    Sort();
  }

  CommitResult Run() {
    CommitResult result;
    result.status = StatusOf(Execute(&result));
    return result;
  }

 private:
  // --- tables ---

  void Describe() {
    const std::vector<Buffer*> next = NextBuffers(plan_);
    const std::vector<uint8_t> has_sum = HasSum(plan_);
    for (size_t t = 0; t < plan_.tensors.size(); ++t) {
      const TensorStep& step = plan_.tensors[t];
      const bool carried = step.action == TensorAction::kCarried;
      tensors_.push_back({.first_block = 0,
                          .arena_begin = step.arena_begin,
                          .count = step.count,
                          .pad = next.empty() ? 0 : PadOf(plan_, t, *next.front()),
                          .carried_bytes = step.carried_bytes,
                          .norm_begin = blocks_,
                          .inner_scalars = step.inner_scalars,
                          .outer_scalars = step.outer_scalars,
                          .divisor = step.divisor,
                          .factor = 1,
                          .index = static_cast<uint32_t>(t),
                          .inner_used_slots = step.inner_used_slots,
                          .action = step.action,
                          .has_input = NeedsMean(plan_, step, has_sum[t] != 0),
                          .has_carried = carried && (plan_.acc != nullptr || Newest(plan_, t) != nullptr),
                          .merges = !plan_.merges.empty() && plan_.merges[t] != 0,
                          .clipped = IsClipped(plan_, step, has_sum[t] != 0),
                          .takes_sums = TakesSums(plan_, step, has_sum[t] != 0),
                          .takes_merge_sums = TakesMergeSums(plan_, t, has_sum[t] != 0),
                          .compensated = IsCompensated(plan_, step)});
      blocks_ += BlocksOf(step.count);
    }
  }

  int RuleOf(const DeviceTensor& tensor) const {
    return plan_.theta != nullptr ? plan_.tensors[tensor.index].inner_rule : -1;
  }

  // By inner rule, in arena order within one; tensors without elements have no block and drop out.
  void Sort() {
    std::erase_if(tensors_, [](const DeviceTensor& tensor) { return tensor.count == 0; });
    std::stable_sort(tensors_.begin(), tensors_.end(),
                     [this](const auto& a, const auto& b) { return RuleOf(a) < RuleOf(b); });
    for (size_t i = 0; i < tensors_.size(); ++i) {
      const int rule = RuleOf(tensors_[i]);
      if (groups_.empty() || groups_.back().inner_rule != rule) groups_.push_back({rule, i, i, 0});
      Group& group = groups_.back();
      tensors_[i].first_block = group.blocks;
      group.blocks += BlocksOf(tensors_[i].count);
      group.end = i + 1;
    }
  }

  // --- the device ---

  cudaError_t Execute(CommitResult* result) {
    SB_CUDA_RETURN_IF_ERROR(SendTables());
    SB_CUDA_RETURN_IF_ERROR(ClipNorms());
    SB_CUDA_RETURN_IF_ERROR(RuleSums());
    SB_CUDA_RETURN_IF_ERROR(MergeSums(result));
    SB_CUDA_RETURN_IF_ERROR(PrepareResults());
    for (const Group& group : groups_) SB_CUDA_RETURN_IF_ERROR(Walk(Pass::kWrite, group));
    SB_CUDA_RETURN_IF_ERROR(ReadResults(result));
    return cudaSuccess;
  }

  cudaError_t Walk(Pass pass, const Group& group) {
    return plan_.acc != nullptr ? Launch(pass, group, args_, 0, group.blocks) : LaunchWindows(pass, group);
  }

  // --- sums over whole tensors ---

  cudaError_t ClipNorms() {
    if (!plan_.clip.by_norm()) return cudaSuccess;
    std::vector<double> sums;
    SB_CUDA_RETURN_IF_ERROR(Sum(Pass::kSquares, &DeviceTensor::clipped, &sums));
    std::vector<double> squares(plan_.tensors.size(), 0);
    for (const DeviceTensor& tensor : tensors_) squares[tensor.index] = Total(sums, tensor, 0);
    const std::vector<float> factors = ClipFactors(plan_.clip, squares);
    for (DeviceTensor& tensor : tensors_) tensor.factor = factors[tensor.index];
    return SendTables();
  }

  cudaError_t RuleSums() {
    const auto takes = [](const DeviceTensor& tensor) { return tensor.takes_sums; };
    if (std::none_of(tensors_.begin(), tensors_.end(), takes)) return cudaSuccess;
    std::vector<double> sums;
    SB_CUDA_RETURN_IF_ERROR(Sum(Pass::kReduce, &DeviceTensor::takes_sums, &sums));
    for (const DeviceTensor& tensor : tensors_) {
      if (!tensor.takes_sums) continue;
      double totals[kMaxSums];
      for (int k = 0; k < kMaxSums; ++k) totals[k] = Total(sums, tensor, k);
      InnerRules()[RuleOf(tensor)].finish(scalars_.data() + tensor.inner_scalars, totals);
    }
    return SendTables();
  }

  // Last: the inner steps that it looks at are clipped and have their own sums.
  cudaError_t MergeSums(CommitResult* result) {
    const bool sync = plan_.theta != nullptr && plan_.outer_rule >= 0;
    if (!sync || OuterRules()[plan_.outer_rule].merge_sums == 0) return cudaSuccess;
    std::vector<double> sums;
    SB_CUDA_RETURN_IF_ERROR(Sum(Pass::kMergeSums, &DeviceTensor::takes_merge_sums, &sums));
    double totals[kMaxSums] = {};
    for (size_t i = 0; i < sums.size(); ++i) totals[i % kMaxSums] += sums[i];  // every sum in block order
    for (size_t t = 0; t < plan_.tensors.size(); ++t) {
      if (plan_.merges[t] == 0) continue;
      result->merge_share = OuterRules()[plan_.outer_rule].merge_finish(
          scalars_.data() + plan_.tensors[t].outer_scalars, totals);
    }
    if (result->merge_share >= 0) pullback_alpha_ = static_cast<float>(result->merge_share);
    return SendTables();
  }

  // One reading pass over the groups with tensors that want it; its sums by block of the arena.
  cudaError_t Sum(Pass pass, bool DeviceTensor::*wants, std::vector<double>* sums) {
    sums->assign(kMaxSums * blocks_, 0);
    SB_CUDA_RETURN_IF_ERROR(scratch_.results.Reserve(kResultsHeader + sums->size() * sizeof(double)));
    args_.sums = reinterpret_cast<double*>(scratch_.results.data() + kResultsHeader);
    SB_CUDA_RETURN_IF_ERROR(cudaMemsetAsync(args_.sums, 0, sums->size() * sizeof(double), stream_));
    for (const Group& group : groups_) {
      const auto begin = tensors_.begin() + static_cast<ptrdiff_t>(group.begin);
      const auto end = tensors_.begin() + static_cast<ptrdiff_t>(group.end);
      const bool wanted = std::any_of(begin, end, [&](const DeviceTensor& tensor) { return tensor.*wants; });
      if (wanted) SB_CUDA_RETURN_IF_ERROR(Walk(pass, group));
    }
    SB_CUDA_RETURN_IF_ERROR(cudaMemcpyAsync(sums->data(), args_.sums, sums->size() * sizeof(double),
                                            cudaMemcpyDeviceToHost, stream_));
    return cudaStreamSynchronize(stream_);
  }

  // In block order, as everywhere.
  static double Total(const std::vector<double>& sums, const DeviceTensor& tensor, int sum) {
    double total = 0;
    const uint64_t end = tensor.norm_begin + BlocksOf(tensor.count);
    for (uint64_t block = tensor.norm_begin; block < end; ++block) total += sums[block * kMaxSums + sum];
    return total;
  }

  cudaError_t SendTables() {
    std::vector<DeviceContribution> staged;
    for (const Contribution& from : plan_.staged) staged.push_back({from.weight, from.codec});
    const size_t tensors = Align(tensors_.size() * sizeof(DeviceTensor));
    const size_t contributions = Align(staged.size() * sizeof(DeviceContribution));
    const size_t total = tensors + contributions + Align(scalars_.size());
    if (tensors_.empty()) return cudaSuccess;
    const auto table = std::make_unique<std::byte[]>(total);
    std::memcpy(table.get(), tensors_.data(), tensors_.size() * sizeof(DeviceTensor));
    std::copy_n(reinterpret_cast<const std::byte*>(staged.data()), staged.size() * sizeof(DeviceContribution),
                table.get() + tensors);
    std::copy(scalars_.begin(), scalars_.end(), table.get() + tensors + contributions);
    SB_CUDA_RETURN_IF_ERROR(scratch_.tables.Reserve(total));
    std::byte* const at = scratch_.tables.data();
    SetArgs(at, at + tensors, at + tensors + contributions);
    // From pageable memory: the call returns when the bytes have been taken over.
    return cudaMemcpyAsync(at, table.get(), total, cudaMemcpyHostToDevice, stream_);
  }

  void SetArgs(const std::byte* tensors, const std::byte* staged, const std::byte* scalars) {
    args_.tensors = reinterpret_cast<const DeviceTensor*>(tensors);
    args_.staged = reinterpret_cast<const DeviceContribution*>(staged);
    args_.staged_count = static_cast<uint32_t>(plan_.staged.size());
    args_.scalars = scalars;
    args_.outer_rule = plan_.outer_rule;
    args_.weights = plan_.weights;
    args_.acc = DeviceAddress(plan_.acc);
    args_.acc_wide = plan_.acc_type == Accumulate::kF64;
    args_.theta = Floats(plan_.theta);
    args_.theta_next = Floats(plan_.theta_next);
    args_.base = Floats(plan_.base);
    args_.delay_lambda = plan_.delay_lambda;
    args_.phi = Floats(plan_.phi);
    args_.phi_next = Floats(plan_.phi_next);
    args_.delta_next = Floats(plan_.delta_next);
    for (int i = 0; i < kMaxSlots; ++i) {
      args_.inner[i] = Floats(plan_.inner_slots[i]);
      args_.inner_next[i] = Floats(plan_.inner_slots_next[i]);
      args_.outer[i] = Floats(plan_.outer_slots[i]);
      args_.outer_next[i] = Floats(plan_.outer_slots_next[i]);
      args_.caches[i] = Floats(plan_.caches[i]);
      args_.caches_next[i] = Floats(plan_.caches_next[i]);
    }
    args_.policy = plan_.policy;
    args_.pullback_alpha = pullback_alpha_;
    args_.limit = plan_.clip.limit();
  }

  static float* Floats(const Buffer* buffer) { return reinterpret_cast<float*>(DeviceAddress(buffer)); }

  cudaError_t PrepareResults() {
    const size_t sums = plan_.want_norms ? 3 * blocks_ * sizeof(double) : 0;
    SB_CUDA_RETURN_IF_ERROR(scratch_.results.Reserve(kResultsHeader + sums));
    std::byte* const at = scratch_.results.data();
    args_.bad_tensor = reinterpret_cast<uint32_t*>(at);
    auto* const norms = reinterpret_cast<double*>(at + kResultsHeader);
    for (int i = 0; i < 3; ++i) args_.norms[i] = plan_.want_norms ? norms + i * blocks_ : nullptr;
    return cudaMemsetAsync(at, 0xff, sizeof kNoTensor, stream_);
  }

  cudaError_t Launch(Pass pass, const Group& group, PassArgs args, uint64_t first, uint64_t blocks) {
    args.tensors += group.begin;
    args.tensor_count = static_cast<uint32_t>(group.end - group.begin);
    if (pass == Pass::kSquares) return LaunchSquares(args, first, blocks, stream_);
    if (pass == Pass::kReduce) return LaunchReduce(group.inner_rule, args, first, blocks, stream_);
    if (pass == Pass::kMergeSums) return LaunchMergeSums(group.inner_rule, args, first, blocks, stream_);
    return plan_.theta != nullptr ? LaunchGradient(group.inner_rule, args, first, blocks, stream_)
                                  : LaunchDelta(args, first, blocks, stream_);
  }

  cudaError_t ReadResults(CommitResult* result) {
    uint32_t bad = kNoTensor;
    std::vector<double> sums(plan_.want_norms ? 3 * blocks_ : 0);
    const std::byte* const at = scratch_.results.data();
    SB_CUDA_RETURN_IF_ERROR(cudaMemcpyAsync(&bad, at, sizeof bad, cudaMemcpyDeviceToHost, stream_));
    if (!sums.empty()) {
      SB_CUDA_RETURN_IF_ERROR(cudaMemcpyAsync(sums.data(), at + kResultsHeader, sums.size() * sizeof(double),
                                              cudaMemcpyDeviceToHost, stream_));
    }
    SB_CUDA_RETURN_IF_ERROR(cudaStreamSynchronize(stream_));
    const auto total = [&](size_t norm) {
      return sums.empty() ? 0.0
                          : std::accumulate(&sums[norm * blocks_], &sums[norm * blocks_] + blocks_, 0.0);
    };
    result->bad_tensor = bad == kNoTensor ? -1 : static_cast<int64_t>(bad);
    result->finite = bad == kNoTensor;
    result->input_sq = total(0);
    result->weight_sq = total(1);
    result->distance_sq = total(2);
    return cudaSuccess;
  }

  // --- staged contributions, a window of blocks at a time ---

  size_t RowBytes() const { return std::max<size_t>(plan_.staged.size(), 1) * sizeof(uint64_t); }
  size_t BlockBytes() const {
    return RowBytes() + std::max<size_t>(plan_.staged.size(), 1) * kBlockElements * sizeof(float);
  }

  cudaError_t LaunchWindows(Pass pass, const Group& group) {
    const uint64_t window = std::max<uint64_t>(kWindowBytes / BlockBytes(), 1);
    SB_CUDA_RETURN_IF_ERROR(ring_.Reserve(Align(window * RowBytes()) + window * BlockBytes()));
    for (uint64_t first = 0; first < group.blocks; first += window) {
      SB_CUDA_RETURN_IF_ERROR(LaunchWindow(pass, group, first, std::min(window, group.blocks - first)));
    }
    return cudaSuccess;
  }

  cudaError_t LaunchWindow(Pass pass, const Group& group, uint64_t first, uint64_t blocks) {
    StagingRing::Slot slot;
    SB_CUDA_RETURN_IF_ERROR(ring_.Next(&slot));
    const size_t rows = Align(blocks * RowBytes());
    size_t used = 0;
    for (uint64_t b = 0; b < blocks; ++b) {
      StageBlock(group, first + b, reinterpret_cast<uint64_t*>(slot.host + b * RowBytes()), slot.host + rows,
                 &used);
    }
    SB_CUDA_RETURN_IF_ERROR(ring_.Send(rows + used, stream_));
    PassArgs args = args_;
    args.staged_offsets = reinterpret_cast<const uint64_t*>(slot.device);
    args.staged_bytes = slot.device + rows;
    SB_CUDA_RETURN_IF_ERROR(Launch(pass, group, args, first, blocks));
    return ring_.Done(stream_);
  }

  // Copies what every contribution has of one block, and notes where.
  void StageBlock(const Group& group, uint64_t block, uint64_t* offsets, std::byte* data,
                  size_t* used) const {
    std::fill_n(offsets, std::max<size_t>(plan_.staged.size(), 1), kAbsent);
    const DeviceTensor& tensor = TensorOf(group, block);
    const uint64_t begin = (block - tensor.first_block) * kBlockElements;
    const uint64_t count = std::min<uint64_t>(kBlockElements, tensor.count - begin);
    if (tensor.has_carried) return StageCarried(tensor, begin, count, offsets, data, used);
    if (!tensor.has_input) return;
    for (size_t k = 0; k < plan_.staged.size(); ++k) {
      const Contribution& from = plan_.staged[k];
      if (!TakesPart(from, tensor.index)) continue;
      const CodecInfo& codec = Codecs()[from.codec];
      const EncodedPart part = PartAround(codec, begin, count, tensor.count);
      const uint64_t offset = from.tensor_offsets[tensor.index] + part.offset;
      offsets[k] = StageRun(*from.bytes, offset, part.bytes, data, used);
    }
  }

  void StageCarried(const DeviceTensor& tensor, uint64_t begin, uint64_t count, uint64_t* offsets,
                    std::byte* data, size_t* used) const {
    const Contribution& from = *Newest(plan_, tensor.index);
    const uint64_t begin_bytes = begin * sizeof(float);
    const uint64_t end_bytes = std::min<uint64_t>(tensor.carried_bytes, (begin + count) * sizeof(float));
    const uint64_t bytes = end_bytes > begin_bytes ? end_bytes - begin_bytes : 0;
    offsets[0] = StageRun(*from.bytes, from.tensor_offsets[tensor.index] + begin_bytes, bytes, data, used);
    *used = Align(offsets[0] + count * sizeof(float));  // the kernel reads whole words
  }

  static uint64_t StageRun(const EncodedView& view, uint64_t offset, size_t bytes, std::byte* data,
                           size_t* used) {
    const size_t at = *used;
    const std::byte* const from = view.Read(offset, bytes, data + at);
    if (from != data + at) std::memcpy(data + at, from, bytes);
    *used = Align(at + bytes);
    return at;
  }

  const DeviceTensor& TensorOf(const Group& group, uint64_t block) const {
    const auto begin = tensors_.begin() + static_cast<ptrdiff_t>(group.begin);
    const auto end = tensors_.begin() + static_cast<ptrdiff_t>(group.end);
    return *std::prev(std::upper_bound(begin, end, block, [](uint64_t wanted, const DeviceTensor& tensor) {
      return wanted < tensor.first_block;
    }));
  }

  CommitScratch& scratch_;
  StagingRing& ring_;
  const cudaStream_t stream_;
  const CommitPlan& plan_;
  std::vector<std::byte> scalars_;  // the plan's, with sums finished
  float pullback_alpha_ = 0;        // the plan's, or what the outer rule made of its sums
  std::vector<DeviceTensor> tensors_;
  std::vector<Group> groups_;
  uint64_t blocks_ = 0;  // of the arena
  PassArgs args_ = {};
};

}  // namespace

CommitResult CommitArena(CommitScratch& scratch, StagingRing& ring, cudaStream_t stream,
                         const CommitPlan& plan) {
  return Commit(scratch, ring, stream, plan).Run();
}

}  // namespace stepback::kernels::cuda
