// Blocks of 4-bit codes behind an fp32 scale: two codes to a byte, the element of even index in the low half;
// the last high half of an odd block is 0 and ignored.
#pragma once

#include "kernels/codecs/block_scale.h"

namespace stepback::kernels {

// `Self` has Number(code), the value of a code under scale 1; Code(x, scale); kTop; kZero, the code of 0.
template <class Self, size_t elements>
struct NibbleBlock {
  static constexpr size_t kBlockElements = elements;
  static constexpr size_t kBlockBytes = 4 + elements / 2;
  static constexpr uint64_t TailBytes(uint64_t n) { return 4 + (n + 1) / 2; }

  PS_HD static float Load(const std::byte* block, size_t i) {
    const uint32_t code = uint32_t{LoadAs<uint8_t>(block + 4 + i / 2)} >> (i % 2 * 4) & 15u;
    return LoadAs<float>(block) * Self::Number(code);
  }
  // Pair by pair: as a loop over elements it does not vectorise.
  PS_HD static void LoadBlock(const std::byte* block, size_t n, float* out) {
    const float scale = LoadAs<float>(block);
    const size_t pairs = n / 2;
    for (size_t j = 0; j < pairs; ++j) {
      const uint32_t pair = LoadAs<uint8_t>(block + 4 + j);
      out[2 * j] = scale * Self::Number(pair & 15u);
      out[2 * j + 1] = scale * Self::Number(pair >> 4);
    }
    if (n % 2 != 0) out[n - 1] = Load(block, n - 1);
  }

  // Codes first, then pairs: together they do not vectorise for every code.
  PS_HD static void StoreBlock(const float* x, size_t n, std::byte* block) {
    const float scale = StoreScale<Self>(x, n, block);
    uint8_t codes[elements] = {};
    for (size_t i = 0; i < n; ++i) {
      codes[i] = static_cast<uint8_t>(scale == 0 ? Self::kZero : Self::Code(x[i], scale));
    }
    const size_t bytes = (n + 1) / 2;
    for (size_t j = 0; j < bytes; ++j) {
      StoreAs(block + 4 + j, static_cast<uint8_t>(codes[2 * j] | codes[2 * j + 1] << 4));
    }
  }
  // Every code is a number.
  PS_HD static bool BlockIsFinite(const std::byte* block, size_t /*n*/) { return ScaleIsSound<Self>(block); }
};

}  // namespace stepback::kernels
