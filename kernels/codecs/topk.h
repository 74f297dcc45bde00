// The largest elements of a chunk of 4,096: one in 64, so the size is a function of the element count alone
// (SparseLoCo's 64 of 64 x 64). Their indices are 12 bits, two in three bytes, ascending: index 2j takes the
// first byte and the low half of the second, 2j + 1 the high half and the third; after an odd count the last
// half byte is 0. Ties go to the lower index (algorithms.md 10.5). For differences only: everything else
// decodes to zero, and error feedback brings it back.
#pragma once

#include "kernels/codecs/block_scale.h"

namespace stepback::kernels {

inline constexpr size_t kTopkChunk = 4096;
inline constexpr size_t kTopkOneIn = 64;

// How many elements a chunk of n keeps, and the bytes of their indices.
PS_HD constexpr size_t TopkKept(size_t n) { return (n + kTopkOneIn - 1) / kTopkOneIn; }
PS_HD constexpr size_t TopkIndexBytes(size_t kept) { return (3 * kept + 1) / 2; }

PS_HD uint32_t TopkIndex(const std::byte* indices, size_t j) {
  const std::byte* const at = indices + 3 * j / 2;
  const uint32_t pair = LoadAs<uint8_t>(at) | uint32_t{LoadAs<uint8_t>(at + 1)} << 8;
  return j % 2 == 0 ? pair & 0xfffu : pair >> 4;
}

PS_HD void StoreTopkIndices(const uint32_t* chosen, size_t kept, std::byte* indices) {
  for (size_t j = 0; j < kept; j += 2) {
    const bool two = j + 1 < kept;
    const uint32_t both = chosen[j] | (two ? chosen[j + 1] : 0u) << 12;
    std::byte* const at = indices + 3 * j / 2;
    StoreAs(at, static_cast<uint8_t>(both));
    StoreAs(at + 1, static_cast<uint8_t>(both >> 8));
    if (two) StoreAs(at + 2, static_cast<uint8_t>(both >> 16));
  }
}

// Strictly ascending and inside the chunk: each element at most once, and the same number for every decoder.
PS_HD bool TopkIndicesAreSound(const std::byte* indices, size_t kept, size_t n) {
  bool sound = true;
  uint32_t next = 0;
  for (size_t j = 0; j < kept; ++j) {
    const uint32_t index = TopkIndex(indices, j);
    sound = sound & (index >= next) & (index < n);
    next = index + 1;
  }
  return sound;
}

// The place of element i among the kept ones; `kept` when it is none of them.
PS_HD size_t TopkFind(const std::byte* indices, size_t kept, size_t i) {
  size_t low = 0, high = kept;
  while (low < high) {
    const size_t middle = (low + high) / 2;
    if (TopkIndex(indices, middle) < i) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low < kept && TopkIndex(indices, low) == i ? low : kept;
}

PS_HD size_t CountAtLeast(const float* x, size_t n, uint32_t bits) {
  uint32_t count = 0;
  for (size_t i = 0; i < n; ++i) count += MagnitudeBits(x[i]) >= bits ? 1u : 0u;
  return count;
}

// The `kept` largest magnitudes in ascending order of index. Bit by bit towards the magnitude of the last
// one: 31 passes over the chunk that vectorise beat a sort that does not. NaN is the largest of all.
PS_HD void ChooseTopk(const float* x, size_t n, size_t kept, uint32_t* chosen) {
  uint32_t threshold = 0;
  for (uint32_t bit = 1u << 30; bit != 0; bit >>= 1) {
    if (CountAtLeast(x, n, threshold | bit) >= kept) threshold |= bit;
  }
  size_t ties = kept - CountAtLeast(x, n, threshold + 1), count = 0;
  for (size_t i = 0; i < n && count < kept; ++i) {
    const uint32_t bits = MagnitudeBits(x[i]);
    const bool tie = bits == threshold && ties > 0;
    if (tie) --ties;
    if (tie || bits > threshold) chosen[count++] = static_cast<uint32_t>(i);
  }
}

}  // namespace stepback::kernels
