// Sign and three exponent bits: e = 0 is zero, e >= 1 is 2^(e - 7) times the largest magnitude of 32 elements
// (Streaming DiLoCo, arXiv:2501.18512, names the format; the table is algorithms.md 10.4's). Nearest in
// value, ties to the larger: the boundaries are 1.5 x 2^j and, below the smallest number, 2^-7.
#pragma once

#include "kernels/codecs/nibbles.h"

namespace stepback::kernels {

struct E3m0 : NibbleBlock<E3m0, 32> {
  static constexpr std::string_view kName = "e3m0";
  static constexpr std::string_view kErrorBound =
      "max(|x| / 3, max|block| x 2^-7) (ties to the larger); blocks below 2^-100 are zero";
  static constexpr float kTop = 1.0f;
  static constexpr uint32_t kZero = 0;

  PS_HD static float Number(uint32_t code) {
    const uint32_t e = code & 7u;
    return BitsAs<float>((e == 0 ? 0u : (e + 120u) << 23) | (code & 8u) << 28);
  }
  // Adding half a mantissa rounds to a power of two at 1.5 of the one below.
  PS_HD static uint32_t Code(float x, float scale) {
    const uint32_t bits = BitsAs<uint32_t>(Magnitude(x) / scale);
    const uint32_t field = (bits + 0x400000u) >> 23;
    const uint32_t e = (field > 121u ? field : 121u) - 120u;
    return (bits < (120u << 23) ? 0u : e) | SignOf(x) << 3;
  }
};

}  // namespace stepback::kernels
