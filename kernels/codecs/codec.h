// The vocabulary of a codec, for every instruction set and for CUDA. A codec is a struct with
//   kName, kErrorBound, kBlockElements, kBlockBytes
//   Load(block, i)           element i of a block, decoded; Load(block, i, n) where it depends on the block's
//   size kForDifferences = true   where the form is of no use for weights: pulls and initial weights refuse
//   it
// An element-wise one (kBlockElements = 1) has
//   Store(block, i, x)
//   IsFinite(block, i)       whether it decodes to a finite number
// A block codec has
//   StoreBlock(x, n, block), TailBytes(n)    n < kBlockElements only at a tensor's end
//   IsFinite(block, i) or BlockIsFinite(block, n)
//   LoadBlock(block, n, out)                 optional: where element by element does not vectorise
// One that draws random numbers has Store(block, i, x, random), `random` in 0..65535, or StoreBlock(x, n,
// block, draw) (philox.h, kernels/draw.h) in their place.
// "Finite" is all that keeps a hostile payload out: it is false for NaN and infinity, for a scale that is
// negative or makes a product overflow, and for codes that no encoder writes. What passes it decodes to
// finite numbers, and nothing that does not pass is ever folded. The bytes are unaligned: access them through
// LoadAs and StoreAs, which compilers turn into plain unaligned loads. docs/howto/add_a_codec.md walks
// through one.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "kernels/rule.h"

static_assert(std::endian::native == std::endian::little, "every wire form is little-endian");

namespace stepback::kernels {

// The device's staging memory aligns every run, and a byte-wise read would cost it four loads.
template <class T>
PS_HD T LoadAs(const std::byte* p) {
#if defined(__CUDA_ARCH__) || defined(STEPBACK_EMULATED_CUDA)
  return *reinterpret_cast<const T*>(p);
#else
  T value;
  __builtin_memcpy(&value, p, sizeof value);
  return value;
#endif
}

template <class T>
PS_HD void StoreAs(std::byte* p, T value) {
  __builtin_memcpy(p, &value, sizeof value);
}

// The same bits as another type (std::bit_cast is not a device function).
template <class To, class From>
PS_HD To BitsAs(From from) {
  To to;
  static_assert(sizeof to == sizeof from);
  __builtin_memcpy(&to, &from, sizeof to);
  return to;
}

template <class Codec>
constexpr uint64_t EncodedBytes(uint64_t elements) {
  const uint64_t whole = elements / Codec::kBlockElements * Codec::kBlockBytes;
  const uint64_t rest = elements % Codec::kBlockElements;
  if constexpr (Codec::kBlockElements == 1) {
    return whole;
  } else {
    return whole + (rest > 0 ? Codec::TailBytes(rest) : 0);
  }
}

// An explicit list of codecs. The position in the list is the codec's id inside one program.
template <class... Codecs>
using CodecList = RuleList<Codecs...>;

}  // namespace stepback::kernels
