#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "server/base/crc32c.h"
#include "server/base/hash128.h"
#include "server/base/sha256.h"

namespace stepback {
namespace {

uint32_t CrcOf(const std::vector<uint8_t>& bytes) { return Crc32c(bytes.data(), bytes.size()); }

TEST(Crc32c, GivesTheVectorsOfRfc3720) {
  std::vector<uint8_t> rising(32), falling(32);
  std::iota(rising.begin(), rising.end(), 0);
  std::iota(falling.rbegin(), falling.rend(), 0);
  EXPECT_EQ(CrcOf(std::vector<uint8_t>(32, 0)), 0x8a9136aau);
  EXPECT_EQ(CrcOf(std::vector<uint8_t>(32, 0xff)), 0x62a8ab43u);
  EXPECT_EQ(CrcOf(rising), 0x46dd794eu);
  EXPECT_EQ(CrcOf(falling), 0x113fdb5cu);
  const std::string scsi_read = absl::HexStringToBytes(
      "01c000000000000000000000000000001400000000000400000000140000001828000000000000000200000000000000");
  ASSERT_EQ(scsi_read.size(), 48u);
  EXPECT_EQ(Crc32c(scsi_read.data(), scsi_read.size()), 0xd9963a56u);
  EXPECT_EQ(Crc32c("123456789", 9), 0xe3069283u);
}

// The definition, bit by bit.
uint32_t SlowCrc32c(const uint8_t* data, size_t size) {
  uint32_t crc = ~0u;
  for (size_t i = 0; i < size; ++i) {
    crc ^= data[i];
    for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
  }
  return ~crc;
}

TEST(Crc32c, EqualsTheDefinitionForEveryLengthAndAlignment) {
  std::mt19937 random(7);
  std::vector<uint8_t> bytes(700);
  for (uint8_t& byte : bytes) byte = random();
  for (size_t start = 0; start < 17; ++start) {
    for (size_t size = 0; size < 650; size += 1 + size / 40) {
      ASSERT_EQ(Crc32c(bytes.data() + start, size), SlowCrc32c(bytes.data() + start, size))
          << start << " " << size;
    }
  }
}

TEST(Crc32c, IsTheSameHoweverTheBytesAreCut) {
  std::mt19937 random(8);
  std::vector<uint8_t> bytes(10'000);
  for (uint8_t& byte : bytes) byte = random();
  const uint32_t whole = CrcOf(bytes);
  for (int round = 0; round < 100; ++round) {
    kernels::EncodedView view;
    for (size_t at = 0; at < bytes.size();) {
      const size_t size = std::min<size_t>(random() % 3000, bytes.size() - at);
      view.Append({reinterpret_cast<const std::byte*>(bytes.data()) + at, size});
      at += size;
    }
    ASSERT_EQ(Crc32c(view), whole);
  }
}

TEST(Sha256, GivesTheVectorsOfFips180) {
  EXPECT_EQ(absl::BytesToHexString(Sha256Of("abc")),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(absl::BytesToHexString(Sha256Of("")),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  Sha256 pieces;
  for (int i = 0; i < 1'000'000; ++i) pieces.Update("a");
  EXPECT_EQ(absl::BytesToHexString(pieces.Finish()),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(Hash128, GivesTheValuesOfXxh3) {
  EXPECT_EQ(absl::BytesToHexString(Hash128Of("")), "99aa06d3014798d86001c324468d497f");
}

TEST(Hash128, IsTheSameHoweverTheBytesAreCut) {
  std::mt19937 random(9);
  std::string bytes(20'000, '\0');
  for (char& c : bytes) c = static_cast<char>(random());
  const std::string whole = Hash128Of(bytes);
  EXPECT_EQ(whole.size(), 16u);
  for (int round = 0; round < 100; ++round) {
    Hash128 hash;
    for (size_t at = 0; at < bytes.size();) {
      const size_t size = std::min<size_t>(random() % 5000, bytes.size() - at);
      hash.Update(bytes.data() + at, size);
      at += size;
    }
    ASSERT_EQ(hash.Value(), whole);
  }
}

TEST(Hash128, ValueMayBeTakenOnTheWayAndResetStartsAgain) {
  Hash128 hash;
  hash.Update("step");
  EXPECT_EQ(hash.Value(), Hash128Of("step"));
  hash.Update("back");
  EXPECT_EQ(hash.Value(), Hash128Of("stepback"));
  hash.Reset();
  EXPECT_EQ(hash.Value(), Hash128Of(""));
}

TEST(Hash128, OneBitChangesIt) {
  std::string bytes(1000, 'x');
  const std::string before = Hash128Of(bytes);
  for (size_t i = 0; i < bytes.size(); ++i) {
    bytes[i] ^= 1;
    ASSERT_NE(Hash128Of(bytes), before);
    bytes[i] ^= 1;
  }
}

}  // namespace
}  // namespace stepback
