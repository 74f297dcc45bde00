// The OCP 4-bit float: magnitudes 0, .5, 1, 1.5, 2, 3, 4, 6 under a block scale that maps the largest
// magnitude to 6; 32 elements; rounded to nearest, ties to the even code (algorithms.md 10.4).
#pragma once

#include "kernels/codecs/nibbles.h"
#include "kernels/codecs/small_float.h"

namespace stepback::kernels {

struct E2m1 : NibbleBlock<E2m1, 32> {
  static constexpr std::string_view kName = "e2m1";
  static constexpr std::string_view kErrorBound =
      "max(|x| / 4, max|block| / 23.9) (round to nearest even); blocks below 2^-100 are zero";
  static constexpr float kTop = 6.0f;
  static constexpr uint32_t kZero = 0;
  using Format = SmallFloat<1, 0>;

  PS_HD static float Number(uint32_t code) {
    return BitsAs<float>(BitsAs<uint32_t>(Format::Decode(code & 7u)) | (code & 8u) << 28);
  }
  PS_HD static uint32_t Code(float x, float scale) {
    const float ratio = Magnitude(x) / scale;
    return Format::Encode(ratio < kTop ? ratio : kTop) | SignOf(x) << 3;
  }
};

}  // namespace stepback::kernels
