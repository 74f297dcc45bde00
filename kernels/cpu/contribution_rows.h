// One block of one tensor as several contributions have it: a row of decoded values each, scaled by the
// contribution's weight. Owned by one task, which loads one block after another.
//
//   ContributionRows rows(loops, contributions.size());
//   if (!rows.ok()) ...                                     // no memory
//   const size_t n = rows.Load(contributions, tensor, begin, count);   // rows()[0 .. n)
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "kernels/backend.h"
#include "kernels/cpu/loops.h"

namespace stepback::kernels::cpu {

using Contributions = std::span<const Contribution* const>;

class ContributionRows {
 public:
  ContributionRows(const Loops& loops, size_t rows_max);
  bool ok() const { return memory_ != nullptr; }

  // Rows of the contributions that have the tensor, in order; `count` <= kBlockElements.
  size_t Load(Contributions from, size_t tensor, uint64_t begin, size_t count);
  // A row for every contribution, zeros where it does not have the tensor.
  void LoadAll(Contributions from, size_t tensor, uint64_t begin, size_t count);

  float* const* rows() const { return rows_.data(); }

 private:
  void Decode(const Contribution& from, size_t tensor, uint64_t begin, size_t count, float* row) const;

  const Loops& loops_;
  std::unique_ptr<float[]> memory_;
  std::vector<float*> rows_;
};

// A block as it was sent; `scratch` holds one of kBlockElements floats.
const std::byte* EncodedBlock(const Contribution& from, size_t tensor, uint64_t begin, size_t count,
                              std::byte* scratch);

}  // namespace stepback::kernels::cpu
