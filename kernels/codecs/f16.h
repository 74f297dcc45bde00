// IEEE half precision, rounded to nearest, ties to even. NaN stays NaN (made quiet), infinity stays infinity,
// and finite values from 65520 on round to infinity as IEEE says (bf16 does the same).
#pragma once

#include "kernels/codecs/small_float.h"

namespace stepback::kernels {

struct F16 {
  static constexpr std::string_view kName = "f16";
  static constexpr std::string_view kErrorBound =
      "|x| x 2^-11 (round to nearest even), 2^-25 below 2^-14; infinite from 65520 on";
  static constexpr size_t kBlockElements = 1;
  static constexpr size_t kBlockBytes = 2;
  using Format = SmallFloat<10, -14>;

  PS_HD static float Load(const std::byte* block, size_t i) {
    const uint32_t half = LoadAs<uint16_t>(block + 2 * i), magnitude = half & 0x7fffu;
    const uint32_t number = BitsAs<uint32_t>(Format::Decode(magnitude));
    const uint32_t special = 0x7f800000u | magnitude << 13;  // the exponent field of 31 ends up in 255's bits
    return BitsAs<float>((magnitude < 0x7c00u ? number : special) | (half & 0x8000u) << 16);
  }
  PS_HD static void Store(std::byte* block, size_t i, float x) {
    const uint32_t bits = BitsAs<uint32_t>(x), magnitude = bits & 0x7fffffffu;
    const uint32_t capped =
        magnitude < 0x47800000u ? magnitude : 0x47800000u;  // 65536, which is infinity's code
    const uint32_t number = Format::Encode(BitsAs<float>(capped));
    const uint32_t quiet = 0x7e00u | ((magnitude >> 13) & 0x3ffu);
    const uint32_t half = magnitude > 0x7f800000u ? quiet : number;
    StoreAs(block + 2 * i, static_cast<uint16_t>(half | (bits >> 16 & 0x8000u)));
  }
  PS_HD static bool IsFinite(const std::byte* block, size_t i) {
    return (LoadAs<uint16_t>(block + 2 * i) & 0x7c00u) != 0x7c00u;
  }
};

}  // namespace stepback::kernels
