// Random-k (Stich, Cordonnier and Jaggi, arXiv:1809.07599): one element of every 64, chosen at random, as
// bfloat16; everything else decodes to zero and error feedback brings it back. Where the elements lie follows
// from the seed that stands before the values, so no index travels: of each 64 elements of a block of 4,096
// one is chosen, all with the same probability, independently of the others. 64 times what arrives is
// unbiased (a last part of m < 64 elements: m times). For differences only.
//
// A block with a NaN or an infinity anywhere starts with a NaN value: the receiver must not depend on the
// draw to see it. Finite values that bfloat16 would round to infinity become its largest number.
#pragma once

#include "kernels/codecs/bf16.h"
#include "kernels/codecs/block_scale.h"
#include "kernels/codecs/philox.h"

namespace stepback::kernels {

struct RandomK {
  static constexpr std::string_view kName = "random_k";
  static constexpr std::string_view kErrorBound =
      "|x| x 2^-8 for one of every 64, chosen at random, |x| for the others (they become 0)";
  static constexpr bool kForDifferences = true;
  static constexpr size_t kPart = 64;
  static constexpr size_t kBlockElements = 4096;
  static constexpr size_t kBlockBytes = 4 + 2 * kBlockElements / kPart;
  static constexpr uint64_t TailBytes(uint64_t n) { return 4 + 2 * Parts(n); }
  PS_HD static constexpr size_t Parts(size_t n) { return (n + kPart - 1) / kPart; }

  PS_HD static float Load(const std::byte* block, size_t i, size_t n) {
    const size_t part = i / kPart;
    const size_t chosen = Chosen(LoadAs<uint32_t>(block), part, n);
    return i == chosen ? Bf16::Load(block + 4, part) : 0.0f;
  }
  PS_HD static void LoadBlock(const std::byte* block, size_t n, float* out) {
    const uint32_t seed = LoadAs<uint32_t>(block);
    for (size_t i = 0; i < n; ++i) out[i] = 0.0f;
    for (size_t part = 0; part < Parts(n); ++part) out[Chosen(seed, part, n)] = Bf16::Load(block + 4, part);
  }
  PS_HD static void StoreBlock(const float* x, size_t n, std::byte* block, const Draw& draw) {
    uint32_t words[4];
    DrawWords(draw, kSeed, draw.first / kBlockElements, words);
    StoreAs(block, words[0]);
    for (size_t part = 0; part < Parts(n); ++part) StoreValue(block + 4, part, x[Chosen(words[0], part, n)]);
    if (LargestBits(x, n) >= kInfinityBits) StoreAs(block + 4, static_cast<uint16_t>(kQuietNan >> 16));
  }
  PS_HD static bool BlockIsFinite(const std::byte* block, size_t n) {
    bool finite = true;
    for (size_t part = 0; part < Parts(n); ++part) finite &= Bf16::IsFinite(block + 4, part);
    return finite;
  }

 private:
  PS_HD static size_t Chosen(uint32_t seed, size_t part, size_t n) {
    const size_t begin = part * kPart, size = n - begin < kPart ? n - begin : kPart;
    uint32_t words[4] = {static_cast<uint32_t>(part), 0, 0, kChoice};
    Philox(seed, 0, words);
    return begin + static_cast<size_t>(uint64_t{words[0]} * size >> 32);
  }
  PS_HD static void StoreValue(std::byte* values, size_t part, float x) {
    Bf16::Store(values, part, x);
    const uint32_t code = LoadAs<uint16_t>(values + 2 * part);
    const bool overflows = (code & 0x7fffu) == 0x7f80u && MagnitudeBits(x) < kInfinityBits;
    if (overflows) StoreAs(values + 2 * part, static_cast<uint16_t>(code - 1));
  }
};

}  // namespace stepback::kernels
