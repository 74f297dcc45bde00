// What holds for every codec and any numbers or bytes: the documented error bound, encoding as a projection,
// and that what passes all_finite decodes to finite numbers.
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "kernels/cpu/dispatch.h"
#include "tests/conformance/codec_reference.h"

namespace stepback::kernels::testing {
namespace {

constexpr uint32_t kSeed = 20;
constexpr size_t kPerExponent = 40'960;  // x 256 exponents x every codec: 10^7 numbers each

// xorshift: the numbers of this suite are many.
class Random {
 public:
  explicit Random(uint32_t seed) : state_(seed * 2654435761u | 1) {}
  uint32_t Next() {
    state_ ^= state_ << 13;
    state_ ^= state_ >> 17;
    return state_ ^= state_ << 5;
  }

 private:
  uint32_t state_;
};

// Magnitudes up to exponent field `top`, most of them near it: any sign, any mantissa; field 0 is denormal.
void Fill(uint32_t top, Random& random, Floats* values) {
  for (float& x : *values) {
    const uint32_t spread = random.Next(), below = std::min<uint32_t>(std::countl_zero(spread | 1), top);
    x = std::bit_cast<float>((random.Next() & 0x807fffffu) | (top - below) << 23);
  }
}

// The largest magnitude of every block.
Floats LargestByBlock(const CodecInfo& codec, const Floats& values) {
  Floats largest(values.size() / codec.block_elements + 1, 0.0f);
  for (size_t i = 0; i < values.size(); ++i) {
    float& of_block = largest[i / codec.block_elements];
    of_block = std::max(of_block, std::abs(values[i]));
  }
  return largest;
}

void CheckBound(const CodecInfo& codec, const Floats& values) {
  Bytes bytes(codec.encoded_bytes(values.size()));
  codec.encode(values.data(), values.size(), bytes.data());
  Floats decoded(values.size());
  codec.decode(bytes.data(), values.size(), decoded.data());
  const Floats largest = LargestByBlock(codec, values);
  size_t outside = 0, where = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    const double error = std::abs(double{values[i]} - decoded[i]);
    const bool inside = error <= ErrorBound(codec.name, values[i], largest[i / codec.block_elements]) ||
                        decoded[i] == values[i] || (codec.name.ends_with("bf16") && std::isinf(decoded[i]));
    if (!inside) ++outside, where = i;
  }
  ASSERT_EQ(outside, 0u) << codec.name << ": " << values[where] << " became " << decoded[where]
                         << " in a block up to " << largest[where / codec.block_elements];
}

TEST(CodecBounds, HoldForTenMillionNumbersOfEveryExponent) {
  Floats values(kPerExponent);
  for (const CodecInfo& codec : Codecs()) {
    Random random(kSeed);
    for (uint32_t top = 0; top < 255; ++top) {
      Fill(top, random, &values);
      CheckBound(codec, values);
    }
  }
}

TEST(CodecBounds, EncodingWhatWasDecodedGivesTheSameBytesAtEveryExponent) {
  Floats values(2 * kCodecBlockMax + 77), decoded(values.size());
  for (const CodecInfo& codec : Codecs()) {
    Random random(kSeed + 1);
    for (uint32_t top = 0; top < 255; ++top) {
      Fill(top, random, &values);
      const Bytes once = Encode(codec.id, values);
      codec.decode(once.data(), values.size(), decoded.data());
      if (!codec.all_finite(once.data(), values.size())) continue;  // halves overflow to infinity
      ASSERT_EQ(Encode(codec.id, decoded), once) << codec.name << ", exponent field " << top;
    }
  }
}

// Payloads of a peer that follows no rule: any bytes, among them scales of every kind.
Bytes AnyBytes(const CodecInfo& codec, uint64_t count, Random& random) {
  static constexpr uint32_t kScales[] = {0,           1,           0x80000000u, 0xbf800000u,
                                         0x3f800000u, 0x7f800000u, 0xff800000u, 0x7fc00000u,
                                         0x7f7fffffu, 0x00800000u, 0x7b000000u};
  Bytes bytes(codec.encoded_bytes(count));
  for (std::byte& b : bytes) b = static_cast<std::byte>(random.Next() >> 11);
  const uint64_t stride = codec.encoded_bytes(codec.block_elements);
  for (uint64_t at = 0; codec.block_elements > 1 && at + 4 <= bytes.size(); at += stride) {
    std::memcpy(bytes.data() + at, &kScales[random.Next() % std::size(kScales)], 4);
  }
  return bytes;
}

TEST(CodecBounds, WhatIsCalledFiniteDecodesToFiniteNumbers) {
  for (const CodecInfo& codec : Codecs()) {
    Random random(kSeed + 2);
    size_t finite = 0, refused = 0;
    for (int round = 0; round < 4000; ++round) {
      const uint64_t count = 1 + random.Next() % (round % 10 == 0 ? 600 : 8);
      const Bytes bytes = AnyBytes(codec, count, random);
      Floats decoded(count);
      codec.decode(bytes.data(), count, decoded.data());
      const bool all = std::all_of(decoded.begin(), decoded.end(), [](float x) { return std::isfinite(x); });
      const bool called = codec.all_finite(bytes.data(), count);
      ASSERT_LE(called, all) << codec.name << " round " << round;
      ++(called ? finite : refused);
      for (const cpu::Target& target : cpu::Targets()) {
        ASSERT_EQ(target.loops->codecs[codec.id].all_finite(bytes.data(), count), called) << target.name;
      }
    }
    EXPECT_GT(finite, 0u) << codec.name;
    EXPECT_GT(refused, 0u) << codec.name;
  }
}

TEST(CodecBounds, ABlockScaleMustBeAPositiveNumberWhoseProductsAreFinite) {
  for (const std::string_view name : {"fp8_e4m3", "fp8_e5m2", "int8", "e2m1", "nf4", "e3m0"}) {
    const CodecInfo& codec = *FindCodec(name);
    Bytes bytes = Encode(codec.id, Floats(codec.block_elements, 1.0f));
    const auto finite_with = [&](float scale) {
      std::memcpy(bytes.data(), &scale, sizeof scale);
      return codec.all_finite(bytes.data(), codec.block_elements);
    };
    EXPECT_TRUE(finite_with(1.0f)) << name;
    EXPECT_TRUE(finite_with(0.0f)) << name << ": a block of zeros";
    for (const float bad : {-1.0f, -0.0f, NAN, -NAN, INFINITY, -INFINITY})
      EXPECT_FALSE(finite_with(bad)) << name;
    EXPECT_EQ(finite_with(0x1.fffffep127f), name == "nf4" || name == "e3m0")
        << name << ": top x scale overflows";
  }
}

// One in 64 of every chunk, the largest, ties to the lower index: by a sort.
std::vector<size_t> LargestOf(const float* x, size_t n) {
  std::vector<size_t> order(n);
  for (size_t i = 0; i < n; ++i) order[i] = i;
  std::stable_sort(order.begin(), order.end(),
                   [x](size_t a, size_t b) { return std::abs(x[a]) > std::abs(x[b]); });
  order.resize((n + 63) / 64);
  return order;
}

TEST(CodecBounds, TopKKeepsTheLargestAndTheLowerIndexOfEquals) {
  for (const std::string_view name : {"topk_bf16", "topk_2bit"}) {
    Random random(kSeed + 3);
    for (const size_t n : {1, 63, 64, 65, 129, 4096, 4096 + 1, 3 * 4096 + 100}) {
      Floats values(n);
      // Few different magnitudes, so that ties are many; never zero.
      for (float& x : values)
        x = static_cast<float>(1 + random.Next() % 40) * (random.Next() % 2 == 0 ? 1 : -1);
      const CodecInfo& codec = *FindCodec(name);
      const Bytes bytes = Encode(codec.id, values);
      Floats decoded(n), expected(n, 0.0f);
      codec.decode(bytes.data(), n, decoded.data());
      for (size_t begin = 0; begin < n; begin += 4096) {
        for (const size_t i : LargestOf(&values[begin], std::min<size_t>(4096, n - begin))) {
          expected[begin + i] = values[begin + i];
        }
      }
      for (size_t i = 0; i < n; ++i) {
        ASSERT_EQ(decoded[i] != 0, expected[i] != 0) << name << " " << n << " " << i;
        ASSERT_EQ(std::signbit(decoded[i]), std::signbit(expected[i])) << name << " " << n << " " << i;
        if (name == "topk_bf16") ASSERT_EQ(decoded[i], expected[i]) << n << " " << i;
      }
    }
  }
}

TEST(CodecBounds, TopKIndicesMustAscendWithinTheChunk) {
  for (const std::string_view name : {"topk_bf16", "topk_2bit"}) {
    const CodecInfo& codec = *FindCodec(name);
    Floats values(100, 0.0f);
    values[7] = values[50] = 2;
    const Bytes good = Encode(codec.id, values);
    const auto finite_with = [&](uint32_t first, uint32_t second) {
      Bytes bytes = good;
      const uint32_t both = first | second << 12;
      std::memcpy(bytes.data() + bytes.size() - 3, &both, 3);
      return codec.all_finite(bytes.data(), values.size());
    };
    EXPECT_TRUE(finite_with(7, 50)) << name;
    EXPECT_TRUE(finite_with(0, 99)) << name;
    EXPECT_FALSE(finite_with(50, 7)) << name << ": descending";
    EXPECT_FALSE(finite_with(7, 7)) << name << ": twice";
    EXPECT_FALSE(finite_with(7, 100)) << name << ": behind the last element";
    EXPECT_FALSE(finite_with(7, 4095)) << name;
  }
}

TEST(CodecBounds, ReservedCodesAreRefused) {
  const auto finite_with = [](std::string_view name, uint8_t code) {
    const CodecInfo& codec = *FindCodec(name);
    Bytes bytes = Encode(codec.id, {1.0f, 2.0f, 3.0f});
    bytes[5] = std::byte{code};
    return codec.all_finite(bytes.data(), 3);
  };
  EXPECT_TRUE(finite_with("int8", 0x81));
  EXPECT_FALSE(finite_with("int8", 0x80));
  EXPECT_TRUE(finite_with("fp8_e4m3", 0xfe));
  EXPECT_FALSE(finite_with("fp8_e4m3", 0x7f));
  EXPECT_FALSE(finite_with("fp8_e4m3", 0xff));
  EXPECT_TRUE(finite_with("fp8_e5m2", 0x7b));
  for (const uint8_t code : {0x7c, 0x7d, 0xfc, 0xff}) EXPECT_FALSE(finite_with("fp8_e5m2", code));
}

}  // namespace
}  // namespace stepback::kernels::testing
