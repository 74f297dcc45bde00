// Signed bytes under a block scale: 256 elements behind one fp32 scale s, x^ = q s with q in -127..127, ties
// to even (algorithms.md 10.3). The byte -128 is reserved.
#pragma once

#include "kernels/codecs/block_scale.h"

namespace stepback::kernels {

struct Int8 {
  static constexpr std::string_view kName = "int8";
  static constexpr std::string_view kErrorBound =
      "max|block| / 253.9 (round to nearest even); blocks below 2^-100 are zero";
  static constexpr size_t kBlockElements = 256;
  static constexpr size_t kBlockBytes = 4 + 256;
  static constexpr float kTop = 127.0f;
  static constexpr uint64_t TailBytes(uint64_t n) { return 4 + n; }

  PS_HD static float Load(const std::byte* block, size_t i) {
    return LoadAs<float>(block) * static_cast<float>(LoadAs<int8_t>(block + 4 + i));
  }
  PS_HD static void StoreBlock(const float* x, size_t n, std::byte* block) {
    const float scale = StoreScale<Int8>(x, n, block);
    for (size_t i = 0; i < n; ++i) {
      const float ratio = x[i] / scale;
      const float capped = ratio < kTop ? ratio : kTop;
      const float code = capped > -kTop ? capped : -kTop;
      // 1.5 x 2^23 leaves the integer in the lowest bits, rounded by the addition.
      const uint32_t bits = BitsAs<uint32_t>(code + 12582912.0f);
      StoreAs(block + 4 + i, static_cast<uint8_t>(scale == 0 ? 0 : bits));
    }
  }
  PS_HD static bool IsFinite(const std::byte* block, size_t i) {
    return ScaleIsSound<Int8>(block) & (LoadAs<uint8_t>(block + 4 + i) != 0x80u);
  }
};

}  // namespace stepback::kernels
