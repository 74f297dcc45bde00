#include "kernels/cpu/contribution_rows.h"

#include <algorithm>
#include <new>

#include "kernels/plan.h"

namespace stepback::kernels::cpu {
namespace {

// Rows do not start a page apart: a column of many of them would fall into few lines of the cache.
constexpr size_t kRowFloats = kBlockElements + 64;

}  // namespace

ContributionRows::ContributionRows(const Loops& loops, size_t rows_max)
    : loops_(loops), memory_(new (std::nothrow) float[rows_max * kRowFloats]), rows_(rows_max) {
  for (size_t i = 0; i < rows_max && ok(); ++i) rows_[i] = memory_.get() + i * kRowFloats;
}

size_t ContributionRows::Load(Contributions from, const RowBlock& block) {
  size_t loaded = 0;
  for (const Contribution* one : from) {
    if (one->tensor_offsets[block.tensor] >= 0) Decode(*one, block, rows_[loaded++]);
  }
  return loaded;
}

void ContributionRows::LoadAll(Contributions from, const RowBlock& block) {
  for (size_t i = 0; i < from.size(); ++i) {
    if (from[i]->tensor_offsets[block.tensor] >= 0) {
      Decode(*from[i], block, rows_[i]);
    } else {
      std::fill_n(rows_[i], block.count, 0.0f);
    }
  }
}

void ContributionRows::Decode(const Contribution& from, const RowBlock& block, float* row) const {
  alignas(64) std::byte scratch[kBlockElements * sizeof(float)];
  loops_.codecs[from.codec].decode(EncodedBlock(from, block, scratch), row);
  if (from.weight != 1) loops_.scale(row, block.count, from.weight, row);
}

EncodedRun EncodedBlock(const Contribution& from, const RowBlock& block, std::byte* scratch) {
  const EncodedPart part = PartAround(Codecs()[from.codec], block.begin, block.count, block.total);
  const uint64_t offset = from.tensor_offsets[block.tensor] + part.offset;
  return {from.bytes->Read(offset, part.bytes, scratch), part.elements, part.skip, block.count};
}

}  // namespace stepback::kernels::cpu
