// Partial fp64 sums of the arena's norm blocks, and their totals per tensor and over all: always added in
// block order, the one order there is (decision 21).
#pragma once

#include <memory>
#include <new>
#include <numeric>
#include <vector>

#include "kernels/backend.h"
#include "kernels/cpu/loops.h"

namespace stepback::kernels::cpu {

class TensorSums {
 public:
  // `sums` doubles per block, all zero; false: no memory. Of a reserved object only.
  bool Reserve(std::span<const TensorStep> tensors, size_t sums) {
    width_ = sums;
    starts_ = {0};
    for (const TensorStep& step : tensors) {
      starts_.push_back(starts_.back() + (step.count + kNormBlock - 1) / kNormBlock);
    }
    sums_.reset(new (std::nothrow) double[width_ * starts_.back()]());
    return sums_ != nullptr;
  }
  bool reserved() const { return sums_ != nullptr; }

  // The sums of one block: `sums` doubles.
  double* At(size_t tensor, uint64_t begin) const {
    return &sums_[width_ * (starts_[tensor] + begin / kNormBlock)];
  }
  double OfTensor(size_t tensor, size_t sum) const { return Add(starts_[tensor], starts_[tensor + 1], sum); }
  double OfAll(size_t sum) const { return Add(0, starts_.back(), sum); }

 private:
  double Add(size_t begin, size_t end, size_t sum) const {
    double total = 0;
    for (size_t block = begin; block < end; ++block) total += sums_[width_ * block + sum];
    return total;
  }

  std::unique_ptr<double[]> sums_;
  std::vector<size_t> starts_;  // first block of every tensor, and the end
  size_t width_ = 0;
};

}  // namespace stepback::kernels::cpu
