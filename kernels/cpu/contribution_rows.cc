#include "kernels/cpu/contribution_rows.h"

#include <algorithm>
#include <new>

namespace stepback::kernels::cpu {
namespace {

// Rows do not start a page apart: a column of many of them would fall into few lines of the cache.
constexpr size_t kRowFloats = kBlockElements + 64;

}  // namespace

ContributionRows::ContributionRows(const Loops& loops, size_t rows_max)
    : loops_(loops), memory_(new (std::nothrow) float[rows_max * kRowFloats]), rows_(rows_max) {
  for (size_t i = 0; i < rows_max && ok(); ++i) rows_[i] = memory_.get() + i * kRowFloats;
}

size_t ContributionRows::Load(Contributions from, size_t tensor, uint64_t begin, size_t count) {
  size_t loaded = 0;
  for (const Contribution* one : from) {
    if (one->tensor_offsets[tensor] >= 0) Decode(*one, tensor, begin, count, rows_[loaded++]);
  }
  return loaded;
}

void ContributionRows::LoadAll(Contributions from, size_t tensor, uint64_t begin, size_t count) {
  for (size_t i = 0; i < from.size(); ++i) {
    if (from[i]->tensor_offsets[tensor] >= 0) {
      Decode(*from[i], tensor, begin, count, rows_[i]);
    } else {
      std::fill_n(rows_[i], count, 0.0f);
    }
  }
}

void ContributionRows::Decode(const Contribution& from, size_t tensor, uint64_t begin, size_t count,
                              float* row) const {
  alignas(64) std::byte scratch[kBlockElements * sizeof(float)];
  loops_.codecs[from.codec].decode(EncodedBlock(from, tensor, begin, count, scratch), count, row);
  if (from.weight != 1) loops_.scale(row, count, from.weight, row);
}

const std::byte* EncodedBlock(const Contribution& from, size_t tensor, uint64_t begin, size_t count,
                              std::byte* scratch) {
  const CodecInfo& codec = Codecs()[from.codec];
  const uint64_t offset = from.tensor_offsets[tensor] + codec.encoded_bytes(begin);
  return from.bytes->Read(offset, codec.encoded_bytes(count), scratch);
}

}  // namespace stepback::kernels::cpu
