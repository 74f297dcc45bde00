#include "kernels/cpu/commit.h"

#include <algorithm>
#include <vector>

#include "kernels/clip_factors.h"
#include "kernels/cpu/block_pass.h"
#include "kernels/cpu/fp_mode.h"
#include "kernels/cpu/task_list.h"
#include "kernels/cpu/tensor_sums.h"
#include "kernels/cpu/whole_tensor.h"
#include "kernels/plan.h"

namespace stepback::kernels::cpu {
namespace {

// Next versions of at least this size are written around the caches (15-25 % faster; folds measured slower
// that way).
constexpr size_t kStreamBytesMin = size_t{32} << 20;

size_t CurrentBuffers(const CommitPlan& plan) {
  size_t count = (plan.theta != nullptr) + (plan.phi != nullptr) + (plan.base != nullptr) + 1;
  for (int i = 0; i < kMaxSlots; ++i)
    count += (plan.inner_slots[i] != nullptr) + (plan.outer_slots[i] != nullptr);
  return count + plan.staged.size();
}

enum Norm { kInputNorm, kWeightNorm, kDistanceNorm, kNorms };

class Commit {
 public:
  Commit(const Loops& loops, const CommitPlan& plan, HostAllocator* allocator)
      : plan_(plan),
        allocator_(allocator),
        next_(NextBuffers(plan)),
        has_sum_(HasSum(plan)),
        context_{loops, plan, has_sum_, Streams(), plan.scalars, {}, plan.pullback_alpha},
        tasks_(kTaskBytes / (sizeof(float) * (CurrentBuffers(plan) + next_.size())), kBlockElements) {
    for (size_t t = 0; t < plan.tensors.size(); ++t) {
      tasks_.Add(t, plan.tensors[t].count);
      is_whole_.push_back(StepsWhole(plan, plan.tensors[t], has_sum_[t] != 0));
      if (is_whole_[t] != 0) whole_.push_back(t);
    }
    lanes_ = std::min(whole_.size(), kWholeTensorsAtOnce);
  }
  ~Commit() {
    for (const LaneMemory& lane : lane_memory_) {
      if (lane.data != nullptr) allocator_->Free(lane.data, lane.bytes);
    }
  }
  Commit(const Commit&) = delete;
  Commit& operator=(const Commit&) = delete;

  CommitResult Run(Executor* executor) {
    CommitResult result;
    if (!ClipNorms(executor) || !RuleSums(executor) || !MergeSums(executor, &result) ||
        (plan_.want_norms && !norms_.Reserve(plan_.tensors, kNorms)) || !ReserveLanes()) {
      result.status = Status::kOutOfMemory;
      return result;
    }
    bad_.assign(lanes_ + tasks_.size(), -1);
    // Whole tensors first: they take longest.
    executor->Run(bad_.size(),
                  [this](size_t task) { task < lanes_ ? RunLane(task) : RunTask(task - lanes_); });
    for (const int64_t bad : bad_) {
      if (bad >= 0 && (result.bad_tensor < 0 || bad < result.bad_tensor)) result.bad_tensor = bad;
    }
    result.finite = result.bad_tensor < 0;
    if (norms_.reserved()) TakeNorms(&result);
    return result;
  }

 private:
  bool Streams() const {
    size_t bytes = 0;
    for (const Buffer* buffer : next_) bytes += buffer->bytes();
    return bytes >= kStreamBytesMin;
  }

  // --- what has to be known of whole tensors before any of it is written ---

  bool ClipNorms(Executor* executor) {
    if (!plan_.clip.by_norm()) return true;
    TensorSums squares;
    if (!squares.Reserve(plan_.tensors, 1)) return false;
    const auto clipped = [this](size_t t) { return IsClipped(plan_, plan_.tensors[t], has_sum_[t] != 0); };
    Read(executor, clipped, [&](BlockPass& pass, size_t tensor, uint64_t begin, size_t count) {
      pass.SquareInput(tensor, begin, count, squares.At(tensor, begin));
    });
    std::vector<double> totals;
    for (size_t t = 0; t < plan_.tensors.size(); ++t) totals.push_back(squares.OfTensor(t, 0));
    factors_ = ClipFactors(plan_.clip, totals);
    context_.factors = factors_;
    return true;
  }

