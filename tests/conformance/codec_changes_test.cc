// The lossless difference of two bf16 forms against golden bytes that another language made, and against
// peers that follow no rule.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <random>
#include <sstream>

#include "kernels/codecs/bf16_changes.h"
#include "tests/conformance/json.h"
#include "tests/conformance/scenario.h"

namespace stepback::kernels::testing {
namespace {

constexpr uint32_t kSeed = 9;

struct ChangesCase {
  std::string name, hex;
  std::vector<uint16_t> before, after;
};

std::vector<uint16_t> CodesOf(const Json& numbers) {
  std::vector<uint16_t> codes;
  for (const Json& number : numbers.array()) codes.push_back(static_cast<uint16_t>(number.number()));
  return codes;
}

std::vector<ChangesCase> ChangesCases() {
  std::ostringstream text;
  text << std::ifstream(std::filesystem::path(STEPBACK_GOLDEN_DIR) / "codecs/lossless_bf16.json").rdbuf();
  std::vector<ChangesCase> cases;
  const Json golden = JsonReader(text.str()).Read();
  for (const Json& each : golden["cases"].array()) {
    cases.push_back(
        {each["case"].string(), each["bytes"].string(), CodesOf(each["before"]), CodesOf(each["after"])});
  }
  return cases;
}

const std::byte* BytesOfCodes(const std::vector<uint16_t>& codes) {
  return reinterpret_cast<const std::byte*>(codes.data());
}

std::string HexOf(const Bytes& bytes) {
  std::string hex;
  for (const std::byte b : bytes) {
    for (const unsigned half : {std::to_integer<unsigned>(b) >> 4, std::to_integer<unsigned>(b) & 15}) {
      hex += "0123456789abcdef"[half];
    }
  }
  return hex;
}

// Every block of a tensor, one after another.
Bytes StoreAll(const ChangesCase& golden) {
  Bytes bytes;
  for (size_t at = 0; at < golden.after.size(); at += kChangeBlock) {
    const size_t n = std::min(kChangeBlock, golden.after.size() - at), used = bytes.size();
    bytes.resize(used + ChangeBytesMax(n));
    bytes.resize(used + StoreChanges(BytesOfCodes(golden.before) + 2 * at,
                                     BytesOfCodes(golden.after) + 2 * at, n, bytes.data() + used));
  }
  return bytes;
}

TEST(Bf16Changes, AreTheBytesOfTheOtherLanguage) {
  ASSERT_GE(ChangesCases().size(), 8u);
  for (const ChangesCase& golden : ChangesCases())
    EXPECT_EQ(HexOf(StoreAll(golden)), golden.hex) << golden.name;
}

TEST(Bf16Changes, TurnTheOldFormIntoTheNewOne) {
  for (const ChangesCase& golden : ChangesCases()) {
    const Bytes bytes = StoreAll(golden);
    size_t used = 0;
    for (size_t at = 0; at < golden.after.size(); at += kChangeBlock) {
      const size_t n = std::min(kChangeBlock, golden.after.size() - at);
      const std::byte* const block = bytes.data() + used;
      EXPECT_TRUE(ChangesAreSound(block, n)) << golden.name;
      std::vector<uint32_t> codes(golden.before.begin() + at, golden.before.begin() + at + n);
      ForChanges(block, n, [&](size_t i, float x) { codes.at(i) = BitsAs<uint32_t>(x) >> 16; });
      EXPECT_TRUE(std::equal(codes.begin(), codes.end(), golden.after.begin() + at)) << golden.name;
      used += ChangeBytes(n, LoadAs<uint16_t>(block));
    }
    EXPECT_EQ(used, bytes.size()) << golden.name;
  }
}

// Whatever a peer sends: what is called sound changes as many elements as it says, each inside the block.
TEST(Bf16Changes, OfAPeerThatFollowsNoRuleAreSoundOrRefused) {
  std::mt19937 random(kSeed);
  size_t sound = 0, refused = 0;
  for (int round = 0; round < 20'000; ++round) {
    const size_t n = 1 + random() % (round % 50 == 0 ? 4096 : 24);
    const size_t count = random() % (n + 3);
    Bytes block(ChangeBytesMax(n) + 2 * 3 + 8);
    for (std::byte& b : block) b = static_cast<std::byte>(random() & random());
    StoreAs(block.data(), static_cast<uint16_t>(count));
    if (!ChangesAreSound(block.data(), n)) {
      ++refused;
      continue;
    }
    ++sound;
    ASSERT_LE(count, n);
    size_t changes = 0, next = 0;
    ForChanges(block.data(), n, [&](size_t i, float) {
      ASSERT_GE(i, next) << "seed " << kSeed << " round " << round;
      ASSERT_LT(i, n) << "seed " << kSeed << " round " << round;
      next = i + 1;
      ++changes;
    });
    ASSERT_EQ(changes, count) << "seed " << kSeed << " round " << round;
  }
  EXPECT_GT(sound, 1000u);
  EXPECT_GT(refused, 1000u);
}

}  // namespace
}  // namespace stepback::kernels::testing
