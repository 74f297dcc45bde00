// One block of one tensor as several contributions have it: a row of decoded values each, scaled by the
// contribution's weight. Owned by one task, which loads one block after another.
//
//   ContributionRows rows(loops, contributions.size());
//   if (!rows.ok()) ...                                     // no memory
//   const size_t n = rows.Load(contributions, block);   // rows()[0 .. n)
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "kernels/backend.h"
#include "kernels/cpu/loops.h"

namespace stepback::kernels::cpu {

// A run of elements of one tensor, at most kBlockElements, from a multiple of them.
struct RowBlock {
  size_t tensor = 0;
  uint64_t begin = 0;
  size_t count = 0;
  uint64_t total = 0;  // elements of the tensor
};

using Contributions = std::span<const Contribution* const>;

class ContributionRows {
 public:
  ContributionRows(const Loops& loops, size_t rows_max);
  bool ok() const { return memory_ != nullptr; }

  // Rows of the contributions that have the tensor, in order.
  size_t Load(Contributions from, const RowBlock& block);
  // A row for every contribution, zeros where it does not have the tensor.
  void LoadAll(Contributions from, const RowBlock& block);

  float* const* rows() const { return rows_.data(); }

 private:
  void Decode(const Contribution& from, const RowBlock& block, float* row) const;

  const Loops& loops_;
  std::unique_ptr<float[]> memory_;
  std::vector<float*> rows_;
};

// A block as it was sent, or the larger codec block that it lies in; `scratch` holds kBlockElements floats.
EncodedRun EncodedBlock(const Contribution& from, const RowBlock& block, std::byte* scratch);

}  // namespace stepback::kernels::cpu