  bool RuleSums(Executor* executor) {
    std::vector<uint8_t> takes;
    for (size_t t = 0; t < plan_.tensors.size(); ++t) {
      takes.push_back(TakesSums(plan_, plan_.tensors[t], has_sum_[t] != 0));
    }
    if (std::find(takes.begin(), takes.end(), 1) == takes.end()) return true;
    TensorSums sums;
    if (!sums.Reserve(plan_.tensors, kMaxSums)) return false;
    Read(
        executor, [&](size_t t) { return takes[t] != 0; },
        [&](BlockPass& pass, size_t tensor, uint64_t begin, size_t count) {
          pass.Reduce(tensor, begin, count, sums.At(tensor, begin));
        });
    CopyScalars();
    for (size_t t = 0; t < takes.size(); ++t) {
      if (takes[t] != 0) FinishScalars(t, sums);
    }
    return true;
  }

  // Last: the inner steps that it looks at are clipped and have their own sums.
  bool MergeSums(Executor* executor, CommitResult* result) {
    const bool sync = plan_.theta != nullptr && plan_.outer_rule >= 0;
    if (!sync || OuterRules()[plan_.outer_rule].merge_sums == 0) return true;
    TensorSums sums;
    if (!sums.Reserve(plan_.tensors, kMaxSums)) return false;
    const auto wanted = [this](size_t t) { return TakesMergeSums(plan_, t, has_sum_[t] != 0); };
    Read(executor, wanted, [&](BlockPass& pass, size_t tensor, uint64_t begin, size_t count) {
      pass.ReduceMerge(tensor, begin, count, sums.At(tensor, begin));
    });
    double totals[kMaxSums];
    for (size_t k = 0; k < kMaxSums; ++k) totals[k] = sums.OfAll(k);
    CopyScalars();
    for (size_t t = 0; t < plan_.tensors.size(); ++t) {
      if (plan_.merges[t] != 0) result->merge_share = FinishMerge(plan_.tensors[t].outer_scalars, totals);
    }
    if (result->merge_share >= 0) context_.pullback_alpha = static_cast<float>(result->merge_share);
    return true;
  }

  double FinishMerge(uint64_t scalars, const double* totals) {
    return OuterRules()[plan_.outer_rule].merge_finish(scalars_.data() + scalars, totals);
  }

  void CopyScalars() {
    if (scalars_.empty()) scalars_.assign(plan_.scalars.begin(), plan_.scalars.end());
    context_.scalars = scalars_;
  }

  void FinishScalars(size_t tensor, const TensorSums& sums) {
    const TensorStep& step = plan_.tensors[tensor];
    double totals[kMaxSums];
    for (size_t k = 0; k < kMaxSums; ++k) totals[k] = sums.OfTensor(tensor, k);
    InnerRules()[step.inner_rule].finish(scalars_.data() + step.inner_scalars, totals);
  }

  // read(pass, tensor, begin, count) for every block of the tensors that are wanted.
  template <class Wanted, class Visit>
  void Read(Executor* executor, Wanted wanted, Visit read) {
    executor->Run(tasks_.size(), [&](size_t task) {
      const FpMode mode;
      BlockPass pass(context_);
      for (const Piece& piece : tasks_[task]) {
        if (!wanted(piece.run)) continue;
        for (uint64_t done = 0; done < piece.count; done += kBlockElements) {
          read(pass, piece.run, piece.begin + done, std::min<uint64_t>(kBlockElements, piece.count - done));
        }
      }
    });
  }

  // --- the pass that writes ---

  void RunTask(size_t task) {
    const FpMode mode;
    BlockPass pass(context_);
    int64_t& bad = bad_[lanes_ + task];
    for (const Piece& piece : tasks_[task]) {
      if (is_whole_[piece.run] != 0) continue;
      if (!RunPiece(pass, piece, nullptr) && bad < 0) bad = static_cast<int64_t>(piece.run);
      if (piece.begin + piece.count == plan_.tensors[piece.run].count) ZeroPad(piece.run);
    }
    if (context_.stream) FenceStreams();
  }

