// Codecs that draw random numbers: the numbers belong to an element, whoever encodes it in whatever pieces;
// stochastic rounding is unbiased (invariant 34) and random-k is, once scaled. The seed of every test is
// fixed and the bands are five standard errors, so a failure is a wrong distribution and not bad luck.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <random>
#include <set>

#include "kernels/codecs/bf16_sr.h"
#include "kernels/codecs/philox.h"
#include "kernels/cpu/dispatch.h"
#include "kernels/encode_with.h"
#include "tests/conformance/scenario.h"

namespace stepback::kernels::testing {
namespace {

constexpr uint32_t kSeed = 34;
constexpr double kErrors = 5;  // standard errors

Bytes EncodeAt(const CodecInfo& codec, const Draw& draw, const Floats& values) {
  Bytes bytes(codec.encoded_bytes(values.size()));
  EncodeWith(codec, values.data(), values.size(), draw, bytes.data());
  return bytes;
}

Floats DecodeAll(const CodecInfo& codec, const Bytes& bytes, size_t count) {
  Floats values(count);
  codec.decode(bytes.data(), count, values.data());
  return values;
}

Floats Normals(size_t count, float scale) {
  std::mt19937 random(kSeed);
  std::normal_distribution<float> normal(0, scale);
  Floats values(count);
  for (float& x : values) x = normal(random);
  return values;
}

float RoundedWith(float x, uint32_t random) {
  std::byte bytes[2];
  Bf16Sr::Store(bytes, 0, x, random);
  return Bf16Sr::Load(bytes, 0);
}

TEST(Philox, GivesTheKnownAnswersOfRandom123) {
  const auto philox = [](uint32_t low, uint32_t high, std::array<uint32_t, 4> counter) {
    uint32_t words[4];
    std::memcpy(words, counter.data(), sizeof words);
    Philox(low, high, words);
    return std::array<uint32_t, 4>{words[0], words[1], words[2], words[3]};
  };
  using Words = std::array<uint32_t, 4>;
  EXPECT_EQ(philox(0, 0, {}), (Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(philox(~0u, ~0u, {~0u, ~0u, ~0u, ~0u}), (Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox(0xa4093822, 0x299f31d0, {0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}),
            (Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(DrawKeys, TellModelsClientsAndNumbersApart) {
  const std::set<uint64_t> keys = {DrawKey("m", "", 1, 2),  DrawKey("m", "", 2, 1),   DrawKey("m", "", 0, 2),
                                   DrawKey("", "m", 1, 2),  DrawKey("m", "w", 1, 2),  DrawKey("mw", "", 1, 2),
                                   DrawKey("m", "w", 0, 1), DrawKey("m", "w", 0, 257)};
  EXPECT_EQ(keys.size(), 8u);
}

TEST(DrawingCodecs, GiveAnElementTheSameBytesInWhateverPiecesAndOnEveryInstructionSet) {
  const Floats values = Normals(5 * 4096 + 777, 1);
  for (const char* name : {"bf16_sr", "random_k"}) {
    const CodecInfo& codec = *FindCodec(name);
    const Draw whole = {DrawKey("m", "w", 0, 9), 4, 64 * codec.block_elements};
    const Bytes expected = EncodeAt(codec, whole, values);
    std::mt19937 random(kSeed);
    for (const cpu::Target& target : cpu::Targets()) {
      Bytes bytes(expected.size());
      for (size_t at = 0; at < values.size();) {
        const size_t blocks = 1 + random() % (codec.block_elements == 1 ? 700 : 3);
        const size_t n = std::min(blocks * codec.block_elements, values.size() - at);
        target.loops->codecs[codec.id].encode(&values[at], n, {whole.key, whole.tensor, whole.first + at},
                                              bytes.data() + codec.encoded_bytes(at));
        at += n;
      }
      EXPECT_EQ(bytes, expected) << name << " " << target.name << ", seed " << kSeed;
    }
  }
}

TEST(DrawingCodecs, DrawAnewForEveryKeyTensorAndPlace) {
  const Floats values = Normals(4096, 1);
  for (const char* name : {"bf16_sr", "random_k"}) {
    const CodecInfo& codec = *FindCodec(name);
    const std::vector<Draw> draws = {
        {1, 0, 0}, {2, 0, 0}, {1, 1, 0}, {1, 0, 4096}, {1, 0, uint64_t{4096} << 32}};
    std::vector<Floats> decoded;
    for (const Draw& draw : draws) {
      decoded.push_back(DecodeAll(codec, EncodeAt(codec, draw, values), values.size()));
      for (size_t i = 0; i + 1 < decoded.size(); ++i)
        EXPECT_NE(decoded[i], decoded.back()) << name << " " << i;
    }
  }
}

// --- bf16_sr ---

TEST(StochasticRounding, OverAllOffsetsItsMeanIsTheNumberItself) {  // invariant 34
  std::mt19937 random(kSeed);
  for (int round = 0; round < 100; ++round) {
    // Every exponent but the last: there the mean saturates.
    const uint32_t bits = (random() & 0x807fffffu) | (random() % 254) << 23;
    const float x = std::bit_cast<float>(bits);
    const double unit = std::ldexp(1, std::max<int>(bits >> 23 & 0xff, 1) - 127 - 7);
    double sum = 0;
    for (uint32_t offset = 0; offset < 0x10000; ++offset) {
      const float y = RoundedWith(x, offset);
      ASSERT_LT(std::abs(double{y} - x), unit) << x << " with " << offset;
      sum += (double{y} - x) / unit;  // exact: multiples of 2^-16 below 2^16
    }
    ASSERT_EQ(sum, 0) << x << ", seed " << kSeed;
  }
}

TEST(StochasticRounding, LeavesNumbersOfBf16AsTheyAreWhateverItDraws) {
  for (uint32_t pattern = 0; pattern < 0x10000; ++pattern) {
    const float x = std::bit_cast<float>(pattern << 16);
    for (const uint32_t random : {0u, 1u, 0x7fffu, 0xffffu}) {
      const uint32_t again = std::bit_cast<uint32_t>(RoundedWith(x, random)) >> 16;
      const bool nan = (pattern & 0x7f80) == 0x7f80 && (pattern & 0x7f) != 0;
      ASSERT_EQ(again, nan ? pattern | 0x40 : pattern) << random;
    }
  }
}

TEST(StochasticRounding, SaturatesInsteadOfOverflowing) {
  const float largest = std::bit_cast<float>(0x7f7f0000u);
  for (const uint32_t random : {0u, 0xffffu}) {
    EXPECT_EQ(RoundedWith(std::bit_cast<float>(0x7f7fffffu), random), largest);
    EXPECT_EQ(RoundedWith(std::bit_cast<float>(0xff7fffffu), random), -largest);
    EXPECT_TRUE(std::isnan(RoundedWith(std::bit_cast<float>(0x7f800001u), random)));
    EXPECT_EQ(RoundedWith(INFINITY, random), INFINITY);
  }
}

// Each roundoff has mean 0 and, for a number at a place p between its neighbours, variance p (1 - p) units^2.
TEST(StochasticRounding, IsUnbiasedWithTheNumbersItDraws) {
  const CodecInfo& codec = *FindCodec("bf16_sr");
  const size_t kElements = 4096, kVersions = 256;
  const Floats values = Normals(kElements, 0.02f);
  std::vector<double> of_element(kElements), variance(kElements);
  double total = 0, total_variance = 0;
  for (size_t i = 0; i < kElements; ++i) {
    const double place = (std::bit_cast<uint32_t>(values[i]) & 0xffff) * 0x1p-16;
    variance[i] = place * (1 - place) * kVersions;
    total_variance += variance[i];
  }
  for (uint64_t version = 1; version <= kVersions; ++version) {
    const Bytes bytes = EncodeAt(codec, {DrawKey("m", "", 1, version), 0, 0}, values);
    const Floats decoded = DecodeAll(codec, bytes, kElements);
    for (size_t i = 0; i < kElements; ++i) {
      const double unit = std::ldexp(1, std::ilogb(values[i]) - 7);
      of_element[i] += (double{decoded[i]} - values[i]) / unit;
    }
  }
  double chi_square = 0;
  size_t degrees = 0;
  for (size_t i = 0; i < kElements; ++i) {
    total += of_element[i];
    if (variance[i] < 1) continue;  // a number of bf16, or almost
    chi_square += of_element[i] * of_element[i] / variance[i];
    ++degrees;
  }
  EXPECT_LT(std::abs(total), kErrors * std::sqrt(total_variance)) << "over all elements and versions";
  EXPECT_NEAR(chi_square / static_cast<double>(degrees), 1,
              kErrors * std::sqrt(2.0 / static_cast<double>(degrees)))
      << "the means of single elements spread as independent draws do";
  // Rounding to nearest has a bias that no number of versions takes away.
  const CodecInfo& nearest = *FindCodec("bf16");
  const float x = 1 + 0x1p-9f;
  EXPECT_EQ(DecodeAll(nearest, EncodeAt(nearest, {}, {x}), 1)[0], 1);
}

TEST(StochasticRounding, DrawsUniformNumbersThatNeighboursDoNotShare) {
  std::vector<uint16_t> random(1 << 20);
  DrawRounding({DrawKey("m", "w", 0, 1), 3, 0}, 0, random.size() / 8, random.data());
  std::vector<double> cells(256);
  double product = 0;
  for (size_t i = 0; i < random.size(); ++i) {
    cells[random[i] >> 8] += 1;
    const size_t next = (i + 1) % random.size();
    product += (random[i] / 65535.0 - 0.5) * (random[next] / 65535.0 - 0.5);
  }
  const double expected = static_cast<double>(random.size()) / 256;
  double chi_square = 0;
  for (const double cell : cells) chi_square += (cell - expected) * (cell - expected) / expected;
  EXPECT_NEAR(chi_square, 255, kErrors * std::sqrt(2 * 255.0));
  // Products of independent uniform numbers have variance 1 / 144.
  EXPECT_LT(std::abs(product), kErrors * std::sqrt(static_cast<double>(random.size())) / 12);
}

// --- random_k ---

// Of each part of 64 elements one is chosen, with probability 1 / 64, the last part of m with 1 / m: times
// that number, what arrives has the expectation of what was sent.
TEST(RandomK, IsUnbiasedOnceScaled) {
  const CodecInfo& codec = *FindCodec("random_k");
  const size_t kElements = 200, kPushes = 64 * 400;  // parts of 64, 64, 64 and 8
  Floats values(kElements);
  for (size_t i = 0; i < kElements; ++i) values[i] = static_cast<float>(1 + i % 100) * (i % 2 == 0 ? 1 : -1);
  std::vector<double> arrived(kElements);
  for (uint64_t push = 1; push <= kPushes; ++push) {
    const Bytes bytes = EncodeAt(codec, {DrawKey("m", "w", 0, push), 0, 0}, values);
    const Floats decoded = DecodeAll(codec, bytes, kElements);
    for (size_t part = 0; part < kElements; part += 64) {
      const size_t size = std::min<size_t>(64, kElements - part);
      size_t kept = 0;
      for (size_t i = part; i < part + size; ++i) {
        if (decoded[i] != 0) ASSERT_EQ(decoded[i], values[i]);  // numbers of bf16
        kept += decoded[i] != 0;
        arrived[i] += static_cast<double>(size) * decoded[i];
      }
      ASSERT_EQ(kept, 1u) << "push " << push << ", part at " << part;
    }
  }
  double chi_square = 0;
  for (size_t i = 0; i < kElements; ++i) {
    const double size = i < 192 ? 64 : 8;
    const double error = std::abs(double{values[i]}) * std::sqrt((size - 1) / kPushes);
    const double off = (arrived[i] / kPushes - values[i]) / error;
    EXPECT_LT(std::abs(off), kErrors) << "element " << i;
    chi_square += off * off;
  }
  EXPECT_NEAR(chi_square, kElements, kErrors * std::sqrt(2.0 * kElements));
}

TEST(RandomK, ChoosesIndependentlyInEveryPartAndBlock) {
  const CodecInfo& codec = *FindCodec("random_k");
  const size_t kElements = 64 * 4096;
  Floats values(kElements, 1.0f);
  const Floats decoded =
      DecodeAll(codec, EncodeAt(codec, {DrawKey("m", "w", 0, 1), 0, 0}, values), kElements);
  std::vector<size_t> places;
  for (size_t i = 0; i < kElements; ++i) {
    if (decoded[i] != 0) places.push_back(i % 64);
  }
  ASSERT_EQ(places.size(), kElements / 64);
  // A part's place against that of the next part, and of the same part of the next block: 8 x 8 coarse cells.
  for (const size_t lag : {1, 64}) {
    std::vector<double> cells(64);
    for (size_t j = 0; j < places.size(); ++j) {
      cells[places[j] / 8 * 8 + places[(j + lag) % places.size()] / 8] += 1;
    }
    const double expected = static_cast<double>(places.size()) / 64;
    double chi_square = 0;
    for (const double cell : cells) chi_square += (cell - expected) * (cell - expected) / expected;
    EXPECT_NEAR(chi_square, 63, kErrors * std::sqrt(2 * 63.0)) << "lag " << lag;
  }
}

TEST(RandomK, TakesAnySeedOfAPeerAndRefusesWhatIsNotANumber) {
  const CodecInfo& codec = *FindCodec("random_k");
  for (const uint64_t count : {1, 5, 64, 65, 4096, 4096 + 70}) {
    for (const uint32_t seed : {0u, 1u, 0x7fc00000u, 0xffffffffu}) {
      Bytes bytes = Encode(codec.id, Floats(count, 1.0f));
      std::memcpy(bytes.data(), &seed, sizeof seed);
      EXPECT_TRUE(codec.all_finite(bytes.data(), count));
      const Floats decoded = DecodeAll(codec, bytes, count);
      EXPECT_EQ(std::count(decoded.begin(), decoded.end(), 1.0f), static_cast<int64_t>((count + 63) / 64));
      for (const uint16_t bad : {0x7f80, 0xff80, 0x7fc0, 0xffff}) {
        Bytes hostile = bytes;
        std::memcpy(hostile.data() + hostile.size() - 2, &bad, sizeof bad);
        EXPECT_FALSE(codec.all_finite(hostile.data(), count)) << count << " " << bad;
      }
    }
  }
}

TEST(RandomK, KeepsTheLargestNumbersFinite) {
  const CodecInfo& codec = *FindCodec("random_k");
  const Bytes bytes = Encode(codec.id, Floats(64, 0x1.fffffep127f));
  EXPECT_TRUE(codec.all_finite(bytes.data(), 64));
}

}  // namespace
}  // namespace stepback::kernels::testing
