// The largest 64 of 4,096 elements in two bits each, as SparseLoCo sends them (algorithms.md 5.3): four bins
// over a range of 6 sigma and the mean of every bin. Here sigma is the root mean square of the kept elements
// and a bin shares its mean with its mirror image, so that Q(-x) = -Q(x) and encoding is a projection:
//
//   |x| < 1.5 sigma   +- low, the mean magnitude of these      |x| >= 1.5 sigma   +- high
//
// A chunk is low and high (fp32), the codes (bit 0: high, bit 1: negative; four to a byte, the first in the
// lowest bits), the indices (topk.h).
#pragma once

#include "kernels/codecs/topk.h"

namespace stepback::kernels {

struct Topk2bit {
  static constexpr std::string_view kName = "topk_2bit";
  static constexpr std::string_view kErrorBound =
      "max|block| for the largest 64 of 4096, |x| for the others (they become 0)";
  static constexpr bool kForDifferences = true;
  static constexpr size_t kBlockElements = kTopkChunk;
  static constexpr size_t kBlockBytes = 8 + 64 / 4 + TopkIndexBytes(64);
  PS_HD static constexpr size_t CodeBytes(size_t kept) { return (kept + 3) / 4; }
  static constexpr uint64_t TailBytes(uint64_t n) {
    return 8 + CodeBytes(TopkKept(n)) + TopkIndexBytes(TopkKept(n));
  }

  PS_HD static float Load(const std::byte* block, size_t i, size_t n) {
    const size_t kept = TopkKept(n), place = TopkFind(Indices(block, kept), kept, i);
    return place < kept ? Value(block, place) : 0.0f;
  }
  PS_HD static void LoadBlock(const std::byte* block, size_t n, float* out) {
    const size_t kept = TopkKept(n);
    for (size_t i = 0; i < n; ++i) out[i] = 0.0f;
    for (size_t j = 0; j < kept; ++j) {
      const uint32_t index = TopkIndex(Indices(block, kept), j);
      if (index < n) out[index] = Value(block, j);
    }
  }
  PS_HD static void StoreBlock(const float* x, size_t n, std::byte* block) {
    uint32_t chosen[64];
    const size_t kept = TopkKept(n);
    ChooseTopk(x, n, kept, chosen);
    const double threshold = Threshold(x, chosen, kept);
    StoreLevels(x, chosen, kept, threshold, block);
    for (size_t begin = 0; begin < kept; begin += 4) {
      uint32_t codes = 0;
      for (size_t j = begin; j < kept && j < begin + 4; ++j) {
        const float value = x[chosen[j]];
        const uint32_t high = Square(value) >= threshold ? 1u : 0u;
        codes |= (high | SignOf(value) << 1) << 2 * (j - begin);
      }
      StoreAs(block + 8 + begin / 4, static_cast<uint8_t>(codes));
    }
    StoreTopkIndices(chosen, kept, block + 8 + CodeBytes(kept));
  }
  PS_HD static bool BlockIsFinite(const std::byte* block, size_t n) {
    const size_t kept = TopkKept(n);
    const bool levels =
        (LoadAs<uint32_t>(block) < kInfinityBits) & (LoadAs<uint32_t>(block + 4) < kInfinityBits);
    return levels & TopkIndicesAreSound(Indices(block, kept), kept, n);
  }

 private:
  PS_HD static const std::byte* Indices(const std::byte* block, size_t kept) {
    return block + 8 + CodeBytes(kept);
  }
  PS_HD static float Value(const std::byte* block, size_t j) {
    const uint32_t code = uint32_t{LoadAs<uint8_t>(block + 8 + j / 4)} >> (j % 4 * 2) & 3u;
    return BitsAs<float>(LoadAs<uint32_t>(block + 4 * (code & 1u)) | (code & 2u) << 30);
  }

  // Of floats it is exact in fp64.
  PS_HD static double Square(float x) { return double{x} * double{x}; }
  // (1.5 sigma)^2.
  PS_HD static double Threshold(const float* x, const uint32_t* chosen, size_t kept) {
    double sum = 0;
    for (size_t j = 0; j < kept; ++j) sum += Square(x[chosen[j]]);
    return 2.25 * sum / static_cast<double>(kept);
  }
  // Low and high, 0 where there is none. NaN for a chunk that holds a NaN or an infinity.
  PS_HD static void StoreLevels(const float* x, const uint32_t* chosen, size_t kept, double threshold,
                                std::byte* block) {
    double low = 0, high = 0;
    size_t highs = 0;
    uint32_t largest = 0;
    for (size_t j = 0; j < kept; ++j) {
      const float value = x[chosen[j]];
      const bool is_high = Square(value) >= threshold;
      highs += is_high ? 1 : 0;
      low += is_high ? 0.0 : double{Magnitude(value)};
      high += is_high ? double{Magnitude(value)} : 0.0;
      largest = largest > MagnitudeBits(value) ? largest : MagnitudeBits(value);
    }
    const bool finite = largest < kInfinityBits;
    StoreAs(block, finite ? Mean(low, kept - highs) : BitsAs<float>(kQuietNan));
    StoreAs(block + 4, finite ? Mean(high, highs) : BitsAs<float>(kQuietNan));
  }
  PS_HD static float Mean(double sum, size_t count) {
    return count == 0 ? 0.0f : static_cast<float>(sum / static_cast<double>(count));
  }
};

}  // namespace stepback::kernels
