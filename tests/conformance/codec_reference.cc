#include "tests/conformance/codec_reference.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>

namespace stepback::kernels::testing {
namespace {

struct Place {
  const Bytes& bytes;
  uint64_t count;
  uint64_t i;

  uint32_t Integer(uint64_t at, int size) const {
    uint32_t value = 0;
    for (int k = 0; k < size; ++k) value |= std::to_integer<uint32_t>(bytes.at(at + k)) << 8 * k;
    return value;
  }
  float Float(uint64_t at) const { return std::bit_cast<float>(Integer(at, 4)); }
  uint32_t Nibble(uint64_t at, uint64_t k) const { return Integer(at + k / 2, 1) >> k % 2 * 4 & 15; }
};

// exponent << mantissa | fraction after the sign, in `bits` bits in all.
double FloatOf(uint32_t code, int bits, int mantissa, int min_exponent) {
  const uint32_t magnitude = code & ((1u << (bits - 1)) - 1);
  const int exponent = static_cast<int>(magnitude >> mantissa), one = 1 << mantissa;
  const int fraction = static_cast<int>(magnitude) & (one - 1);
  const double value = exponent == 0 ? std::ldexp(fraction, min_exponent - mantissa)
                                     : std::ldexp(one + fraction, min_exponent + exponent - 1 - mantissa);
  return (code >> (bits - 1) & 1) != 0 ? -value : value;
}

float HalfOf(const Place& p) {
  const uint32_t code = p.Integer(2 * p.i, 2), magnitude = code & 0x7fff;
  if (magnitude > 0x7c00) return NAN;
  if (magnitude == 0x7c00) return code != magnitude ? -INFINITY : INFINITY;
  return static_cast<float>(FloatOf(code, 16, 10, -14));
}

// A code times the scale of its block.
template <class Number>
float Scaled(const Place& p, uint64_t block, int bits, Number number) {
  const uint64_t at = p.i / block * (4 + block * bits / 8), k = p.i % block;
  const uint32_t code = bits == 8 ? p.Integer(at + 4 + k, 1) : p.Nibble(at + 4, k);
  return static_cast<float>(double{p.Float(at)} * number(code));
}

double Nf4Of(uint32_t code) {
  static constexpr double kQuantiles[16] = {
      -1,       -.6961928, -.52507305, -.39491749, -.28444138, -.18477343, -.091050036, 0,
      .0795803, .1609302,  .2461123,   .33791524,  .44070983,  .562617,    .72295684,   1};
  return static_cast<float>(kQuantiles[code]);
}

double E3m0Of(uint32_t code) {
  const int e = static_cast<int>(code & 7);
  const double magnitude = e == 0 ? 0 : std::ldexp(1, e - 7);
  return code >= 8 ? -magnitude : magnitude;
}

float SignOf(const Place& p) {
  const uint64_t at = p.i / 256 * 36, k = p.i % 256;
  const float mean = p.Float(at);
  return (p.Integer(at + 4 + k / 8, 1) >> k % 8 & 1) != 0 ? -mean : mean;
}

// Element i of a chunk with `kept` 12-bit indices at `indices`: `value(j)` where index j is i, else 0.
template <class Value>
float Kept(const Place& p, uint64_t indices, uint64_t kept, Value value) {
  for (uint64_t j = 0; j < kept; ++j) {
    const uint32_t index = p.Integer(indices + 3 * j / 2, 2) >> (j % 2 * 4) & 0xfff;
    if (index == p.i % 4096) return value(j);
  }
  return 0;
}

uint64_t KeptOf(const Place& p) { return (std::min<uint64_t>(4096, p.count - p.i / 4096 * 4096) + 63) / 64; }

float TopkBf16Of(const Place& p) {
  const uint64_t at = p.i / 4096 * (128 + 96), kept = KeptOf(p);
  return Kept(p, at + 2 * kept, kept,
              [&](uint64_t j) { return std::bit_cast<float>(p.Integer(at + 2 * j, 2) << 16); });
}

float Topk2bitOf(const Place& p) {
  const uint64_t at = p.i / 4096 * (8 + 16 + 96), kept = KeptOf(p);
  return Kept(p, at + 8 + (kept + 3) / 4, kept, [&](uint64_t j) {
    const uint32_t code = p.Integer(at + 8 + j / 4, 1) >> j % 4 * 2 & 3;
    const float level = p.Float(at + 4 * (code & 1));
    return code >= 2 ? -level : level;
  });
}

// Philox4x32-10 of {part, 0, 0, 2} under {seed, 0}, its first word.
uint32_t ChoiceWord(uint32_t seed, uint32_t part) {
  std::array<uint64_t, 4> c = {part, 0, 0, 2};
  uint64_t low = seed, high = 0;
  for (int round = 0; round < 10; ++round) {
    const uint64_t left = c[0] * 0xd2511f53u, right = c[2] * 0xcd9e8d57u;
    c = {(right >> 32) ^ c[1] ^ low, right % (uint64_t{1} << 32), (left >> 32) ^ c[3] ^ high,
         left % (uint64_t{1} << 32)};
    low = (low + 0x9e3779b9u) % (uint64_t{1} << 32);
    high = (high + 0xbb67ae85u) % (uint64_t{1} << 32);
  }
  return static_cast<uint32_t>(c[0]);
}

float RandomKOf(const Place& p) {
  const uint64_t block = p.i / 4096, part = p.i % 4096 / 64, at = block * (4 + 128);
  const uint64_t size = std::min<uint64_t>(64, p.count - block * 4096 - part * 64);
  const uint64_t chosen = ChoiceWord(p.Integer(at, 4), static_cast<uint32_t>(part)) * size >> 32;
  return chosen == p.i % 64 ? std::bit_cast<float>(p.Integer(at + 4 + 2 * part, 2) << 16) : 0;
}

using Decoder = float (*)(const Place&);

const std::map<std::string_view, Decoder>& Decoders() {
  static const std::map<std::string_view, Decoder> kDecoders = {
      {"f32", [](const Place& p) { return p.Float(4 * p.i); }},
      {"bf16", [](const Place& p) { return std::bit_cast<float>(p.Integer(2 * p.i, 2) << 16); }},
      {"f16", HalfOf},
      {"fp8_e4m3",
       [](const Place& p) { return Scaled(p, 256, 8, [](uint32_t c) { return FloatOf(c, 8, 3, -6); }); }},
      {"fp8_e5m2",
       [](const Place& p) { return Scaled(p, 256, 8, [](uint32_t c) { return FloatOf(c, 8, 2, -14); }); }},
      {"int8",
       [](const Place& p) {
         return Scaled(p, 256, 8, [](uint32_t c) { return c < 128 ? double(c) : double(c) - 256; });
       }},
      {"e2m1",
       [](const Place& p) { return Scaled(p, 32, 4, [](uint32_t c) { return FloatOf(c, 4, 1, 0); }); }},
      {"nf4", [](const Place& p) { return Scaled(p, 64, 4, Nf4Of); }},
      {"e3m0", [](const Place& p) { return Scaled(p, 32, 4, E3m0Of); }},
      {"sign", SignOf},
      {"topk_bf16", TopkBf16Of},
      {"topk_2bit", Topk2bitOf},
      {"bf16_sr", [](const Place& p) { return std::bit_cast<float>(p.Integer(2 * p.i, 2) << 16); }},
      {"random_k", RandomKOf},
  };
  return kDecoders;
}

[[noreturn]] void Unknown(std::string_view codec) {
  std::fprintf(stderr, "codec_reference.cc does not know codec %s\n", std::string(codec).c_str());
  std::abort();
}

}  // namespace

float DecodeByHand(std::string_view codec, const Bytes& bytes, uint64_t count, uint64_t i) {
  const auto decoder = Decoders().find(codec);
  if (decoder == Decoders().end()) Unknown(codec);
  return decoder->second({bytes, count, i});
}

double ErrorBound(std::string_view codec, double x, double largest) {
  const double of_x = std::abs(x), tiny = 0x1p-100;
  if (codec == "f32") return 0;
  if (codec == "bf16") return std::max(of_x * 0x1p-8, 0x1p-134);
  if (codec == "f16") return of_x < 65520 ? std::max(of_x * 0x1p-11, 0x1p-25) : INFINITY;
  if (codec == "fp8_e4m3") return std::max({of_x * 0x1p-4, largest * 0x1p-18, tiny});
  if (codec == "fp8_e5m2") return std::max({of_x * 0x1p-3, largest * 0x1p-32, tiny});
  if (codec == "int8") return std::max(largest / 253.9, tiny);
  if (codec == "e2m1") return std::max({of_x / 4, largest / 23.9, tiny});
  if (codec == "nf4") return std::max(largest * 0.152, tiny);
  if (codec == "e3m0") return std::max({of_x / 3, largest * 0x1p-7, tiny}) * (1 + 0x1p-22);
  if (codec == "sign" || codec == "topk_2bit") return largest;
  if (codec == "bf16_sr") return std::max(of_x * 0x1p-7, 0x1p-133);
  if (codec == "topk_bf16" || codec == "random_k") return std::max(of_x, 0x1p-134);
  Unknown(codec);
}

}  // namespace stepback::kernels::testing
