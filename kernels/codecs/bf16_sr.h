// bfloat16 with stochastic rounding (algorithms.md 10.2): a magnitude is rounded up with the probability
// (its low 16 bits) / 2^16, so the mean of many roundings is the number itself, where rounding to nearest
// loses what is below half a unit for good. Numbers of bfloat16 stay as they are; what would overflow becomes
// the largest finite one; NaN stays NaN (made quiet) and infinity infinity. Decodes as bf16.
#pragma once

#include "kernels/codecs/bf16.h"

namespace stepback::kernels {

struct Bf16Sr : Bf16 {
  static constexpr std::string_view kName = "bf16_sr";
  static constexpr std::string_view kErrorBound =
      "|x| x 2^-7 (stochastic rounding: the expected value is x), 2^-133 below 2^-126";

  // `random`: uniform in 0..65535.
  PS_HD static void Store(std::byte* block, size_t i, float x, uint32_t random) {
    const uint32_t bits = BitsAs<uint32_t>(x), magnitude = bits & 0x7fffffffu;
    const uint32_t rounded = (magnitude + random) >> 16;
    const uint32_t finite = rounded < 0x7f7fu ? rounded : 0x7f7fu;
    const uint32_t special = (magnitude >> 16) | (magnitude > 0x7f800000u ? 0x40u : 0u);
    const uint32_t code = magnitude >= 0x7f800000u ? special : finite;
    StoreAs(block + 2 * i, static_cast<uint16_t>((bits >> 16 & 0x8000u) | code));
  }
};

}  // namespace stepback::kernels
