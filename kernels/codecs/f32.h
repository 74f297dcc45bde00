// The identity codec: IEEE single precision, little-endian.
#pragma once

#include "kernels/codecs/codec.h"

namespace stepback::kernels {

struct F32 {
  static constexpr std::string_view kName = "f32";
  static constexpr std::string_view kErrorBound = "exact";
  static constexpr size_t kBlockElements = 1;
  static constexpr size_t kBlockBytes = 4;

  PS_HD static float Load(const std::byte* block, size_t i) { return LoadAs<float>(block + 4 * i); }
  PS_HD static void Store(std::byte* block, size_t i, float x) { StoreAs(block + 4 * i, x); }
  PS_HD static bool IsFinite(const std::byte* block, size_t i) {
    return (LoadAs<uint32_t>(block + 4 * i) & 0x7f800000u) != 0x7f800000u;
  }
};

}  // namespace stepback::kernels
