// Floats of a few bits, rounded to nearest with ties to even, without a branch: shared by the codecs of 16, 8
// and 4 bits. A magnitude is `exponent << mantissa_bits | mantissa`; exponent 0 holds the subnormals.
#pragma once

#include "kernels/codecs/codec.h"

namespace stepback::kernels {

// `min_exponent` is that of the smallest normal number, 2^min_exponent. Codes that a format keeps for
// infinity or NaN are its own business: here they continue the numbers.
template <int mantissa_bits, int min_exponent>
struct SmallFloat {
  static constexpr uint32_t kMinField = 127 + min_exponent;  // exponent field of 2^min_exponent in fp32
  static constexpr uint32_t kExponentOne = 1u << mantissa_bits;

  // Adding 2^(e + 23 - mantissa_bits) to a number of exponent e leaves its steps in the sum's lowest bits,
  // rounded by the addition itself. 0 <= x < 2^100; a carry out of the mantissa goes into the exponent.
  PS_HD static uint32_t Encode(float x) {
    const uint32_t field = BitsAs<uint32_t>(x) >> 23;
    const uint32_t exponent = field > kMinField ? field : kMinField;
    const uint32_t shift = (exponent + (23 - mantissa_bits)) << 23;
    const uint32_t steps = BitsAs<uint32_t>(x + BitsAs<float>(shift)) - shift;
    return ((exponent - kMinField) << mantissa_bits) + steps;
  }

  PS_HD static float Decode(uint32_t magnitude) {
    const uint32_t normal = (magnitude << (23 - mantissa_bits)) + ((kMinField - 1) << 23);
    const float step = BitsAs<float>((kMinField - mantissa_bits) << 23);
    const float subnormal = static_cast<float>(static_cast<int32_t>(magnitude)) * step;
    return magnitude < kExponentOne ? subnormal : BitsAs<float>(normal);
  }
};

}  // namespace stepback::kernels
