#include "kernels/cpu/average.h"

#include <algorithm>
#include <atomic>
#include <cstring>

#include "kernels/cpu/fp_mode.h"
#include "kernels/cpu/task_list.h"

namespace stepback::kernels::cpu {
namespace {

constexpr size_t kStreamBytesMin = size_t{32} << 20;  // larger results are written around the caches
constexpr size_t kArrays = 3;                         // phi, the average, its next form

class Sample {
 public:
  Sample(const Loops& loops, const AveragePlan& plan)
      : loops_(loops),
        plan_(plan),
        stream_(plan.next->bytes() >= kStreamBytesMin),
        tasks_(kTaskBytes / (kArrays * sizeof(float)), kBlockElements) {
    for (size_t run = 0; run < plan.runs.size(); ++run) tasks_.Add(run, plan.runs[run].count);
  }

  AverageResult Run(Executor* executor) {
    executor->Run(tasks_.size(), [this](size_t task) { RunTask(task); });
    return {.finite = finite_.load(std::memory_order_relaxed)};
  }

 private:
  void RunTask(size_t task) {
    const FpMode mode;
    bool finite = true;
    for (const Piece& piece : tasks_[task]) {
      const AverageRun& run = plan_.runs[piece.run];
      const uint64_t at = run.begin + piece.begin;
      if (run.numbers) {
        finite &= Mix(at, piece.count);
      } else {
        std::memcpy(plan_.next->host_floats() + at, plan_.phi->host_floats() + at,
                    piece.count * sizeof(float));
      }
    }
    if (stream_) FenceStreams();
    if (!finite) finite_.store(false, std::memory_order_relaxed);
  }

  bool Mix(uint64_t begin, uint64_t count) {
    alignas(64) float block[kBlockElements];
    bool finite = true;
    for (uint64_t done = 0; done < count; done += kBlockElements) {
      const uint64_t at = begin + done;
      const size_t size = std::min<uint64_t>(kBlockElements, count - done);
      StepArgs args{plan_.scalars.data(), plan_.phi->host_floats() + at, plan_.average->host_floats() + at,
                    block};
      args.count = size;
      loops_.average[plan_.rule](args);
      finite &= loops_.publish(block, size, stream_, plan_.next->host_floats() + at);
    }
    return finite;
  }

  const Loops& loops_;
  const AveragePlan& plan_;
  const bool stream_;
  TaskList tasks_;
  std::atomic<bool> finite_{true};
};

}  // namespace

AverageResult AverageArena(const Loops& loops, const AveragePlan& plan, Executor* executor) {
  return Sample(loops, plan).Run(executor);
}

}  // namespace stepback::kernels::cpu
