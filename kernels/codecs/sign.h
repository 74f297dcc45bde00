// One bit: the sign of every element times the mean magnitude of its block of 256 (signSGD with a scale,
// arXiv:1901.09847). For differences only: a push of it wants error feedback, and weights cannot travel in
// it. Bit i % 8 of byte i / 8 is element i's, 1 for negative; bits behind the last element are 0 and ignored.
#pragma once

#include "kernels/codecs/block_scale.h"

namespace stepback::kernels {

struct Sign {
  static constexpr std::string_view kName = "sign";
  static constexpr std::string_view kErrorBound = "max|block| (the mean magnitude replaces every magnitude)";
  static constexpr bool kForDifferences = true;
  static constexpr size_t kBlockElements = 256;
  static constexpr size_t kBlockBytes = 4 + 256 / 8;
  static constexpr float kTop = 1.0f;
  static constexpr uint64_t TailBytes(uint64_t n) { return 4 + (n + 7) / 8; }

  PS_HD static float Load(const std::byte* block, size_t i) {
    const uint32_t bit = uint32_t{LoadAs<uint8_t>(block + 4 + i / 8)} >> (i % 8) & 1u;
    return BitsAs<float>(LoadAs<uint32_t>(block) | bit << 31);
  }
  PS_HD static void LoadBlock(const std::byte* block, size_t n, float* out) {
    const uint32_t scale = LoadAs<uint32_t>(block);
    const size_t bytes = n / 8;
    for (size_t j = 0; j < bytes; ++j) {
      const uint32_t bits = LoadAs<uint8_t>(block + 4 + j);
      for (size_t b = 0; b < 8; ++b) out[8 * j + b] = BitsAs<float>(scale | (bits >> b & 1u) << 31);
    }
    for (size_t i = 8 * bytes; i < n; ++i) out[i] = Load(block, i);
  }

  PS_HD static void StoreBlock(const float* x, size_t n, std::byte* block) {
    StoreAs(block, MeanMagnitude(x, n));
    for (size_t begin = 0; begin < n; begin += 8) {
      uint32_t bits = 0;
      for (size_t b = 0; b < 8 && begin + b < n; ++b) bits |= SignOf(x[begin + b]) << b;
      StoreAs(block + 4 + begin / 8, static_cast<uint8_t>(bits));
    }
  }
  PS_HD static bool BlockIsFinite(const std::byte* block, size_t /*n*/) { return ScaleIsSound<Sign>(block); }

 private:
  // In fp64, lane i mod 8 in index order, then the lanes in order: n times the same number gives that number.
  PS_HD static float MeanMagnitude(const float* x, size_t n) {
    const uint32_t largest = LargestBits(x, n);
    if (largest >= kInfinityBits) return BitsAs<float>(kQuietNan);
    double lanes[8] = {};
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
      for (size_t lane = 0; lane < 8; ++lane) lanes[lane] += double{Magnitude(x[i + lane])};
    }
    for (size_t lane = 0; i + lane < n; ++lane) lanes[lane] += double{Magnitude(x[i + lane])};
    double sum = 0;
    for (size_t lane = 0; lane < 8; ++lane) sum += lanes[lane];
    return static_cast<float>(sum / static_cast<double>(n));
  }
};

}  // namespace stepback::kernels
