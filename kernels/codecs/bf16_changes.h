// A lossless difference of two bf16 forms: which values are others now, and what they are. In blocks of 4,096
// elements of a tensor, the last one short:
//
//   u16 count, then where (nothing when count is 0 or all n), then `count` bf16 values
//
// "Where" is 12-bit indices, ascending, two in three bytes as those of top-k (topk.h), or one bit per
// element, bit i % 8 of byte i / 8, whichever has fewer bytes (indices when equal).
#pragma once

#include <bit>

#include "kernels/codecs/bf16.h"
#include "kernels/codecs/topk.h"

namespace stepback::kernels {

inline constexpr size_t kChangeBlock = 4096;
inline constexpr size_t kChangeHeader = 2;

inline size_t ChangeMapBytes(size_t n) { return (n + 7) / 8; }
inline bool ChangesAreIndexed(size_t n, size_t count) { return TopkIndexBytes(count) <= ChangeMapBytes(n); }
inline size_t ChangePlaceBytes(size_t n, size_t count) {
  if (count == 0 || count == n) return 0;
  return ChangesAreIndexed(n, count) ? TopkIndexBytes(count) : ChangeMapBytes(n);
}
// Of a block of n elements with `count` changes, header included.
inline size_t ChangeBytes(size_t n, size_t count) {
  return kChangeHeader + ChangePlaceBytes(n, count) + 2 * count;
}
// A bound for any number of changes, sound or not.
inline size_t ChangeBytesMax(size_t n) { return kChangeHeader + ChangeMapBytes(n) + 2 * n; }

inline size_t CountChanges(const std::byte* before, const std::byte* after, size_t n) {
  uint32_t count = 0;
  for (size_t i = 0; i < n; ++i) {
    count += LoadAs<uint16_t>(before + 2 * i) != LoadAs<uint16_t>(after + 2 * i) ? 1u : 0u;
  }
  return count;
}

// What turned `before` into `after`, bf16 forms of n <= kChangeBlock elements; returns the bytes written.
inline size_t StoreChanges(const std::byte* before, const std::byte* after, size_t n, std::byte* out) {
  uint32_t changed[kChangeBlock];
  size_t count = 0;
  for (size_t i = 0; i < n; ++i) {
    changed[count] = static_cast<uint32_t>(i);
    count += LoadAs<uint16_t>(before + 2 * i) != LoadAs<uint16_t>(after + 2 * i) ? 1 : 0;
  }
  StoreAs(out, static_cast<uint16_t>(count));
  std::byte* const places = out + kChangeHeader;
  std::byte* const values = places + ChangePlaceBytes(n, count);
  if (values != places && ChangesAreIndexed(n, count)) {
    StoreTopkIndices(changed, count, places);
  } else if (values != places) {
    __builtin_memset(places, 0, ChangeMapBytes(n));
    for (size_t j = 0; j < count; ++j) places[changed[j] / 8] |= std::byte{1} << changed[j] % 8;
  }
  for (size_t j = 0; j < count; ++j) {
    StoreAs(values + 2 * j, LoadAs<uint16_t>(after + 2 * size_t{changed[j]}));
  }
  return ChangeBytes(n, count);
}

// Whether a block that a peer sent has as many places as it says, each inside the block and once.
inline bool ChangesAreSound(const std::byte* block, size_t n) {
  const size_t count = LoadAs<uint16_t>(block);
  if (count > n || count == 0 || count == n) return count <= n;
  const std::byte* const places = block + kChangeHeader;
  if (ChangesAreIndexed(n, count)) return TopkIndicesAreSound(places, count, n);
  size_t set = 0;
  for (size_t i = 0; i < ChangeMapBytes(n); ++i) set += std::popcount(LoadAs<uint8_t>(places + i));
  return set == count && (n % 8 == 0 || LoadAs<uint8_t>(places + n / 8) >> n % 8 == 0);
}

// change(i, x) for every element that a sound block changes.
template <class Change>
void ForChanges(const std::byte* block, size_t n, Change change) {
  const size_t count = LoadAs<uint16_t>(block);
  const std::byte* const places = block + kChangeHeader;
  const std::byte* const values = places + ChangePlaceBytes(n, count);
  if (count == n || ChangesAreIndexed(n, count)) {
    for (size_t j = 0; j < count; ++j) change(count == n ? j : TopkIndex(places, j), Bf16::Load(values, j));
    return;
  }
  for (size_t i = 0, j = 0; i < n; ++i) {
    if ((LoadAs<uint8_t>(places + i / 8) >> i % 8 & 1) != 0) change(i, Bf16::Load(values, j++));
  }
}

}  // namespace stepback::kernels
