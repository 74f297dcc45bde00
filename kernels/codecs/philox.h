// Philox4x32-10 (Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011): 128
// random bits from a 64-bit key and a 128-bit counter. What codecs draw with it, by the counter's last word:
//   kRounding    {group, tensor}: eight 16-bit numbers, for elements 8 group to 8 group + 7 of the tensor
//   kSeed        {block, tensor}: word 0 is the seed of that block of the tensor
//   kChoice      {part} under the key {seed, 0}: word 0 chooses from that part of the block
// A group or block number is the counter's first two words, low half first.
#pragma once

#include "kernels/codecs/codec.h"
#include "kernels/draw.h"

namespace stepback::kernels {

enum DrawPurpose : uint32_t { kRounding = 0, kSeed = 1, kChoice = 2 };

PS_HD void Philox(uint32_t key_low, uint32_t key_high, uint32_t (&words)[4]) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t a = uint64_t{words[0]} * 0xd2511f53u, b = uint64_t{words[2]} * 0xcd9e8d57u;
    const uint32_t first = static_cast<uint32_t>(b >> 32) ^ words[1] ^ key_low;
    const uint32_t third = static_cast<uint32_t>(a >> 32) ^ words[3] ^ key_high;
    words[0] = first;
    words[1] = static_cast<uint32_t>(b);
    words[2] = third;
    words[3] = static_cast<uint32_t>(a);
    key_low += 0x9e3779b9u;
    key_high += 0xbb67ae85u;
  }
}

// The numbers that `draw` has for one group or block.
PS_HD void DrawWords(const Draw& draw, DrawPurpose purpose, uint64_t number, uint32_t (&words)[4]) {
  words[0] = static_cast<uint32_t>(number);
  words[1] = static_cast<uint32_t>(number >> 32);
  words[2] = draw.tensor;
  words[3] = purpose;
  Philox(static_cast<uint32_t>(draw.key), static_cast<uint32_t>(draw.key >> 32), words);
}

// Eight rounding numbers a group, from the group that holds element `at` of the tensor on.
PS_HD void DrawRounding(const Draw& draw, uint64_t at, size_t groups, uint16_t* out) {
  for (size_t g = 0; g < groups; ++g) {
    uint32_t words[4];
    DrawWords(draw, kRounding, at / 8 + g, words);
    for (size_t k = 0; k < 4; ++k) {
      out[8 * g + 2 * k] = static_cast<uint16_t>(words[k]);
      out[8 * g + 2 * k + 1] = static_cast<uint16_t>(words[k] >> 16);
    }
  }
}

}  // namespace stepback::kernels
