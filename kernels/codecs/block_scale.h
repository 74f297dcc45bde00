// What block codecs share: the largest magnitude of a block and the fp32 scale that stands before its codes.
//
// A scale is max|x| / top, where `top` is the largest number of the codes, rounded UP to 16 significant bits:
// then every product of a code and its scale is exact in fp32, the largest element gets the largest code, and
// encoding what was decoded gives the same bytes. Three cases apart:
//   a NaN or an infinity in the block    the scale is NaN and every code 0: the whole block is not finite
//   max|x| < 2^-100                      a block of zeros, scale 1 (so no product is ever subnormal)
//   top x scale would overflow           the largest scale for which it does not
#pragma once

#include "kernels/codecs/codec.h"

namespace stepback::kernels {

inline constexpr uint32_t kInfinityBits = 0x7f800000u;
inline constexpr uint32_t kQuietNan = 0x7fc00000u;
inline constexpr uint32_t kSmallestBlockBits = (127u - 100u) << 23;  // 2^-100
inline constexpr float kLargestFloat = 3.4028234663852886e38f;

PS_HD uint32_t MagnitudeBits(float x) { return BitsAs<uint32_t>(x) & 0x7fffffffu; }
PS_HD float Magnitude(float x) { return BitsAs<float>(MagnitudeBits(x)); }
PS_HD uint32_t SignOf(float x) { return BitsAs<uint32_t>(x) >> 31; }

// Bits of the largest |x|; infinity and NaN are the largest of all.
PS_HD uint32_t LargestBits(const float* x, size_t n) {
  uint32_t largest = 0;
  for (size_t i = 0; i < n; ++i) {
    const uint32_t bits = MagnitudeBits(x[i]);
    largest = largest > bits ? largest : bits;
  }
  return largest;
}

// Codes of top 1 are fractions of the largest magnitude itself, which is then the scale as it is.
template <class Codec>
inline constexpr uint32_t kScaleSlack = Codec::kTop == 1.0f ? 0u : 0xffu;

// Bits of the largest scale whose product with the largest code is finite.
template <class Codec>
PS_HD uint32_t LargestScaleBits() {
  constexpr float kQuotient = kLargestFloat / Codec::kTop;
  return BitsAs<uint32_t>(kQuotient) & ~kScaleSlack<Codec>;
}

// Writes the scale of a block and returns it; 0: there is none, every code is that of zero.
template <class Codec>
PS_HD float StoreScale(const float* x, size_t n, std::byte* block) {
  const uint32_t largest = LargestBits(x, n);
  if (largest >= kInfinityBits || largest < kSmallestBlockBits) {
    StoreAs(block, largest >= kInfinityBits ? BitsAs<float>(kQuietNan) : 1.0f);
    return 0;
  }
  const uint32_t quotient = BitsAs<uint32_t>(BitsAs<float>(largest) / Codec::kTop);
  const uint32_t up = (quotient + kScaleSlack<Codec>)&~kScaleSlack<Codec>;
  const uint32_t most = LargestScaleBits<Codec>();
  const float scale = BitsAs<float>(up < most ? up : most);
  StoreAs(block, scale);
  return scale;
}

// A scale that a peer sent: a number, not negative, and no code overflows with it.
template <class Codec>
PS_HD bool ScaleIsSound(const std::byte* block) {
  return LoadAs<uint32_t>(block) <= LargestScaleBits<Codec>();
}

}  // namespace stepback::kernels
