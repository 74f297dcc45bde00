// The largest 64 of 4,096 elements as bfloat16 (topk.h): first the values, then the indices.
#pragma once

#include "kernels/codecs/bf16.h"
#include "kernels/codecs/topk.h"

namespace stepback::kernels {

struct TopkBf16 {
  static constexpr std::string_view kName = "topk_bf16";
  static constexpr std::string_view kErrorBound =
      "|x| x 2^-8 for the largest 64 of 4096, |x| for the others (they become 0)";
  static constexpr bool kForDifferences = true;
  static constexpr size_t kBlockElements = kTopkChunk;
  static constexpr size_t kBlockBytes = 64 * 2 + TopkIndexBytes(64);
  static constexpr uint64_t TailBytes(uint64_t n) { return 2 * TopkKept(n) + TopkIndexBytes(TopkKept(n)); }

  PS_HD static float Load(const std::byte* block, size_t i, size_t n) {
    const size_t kept = TopkKept(n), place = TopkFind(block + 2 * kept, kept, i);
    return place < kept ? Bf16::Load(block, place) : 0.0f;
  }
  PS_HD static void LoadBlock(const std::byte* block, size_t n, float* out) {
    const size_t kept = TopkKept(n);
    for (size_t i = 0; i < n; ++i) out[i] = 0.0f;
    for (size_t j = 0; j < kept; ++j) {
      const uint32_t index = TopkIndex(block + 2 * kept, j);
      if (index < n) out[index] = Bf16::Load(block, j);
    }
  }
  PS_HD static void StoreBlock(const float* x, size_t n, std::byte* block) {
    uint32_t chosen[64];
    const size_t kept = TopkKept(n);
    ChooseTopk(x, n, kept, chosen);
    for (size_t j = 0; j < kept; ++j) Bf16::Store(block, j, x[chosen[j]]);
    StoreTopkIndices(chosen, kept, block + 2 * kept);
  }
  PS_HD static bool BlockIsFinite(const std::byte* block, size_t n) {
    const size_t kept = TopkKept(n);
    bool finite = TopkIndicesAreSound(block + 2 * kept, kept, n);
    for (size_t j = 0; j < kept; ++j) finite &= Bf16::IsFinite(block, j);
    return finite;
  }
};

}  // namespace stepback::kernels
