// The two OCP 8-bit floats under a block scale: 256 elements behind one fp32 scale that maps the largest
// magnitude to the largest number of the format. Rounded to nearest, ties to even, saturating (algorithms.md
// 10.3).
#pragma once

#include "kernels/codecs/block_scale.h"
#include "kernels/codecs/small_float.h"

namespace stepback::kernels {

// `Self` has kTop, kFirstReserved (the first magnitude that is not a number) and Format.
template <class Self>
struct Fp8Block {
  static constexpr size_t kBlockElements = 256;
  static constexpr size_t kBlockBytes = 4 + 256;
  static constexpr uint64_t TailBytes(uint64_t n) { return 4 + n; }

  PS_HD static float Load(const std::byte* block, size_t i) {
    const uint32_t code = LoadAs<uint8_t>(block + 4 + i);
    const float magnitude = Self::Format::Decode(code & 0x7fu);
    return LoadAs<float>(block) * BitsAs<float>(BitsAs<uint32_t>(magnitude) | (code & 0x80u) << 24);
  }
  PS_HD static void StoreBlock(const float* x, size_t n, std::byte* block) {
    const float scale = StoreScale<Self>(x, n, block);
    for (size_t i = 0; i < n; ++i) {
      const float ratio = Magnitude(x[i]) / scale;
      const uint32_t code = Self::Format::Encode(ratio < Self::kTop ? ratio : Self::kTop);
      StoreAs(block + 4 + i, static_cast<uint8_t>(scale == 0 ? 0 : code | SignOf(x[i]) << 7));
    }
  }
  PS_HD static bool IsFinite(const std::byte* block, size_t i) {
    const bool number = (LoadAs<uint8_t>(block + 4 + i) & 0x7fu) < Self::kFirstReserved;
    return ScaleIsSound<Self>(block) & number;
  }
};

}  // namespace stepback::kernels
