// NormalFloat4 (QLoRA, arXiv:2305.14314; the table of bitsandbytes): 16 quantiles of a normal distribution
// times the largest magnitude of 64 elements; nearest in value, ties to the lower. The table is not
// symmetric, so this is the one codec for which Q(-x) may differ from -Q(x).
#pragma once

#include <utility>

#include "kernels/codecs/nibbles.h"

namespace stepback::kernels {

struct Nf4 : NibbleBlock<Nf4, 64> {
  static constexpr std::string_view kName = "nf4";
  static constexpr std::string_view kErrorBound =
      "max|block| x 0.152 (half the widest gap of the table); blocks below 2^-100 are zero";
  static constexpr float kTop = 1.0f;
  static constexpr uint32_t kZero = 7;

  PS_HD static constexpr float Number(uint32_t code) {
    constexpr float kTable[16] = {
        -1.0f,      -0.6961928f, -0.52507305f, -0.39491749f, -0.28444138f, -0.18477343f, -0.091050036f, 0.0f,
        0.0795803f, 0.1609302f,  0.2461123f,   0.33791524f,  0.44070983f,  0.562617f,    0.72295684f,   1.0f};
    return kTable[code];
  }
  PS_HD static uint32_t Code(float x, float scale) {
    return CountMidpoints(x / scale, std::make_integer_sequence<uint32_t, 15>());
  }

 private:
  // Those below the ratio are as many as the code says. Written out, because as a loop it does not vectorise.
  template <uint32_t... i>
  PS_HD static uint32_t CountMidpoints(float ratio, std::integer_sequence<uint32_t, i...>) {
    return (IsAboveMidpoint<i>(ratio) + ...);
  }
  template <uint32_t i>
  PS_HD static uint32_t IsAboveMidpoint(float ratio) {
    constexpr float kMidpoint = 0.5f * (Number(i) + Number(i + 1));
    return ratio > kMidpoint ? 1u : 0u;
  }
};

}  // namespace stepback::kernels
