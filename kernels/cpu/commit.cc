#include "kernels/cpu/commit.h"

#include <algorithm>
#include <memory>
#include <new>
#include <numeric>
#include <vector>

#include "kernels/cpu/block_pass.h"
#include "kernels/cpu/fp_mode.h"
#include "kernels/cpu/task_list.h"
#include "kernels/plan.h"

namespace stepback::kernels::cpu {
namespace {

// Next versions of at least this size are written around the caches (15-25 % faster; folds measured slower
// that way).
constexpr size_t kStreamBytesMin = size_t{32} << 20;

size_t CurrentBuffers(const CommitPlan& plan) {
  size_t count = (plan.theta != nullptr) + (plan.phi != nullptr) + 1;
  for (int i = 0; i < kMaxSlots; ++i)
    count += (plan.inner_slots[i] != nullptr) + (plan.outer_slots[i] != nullptr);
  return count + plan.staged.size();
}

// Partial sums of the norms, in block order over the arena: the one order in which they are ever added.
class Norms {
 public:
  bool Reserve(const CommitPlan& plan) {
    if (!plan.want_norms) return true;
    for (const TensorStep& step : plan.tensors) {
      starts_.push_back(blocks_);
      blocks_ += (step.count + kNormBlock - 1) / kNormBlock;
    }
    sums_.reset(new (std::nothrow) double[3 * blocks_]());
    return sums_ != nullptr;
  }
  NormSums At(size_t tensor, uint64_t begin) const {
    if (sums_ == nullptr) return {};
    double* const at = sums_.get() + starts_[tensor] + begin / kNormBlock;
    return {at, at + blocks_, at + 2 * blocks_};
  }
  double Total(int norm) const {
    const double* begin = sums_.get() + norm * blocks_;
    return sums_ == nullptr ? 0 : std::accumulate(begin, begin + blocks_, 0.0);
  }

 private:
  std::unique_ptr<double[]> sums_;
  std::vector<size_t> starts_;
  size_t blocks_ = 0;
};

class Commit {
 public:
  Commit(const Loops& loops, const CommitPlan& plan)
      : plan_(plan),
        next_(NextBuffers(plan)),
        has_sum_(HasSum(plan)),
        context_{loops, plan, has_sum_, Streams()},
        tasks_(kTaskBytes / (sizeof(float) * (CurrentBuffers(plan) + next_.size())), kBlockElements) {
    for (size_t t = 0; t < plan.tensors.size(); ++t) tasks_.Add(t, plan.tensors[t].count);
  }

  CommitResult Run(Executor* executor) {
    CommitResult result;
    if (!norms_.Reserve(plan_)) {
      result.status = Status::kOutOfMemory;
      return result;
    }
    bad_.assign(tasks_.size(), -1);
    executor->Run(tasks_.size(), [this](size_t task) { RunTask(task); });
    for (size_t task = tasks_.size(); task-- > 0;) {
      if (bad_[task] >= 0) result.bad_tensor = bad_[task];
    }
    result.finite = result.bad_tensor < 0;
    result.input_sq = norms_.Total(0);
    result.weight_sq = norms_.Total(1);
    result.distance_sq = norms_.Total(2);
    return result;
  }

 private:
  bool Streams() const {
    size_t bytes = 0;
    for (const Buffer* buffer : next_) bytes += buffer->bytes();
    return bytes >= kStreamBytesMin;
  }

  void RunTask(size_t task) {
    const FpMode mode;
    BlockPass pass(context_);
    for (const Piece& piece : tasks_[task]) {
      if (!RunPiece(pass, piece) && bad_[task] < 0) bad_[task] = static_cast<int64_t>(piece.run);
      if (piece.begin + piece.count == plan_.tensors[piece.run].count) ZeroPad(piece.run);
    }
    if (context_.stream) FenceStreams();
  }

  bool RunPiece(BlockPass& pass, const Piece& piece) {
    bool finite = true;
    for (uint64_t done = 0; done < piece.count; done += kBlockElements) {
      const uint64_t begin = piece.begin + done;
      const size_t count = std::min<uint64_t>(kBlockElements, piece.count - done);
      finite &= pass.Run(piece.run, begin, count, norms_.At(piece.run, begin));
    }
    return finite;
  }

  void ZeroPad(size_t tensor) {
    const TensorStep& step = plan_.tensors[tensor];
    for (Buffer* buffer : next_) {
      std::fill_n(buffer->host_floats() + step.arena_begin + step.count, PadOf(plan_, tensor, *buffer), 0.0f);
    }
  }

  const CommitPlan& plan_;
  const std::vector<Buffer*> next_;
  const std::vector<uint8_t> has_sum_;
  const PassContext context_;
  TaskList tasks_;
  Norms norms_;
  std::vector<int64_t> bad_;  // per task: first tensor with a non-finite output, -1 none
};

}  // namespace

CommitResult CommitArena(const Loops& loops, const CommitPlan& plan, Executor* executor) {
  return Commit(loops, plan).Run(executor);
}

}  // namespace stepback::kernels::cpu
