// Every codec of kernels/codecs/codecs.h, and bf16 against an independent definition of round to nearest
// even.
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <random>

#include "kernels/cpu/dispatch.h"
#include "tests/conformance/scenario.h"

namespace stepback::kernels::testing {
namespace {

Floats Decode(const CodecInfo& codec, const Bytes& bytes, uint64_t count) {
  Floats values(count);
  codec.decode(bytes.data(), count, values.data());
  return values;
}

Floats RandomBits(size_t count, uint32_t seed) {
  std::mt19937 random(seed);
  Floats values(count);
  for (float& x : values) x = std::bit_cast<float>(static_cast<uint32_t>(random()));
  return values;
}

TEST(Codecs, AreFoundByName) {
  for (size_t i = 0; i < Codecs().size(); ++i) {
    EXPECT_EQ(Codecs()[i].id, static_cast<int>(i));
    EXPECT_EQ(FindCodec(Codecs()[i].name), &Codecs()[i]);
    EXPECT_FALSE(Codecs()[i].error_bound.empty());
  }
  EXPECT_EQ(FindCodec("f64"), nullptr);
  EXPECT_NE(FindCodec("f32"), nullptr);
  EXPECT_NE(FindCodec("bf16"), nullptr);
}

TEST(Codecs, EncodeWhatTheyHaveDecodedToTheSameBytes) {
  for (const CodecInfo& codec : Codecs()) {
    std::mt19937 random(1);
    std::normal_distribution<float> normal;
    Floats values(1000);
    for (float& x : values) x = normal(random);
    const Bytes once = Encode(codec.id, values);
    EXPECT_EQ(once.size(), codec.encoded_bytes(values.size())) << codec.name;
    EXPECT_EQ(Encode(codec.id, Decode(codec, once, values.size())), once) << codec.name;
  }
}

TEST(Codecs, AreOddFunctions) {
  for (const CodecInfo& codec : Codecs()) {
    if (codec.name == "nf4") continue;  // its table is not symmetric
    Floats values = RandomBits(4096, 3);
    std::replace_if(
        values.begin(), values.end(), [](float x) { return !std::isfinite(x); }, 1.0f);
    Floats negated = values;
    for (float& x : negated) x = -x;
    Floats decoded = Decode(codec, Encode(codec.id, negated), values.size());
    for (float& x : decoded) x = -x;
    EXPECT_EQ(decoded, Decode(codec, Encode(codec.id, values), values.size())) << codec.name;
  }
}

TEST(Codecs, FindANonFiniteNumberAtEveryPosition) {
  for (const CodecInfo& codec : Codecs()) {
    for (const uint64_t count : {1, 31, 64, 200}) {
      const float large = codec.name == "f16" ? 65504.0f : 0x1.fep127f;
      const Bytes good = Encode(codec.id, Floats(count, large));
      EXPECT_TRUE(codec.all_finite(good.data(), count)) << codec.name;
      for (uint64_t position = 0; position < count; ++position) {
        for (const float bad : {NAN, -NAN, INFINITY, -INFINITY}) {
          Floats values(count, 1.0f);
          values[position] = bad;
          const Bytes bytes = Encode(codec.id, values);
          ASSERT_FALSE(codec.all_finite(bytes.data(), count))
              << codec.name << " " << count << " " << position;
        }
      }
    }
    EXPECT_TRUE(codec.all_finite(nullptr, 0)) << codec.name;
  }
}

TEST(Codecs, WorkAtAnyAddress) {
  for (const CodecInfo& codec : Codecs()) {
    Floats values(3333, 0.0f);
    for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i) - 100;
    const Bytes aligned = Encode(codec.id, values);
    for (size_t shift = 1; shift < 9; ++shift) {
      Bytes shifted(aligned.size() + shift + 1, std::byte{0x5a});
      codec.encode(values.data(), values.size(), shifted.data() + shift);
      EXPECT_TRUE(std::equal(aligned.begin(), aligned.end(), shifted.begin() + shift)) << codec.name;
      EXPECT_EQ(shifted.back(), std::byte{0x5a}) << codec.name << " wrote past its end";
      Floats back(values.size());
      codec.decode(shifted.data() + shift, values.size(), back.data());
      EXPECT_EQ(back, Decode(codec, aligned, values.size())) << codec.name;
      EXPECT_TRUE(codec.all_finite(shifted.data() + shift, values.size())) << codec.name;
    }
  }
}

TEST(Codecs, GiveTheSameBytesOnEveryInstructionSet) {
  const Floats values = RandomBits(100'003, 7);
  for (const CodecInfo& codec : Codecs()) {
    const Bytes expected = Encode(codec.id, values);
    for (const cpu::Target& target : cpu::Targets()) {
      const cpu::CodecLoops& loops = target.loops->codecs[codec.id];
      Bytes bytes(expected.size());
      loops.encode(values.data(), values.size(), {}, bytes.data());
      EXPECT_EQ(bytes, expected) << codec.name << " " << target.name;
      EXPECT_FALSE(loops.all_finite(bytes.data(), values.size())) << codec.name << " " << target.name;
    }
  }
}

// --- bf16, from its definition ---

uint16_t HalfOf(const Bytes& bytes, size_t i) {
  return static_cast<uint16_t>(std::to_integer<unsigned>(bytes[2 * i]) |
                               std::to_integer<unsigned>(bytes[2 * i + 1]) << 8);
}

// The value of a pattern, from sign, exponent and fraction.
double Bf16Value(uint16_t half) {
  const int exponent = half >> 7 & 0xff, fraction = half & 0x7f;
  const double magnitude =
      exponent == 0 ? std::ldexp(fraction, -133) : std::ldexp(128 + fraction, exponent - 134);
  return (half & 0x8000) != 0 ? -magnitude : magnitude;
}

// Nearest of the two neighbours in exact arithmetic, the even pattern at a tie. Overflow goes to infinity
// from the midpoint above the largest finite number on.
uint16_t NearestBf16(float x) {
  const uint16_t sign = std::signbit(x) ? 0x8000 : 0;
  const double magnitude = std::abs(double{x});
  uint16_t low = 0, high = 0x7f80;  // infinity stands for 2^128
  const auto value = [](uint16_t half) { return half == 0x7f80 ? 0x1p128 : Bf16Value(half); };
  while (high - low > 1) {
    const uint16_t middle = static_cast<uint16_t>((low + high) / 2);
    (value(middle) <= magnitude ? low : high) = middle;
  }
  const double below = magnitude - value(low), above = value(high) - magnitude;
  const bool up = above < below || (above == below && (high & 1) == 0);
  return sign | (up ? high : low);
}

TEST(Bf16, DecodesAllPatterns) {
  const CodecInfo& bf16 = *FindCodec("bf16");
  for (uint32_t pattern = 0; pattern < 0x10000; ++pattern) {
    const Bytes bytes = {static_cast<std::byte>(pattern), static_cast<std::byte>(pattern >> 8)};
    const float decoded = Decode(bf16, bytes, 1)[0];
    const bool special = (pattern & 0x7f80) == 0x7f80;
    ASSERT_EQ(bf16.all_finite(bytes.data(), 1), !special);
    if (!special) {
      ASSERT_EQ(decoded, Bf16Value(static_cast<uint16_t>(pattern))) << pattern;
      ASSERT_EQ(std::signbit(decoded), (pattern & 0x8000) != 0) << pattern;
    } else if ((pattern & 0x7f) != 0) {
      ASSERT_TRUE(std::isnan(decoded)) << pattern;
    } else {
      ASSERT_EQ(decoded, (pattern & 0x8000) != 0 ? -INFINITY : INFINITY);
    }
  }
}

TEST(Bf16, EncodesADecodedPatternToItself) {
  const CodecInfo& bf16 = *FindCodec("bf16");
  for (uint32_t pattern = 0; pattern < 0x10000; ++pattern) {
    const float x = std::bit_cast<float>(pattern << 16);
    const uint16_t again = HalfOf(Encode(bf16.id, {x}), 0);
    const bool nan = (pattern & 0x7f80) == 0x7f80 && (pattern & 0x7f) != 0;
    ASSERT_EQ(again, nan ? (pattern | 0x40) : pattern);
  }
}

TEST(Bf16, RoundsAMillionRandomFloatsToTheNearestEven) {
  const Floats values = RandomBits(1'000'000, 11);
  const Bytes bytes = Encode(FindCodec("bf16")->id, values);
  for (size_t i = 0; i < values.size(); ++i) {
    if (std::isnan(values[i])) {
      ASSERT_TRUE((HalfOf(bytes, i) & 0x7f80) == 0x7f80 && (HalfOf(bytes, i) & 0x7f) != 0) << "NaN stays NaN";
    } else if (std::isinf(values[i])) {
      ASSERT_EQ(HalfOf(bytes, i), values[i] > 0 ? 0x7f80 : 0xff80);
    } else {
      ASSERT_EQ(HalfOf(bytes, i), NearestBf16(values[i])) << values[i];
    }
  }
}

TEST(Bf16, RoundsTiesToEvenAndOverflowsToInfinity) {
  const auto encode = [](float x) { return HalfOf(Encode(FindCodec("bf16")->id, {x}), 0); };
  EXPECT_EQ(encode(std::bit_cast<float>(0x3f808000u)), 0x3f80);  // halfway, even below
  EXPECT_EQ(encode(std::bit_cast<float>(0x3f818000u)), 0x3f82);  // halfway, even above
  EXPECT_EQ(encode(std::bit_cast<float>(0x3f808001u)), 0x3f81);
  EXPECT_EQ(encode(std::bit_cast<float>(0x7f7f7fffu)), 0x7f7f);
  EXPECT_EQ(encode(std::bit_cast<float>(0x7f7f8000u)), 0x7f80);
  EXPECT_EQ(encode(-0.0f), 0x8000);
  EXPECT_EQ(encode(std::bit_cast<float>(0x00008000u)), 0x0000);  // half of the smallest denormal
  EXPECT_EQ(encode(std::bit_cast<float>(0x00008001u)), 0x0001);
  EXPECT_EQ(encode(std::bit_cast<float>(0x7f800001u)) & 0x7fff, 0x7fc0)
      << "a signalling NaN with low bits only";
}

}  // namespace
}  // namespace stepback::kernels::testing
