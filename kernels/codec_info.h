// Every codec (wire form of numbers) as data and host entry points. Built from kernels/codecs.h.
// Blocks restart at every tensor; the last block of a tensor may be short. All forms are little-endian.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace stepback::kernels {

// No codec block has more elements (top-k chunks have 4,096) or more bytes; blocks and cache blocks are
// multiples of one another.
inline constexpr size_t kCodecBlockMax = 4096;

struct CodecInfo {
  std::string_view name;  // "f32", "bf16": what travels in PushHeader.codec and PullRequest.codec
  int id;                 // index into the back-ends' tables; never stored
  size_t block_elements;  // elements that decode independently of their neighbours (1 for element-wise forms)
  std::string_view error_bound;
  bool for_differences;  // pushes only: as a form of weights it would be useless (signs, top-k)
  uint64_t (*encoded_bytes)(uint64_t elements);                        // of one tensor or block-aligned part
  void (*encode)(const float* in, uint64_t elements, std::byte* out);  // round to nearest, ties to even
  void (*decode)(const std::byte* in, uint64_t elements, float* out);
  bool (*all_finite)(const std::byte* in, uint64_t elements);  // no NaN or infinity after decoding
};

std::span<const CodecInfo> Codecs();
const CodecInfo* FindCodec(std::string_view name);  // nullptr when unknown

}  // namespace stepback::kernels