  // Room for the largest tensor of every lane, before anything is written: a commit that finds no memory has
  // no effect.
  bool ReserveLanes() {
    for (size_t lane = 0; lane < lanes_; ++lane) {
      size_t bytes = 0;
      for (size_t i = lane; i < whole_.size(); i += lanes_)
        bytes = std::max(bytes, WholeTensor::Bytes(plan_, plan_.tensors[whole_[i]]));
      lane_memory_.push_back({allocator_->Allocate(bytes), bytes});
      if (lane_memory_.back().data == nullptr) return false;
    }
    return true;
  }

  // Every lanes_-th tensor of those that are stepped as a whole, one after the other.
  void RunLane(size_t lane) {
    const FpMode mode;
    BlockPass pass(context_);
    for (size_t i = lane; i < whole_.size(); i += lanes_) {
      WholeTensor whole(plan_, plan_.tensors[whole_[i]], context_.scalars, lane_memory_[lane].data);
      if (!RunWhole(pass, whole_[i], whole) && bad_[lane] < 0) bad_[lane] = static_cast<int64_t>(whole_[i]);
    }
    if (context_.stream) FenceStreams();
  }

  // Copied, stepped, and written block by block like the others.
  bool RunWhole(BlockPass& pass, size_t tensor, WholeTensor& whole) {
    const uint64_t count = plan_.tensors[tensor].count;
    for (uint64_t begin = 0; begin < count; begin += kBlockElements) {
      const size_t size = std::min<uint64_t>(kBlockElements, count - begin);
      pass.ReadInput(tensor, begin, size, whole.input() + begin);
    }
    const SteppedTensor stepped = whole.Step(context_.loops);
    const bool finite = RunPiece(pass, {tensor, 0, count}, &stepped);
    ZeroPad(tensor);
    return finite;
  }

  bool RunPiece(BlockPass& pass, const Piece& piece, const SteppedTensor* stepped) {
    bool finite = true;
    for (uint64_t done = 0; done < piece.count; done += kBlockElements) {
      const uint64_t begin = piece.begin + done;
      const size_t count = std::min<uint64_t>(kBlockElements, piece.count - done);
      finite &= pass.Run(piece.run, begin, count, NormsAt(piece.run, begin), stepped);
    }
    return finite;
  }

  NormSums NormsAt(size_t tensor, uint64_t begin) const {
    if (!norms_.reserved()) return {};
    double* const at = norms_.At(tensor, begin);
    return {at + kInputNorm, at + kWeightNorm, at + kDistanceNorm};
  }

  void TakeNorms(CommitResult* result) const {
    result->input_sq = norms_.OfAll(kInputNorm);
    result->weight_sq = norms_.OfAll(kWeightNorm);
    result->distance_sq = norms_.OfAll(kDistanceNorm);
  }

  void ZeroPad(size_t tensor) {
    const TensorStep& step = plan_.tensors[tensor];
    for (Buffer* buffer : next_) {
      std::fill_n(buffer->host_floats() + step.arena_begin + step.count, PadOf(plan_, tensor, *buffer), 0.0f);
    }
  }

  const CommitPlan& plan_;
  HostAllocator* const allocator_;
  const std::vector<Buffer*> next_;
  const std::vector<uint8_t> has_sum_;
  PassContext context_;
  TaskList tasks_;
  TensorSums norms_;
  std::vector<float> factors_;      // of clipping, per tensor
  std::vector<std::byte> scalars_;  // the plan's, with sums finished
  std::vector<uint8_t> is_whole_;   // per tensor: its rule steps it as a whole
  std::vector<size_t> whole_;       // those tensors
  size_t lanes_ = 0;                // tasks over them
  struct LaneMemory {
    std::byte* data;
    size_t bytes;
  };
  std::vector<LaneMemory> lane_memory_;  // for the tensors that are stepped as a whole
  std::vector<int64_t> bad_;        // per lane, then per task: first tensor with a non-finite output, -1 none
};

}  // namespace

CommitResult CommitArena(const Loops& loops, const CommitPlan& plan, HostAllocator* allocator,
                         Executor* executor) {
  return Commit(loops, plan, allocator).Run(executor);
}

}  // namespace stepback::kernels::cpu
