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

  PS_HD static void StoreBlock(const float* x, size_t n, std::byte* block) {
    const float scale = StoreScale<Self>(x, n, block);
    const size_t pairs = n / 2;
    for (size_t j = 0; j < pairs; ++j) {
      const uint32_t low = CodeOf(x[2 * j], scale), high = CodeOf(x[2 * j + 1], scale);
      StoreAs(block + 4 + j, static_cast<uint8_t>(low | high << 4));
    }
    if (n % 2 != 0) StoreAs(block + 4 + pairs, static_cast<uint8_t>(CodeOf(x[n - 1], scale)));
  }
  // Every code is a number.
  PS_HD static bool BlockIsFinite(const std::byte* block, size_t /*n*/) { return ScaleIsSound<Self>(block); }

 private:
  PS_HD static uint32_t CodeOf(float x, float scale) {
    return scale == 0 ? Self::kZero : Self::Code(x, scale);
  }
};

}  // namespace stepback::kernels
