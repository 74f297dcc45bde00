#include "kernels/cpu/measure.h"

#include <algorithm>
#include <atomic>
#include <new>

#include "kernels/cpu/fp_mode.h"

namespace stepback::kernels::cpu {
namespace {

static_assert(kBlockElements == kNormBlock, "a cache block gives one partial sum per figure");

constexpr size_t kPartialsBytes = size_t{4} << 20;  // of one wave
constexpr size_t kWaveBlocksMax = 4096;
constexpr size_t kTaskBlocks = 16;

std::vector<RowBlock> BlocksOf(std::span<const TensorStep> tensors) {
  std::vector<RowBlock> blocks;
  for (size_t t = 0; t < tensors.size(); ++t) {
    const TensorAction action = tensors[t].action;
    if (action != TensorAction::kTrained && action != TensorAction::kAveraged) continue;
    for (uint64_t begin = 0; begin < tensors[t].count; begin += kBlockElements) {
      const size_t count = std::min<uint64_t>(kBlockElements, tensors[t].count - begin);
      blocks.push_back({t, begin, count, tensors[t].count});
    }
  }
  return blocks;
}

// The figures of a round: n squared norms, then the squared distances of the pairs (0, 1), (0, 2), ... (n -
// 2, n - 1). A wave of blocks gives one partial sum per block and figure, in parallel; the partial sums add
// in block order.
class Measurement {
 public:
  Measurement(const Loops& loops, std::span<const TensorStep> tensors, Contributions from, bool distances)
      : loops_(loops),
        from_(from),
        distances_(distances),
        figures_(from.size() + (distances ? from.size() * (from.size() - 1) / 2 : 0)),
        blocks_(BlocksOf(tensors)),
        wave_(std::clamp<size_t>(kPartialsBytes / sizeof(double) / figures_, 1, kWaveBlocksMax)),
        partials_(new (std::nothrow) double[std::min(wave_, blocks_.size()) * figures_]),
        sums_(figures_, 0.0) {}

  Status Run(Executor* executor) {
    if (partials_ == nullptr) return Status::kOutOfMemory;
    for (size_t first = 0; first < blocks_.size(); first += wave_) {
      RunWave(first, std::min(wave_, blocks_.size() - first), executor);
    }
    return no_memory_ ? Status::kOutOfMemory : Status::kOk;
  }

  const std::vector<double>& sums() const { return sums_; }

 private:
  void RunWave(size_t first, size_t blocks, Executor* executor) {
    executor->Run((blocks + kTaskBlocks - 1) / kTaskBlocks, [&](size_t task) {
      const FpMode mode;
      ContributionRows rows(loops_, from_.size());
      if (!rows.ok()) {
        no_memory_ = true;
        return;
      }
      for (size_t b = task * kTaskBlocks; b < std::min(blocks, (task + 1) * kTaskBlocks); ++b) {
        MeasureBlock(blocks_[first + b], &rows, partials_.get() + b * figures_);
      }
    });
    for (size_t b = 0; b < blocks && !no_memory_; ++b) {
      for (size_t k = 0; k < figures_; ++k) sums_[k] += partials_[b * figures_ + k];
    }
  }

  void MeasureBlock(const RowBlock& block, ContributionRows* rows, double* figures) const {
    rows->LoadAll(from_, block);
    float* const* row = rows->rows();
    for (size_t i = 0; i < from_.size(); ++i) loops_.square_sums(row[i], block.count, figures++);
    for (size_t i = 0; distances_ && i < from_.size(); ++i) {
      for (size_t j = i + 1; j < from_.size(); ++j)
        *figures++ = loops_.distance_sq(row[i], row[j], block.count);
    }
  }

  const Loops& loops_;
  const Contributions from_;
  const bool distances_;
  const size_t figures_;
  const std::vector<RowBlock> blocks_;
  const size_t wave_;
  const std::unique_ptr<double[]> partials_;
  std::vector<double> sums_;
  std::atomic<bool> no_memory_{false};
};

std::vector<double> SquareOf(std::span<const double> pairs, size_t n) {
  std::vector<double> square(n * n, 0.0);
  size_t next = 0;
  for (size_t i = 0; i < n; ++i) {
    for (size_t j = i + 1; j < n; ++j) square[i * n + j] = square[j * n + i] = pairs[next++];
  }
  return square;
}

}  // namespace

Status Measure(const Loops& loops, std::span<const TensorStep> tensors, Contributions from,
               AggregatorInput input, Executor* executor, MeasuredRound* measured) {
  if (input == AggregatorInput::kNothing || from.empty()) return Status::kOk;
  const size_t n = from.size();
  const bool distances = input == AggregatorInput::kDistances;
  Measurement measurement(loops, tensors, from, distances);
  if (const Status status = measurement.Run(executor); status != Status::kOk) return status;
  const std::vector<double>& sums = measurement.sums();
  measured->norms_sq.assign(sums.begin(), sums.begin() + static_cast<ptrdiff_t>(n));
  if (distances) measured->distances_sq = SquareOf(std::span(sums).subspan(n), n);
  return Status::kOk;
}

}  // namespace stepback::kernels::cpu
