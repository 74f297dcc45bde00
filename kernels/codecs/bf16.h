// bfloat16: the upper half of a float, rounded to nearest, ties to even. NaN stays NaN (made quiet), infinity
// stays infinity, and finite values above the largest bfloat16 round to infinity as IEEE says.
#pragma once

#include "kernels/codecs/codec.h"

namespace stepback::kernels {

struct Bf16 {
  static constexpr std::string_view kName = "bf16";
  static constexpr std::string_view kErrorBound = "|x| x 2^-8 (round to nearest even), 2^-134 below 2^-126";
  static constexpr size_t kBlockElements = 1;
  static constexpr size_t kBlockBytes = 2;

  PS_HD static float Load(const std::byte* block, size_t i) {
    return BitsAs<float>(uint32_t{LoadAs<uint16_t>(block + 2 * i)} << 16);
  }
  PS_HD static void Store(std::byte* block, size_t i, float x) {
    const uint32_t bits = BitsAs<uint32_t>(x);
    const uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    const uint32_t quiet = (bits >> 16) | 0x40u;
    const bool nan = (bits & 0x7fffffffu) > 0x7f800000u;
    StoreAs(block + 2 * i, static_cast<uint16_t>(nan ? quiet : rounded));
  }
  PS_HD static bool IsFinite(const std::byte* block, size_t i) {
    return (LoadAs<uint16_t>(block + 2 * i) & 0x7f80u) != 0x7f80u;
  }
};

}  // namespace stepback::kernels
