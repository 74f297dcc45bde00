// The manifest decodes to what was encoded, or not at all.
#include "server/store/manifest.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <random>
#include <string>

#include "server/base/crc32c.h"
#include "server/base/little_endian.h"
#include "server/store/snapshot_format.h"
#include "stepback/v1/durable.pb.h"

namespace stepback {
namespace {

using absl::StatusCode;
using testing::HasSubstr;

Manifest Example() {
  Manifest manifest;
  manifest.meta = {.generation = 7,
                   .term = 3,
                   .counter = 1234,
                   .label = "epoch-3",
                   .wall_nanos = -5,
                   .model_name = "lm",
                   .state = std::string("opaque\0bytes\xff", 13),
                   .arrays = {{"phi", 5000}, {"empty", 0}, {"m", 4096}}};
  manifest.files = {{8192 + 4096, {0x01020304}, std::string(16, 'h')}};
  return manifest;
}

// A body under a correct frame: what an attacker or a bug could write.
std::string Framed(const v1::SnapshotManifest& body) {
  std::string file(kManifestHeaderBytes, '\0');
  file.replace(0, 8, kManifestMagic, 8);
  const std::string bytes = body.SerializeAsString();
  StoreLittle32(kFormatVersion, file.data() + 8);
  StoreLittle64(bytes.size(), file.data() + 16);
  StoreLittle32(Crc32c(file.data(), 24), file.data() + 24);
  StoreLittle32(Crc32c(bytes.data(), bytes.size()), file.data() + 28);
  return file + bytes;
}

v1::SnapshotManifest Body(const std::string& file) {
  v1::SnapshotManifest body;
  EXPECT_TRUE(body.ParseFromString(file.substr(kManifestHeaderBytes)));
  return body;
}

TEST(Manifest, DecodesToWhatWasEncoded) {
  const Manifest example = Example();
  const auto decoded = DecodeManifest(EncodeManifest(example));
  ASSERT_TRUE(decoded.ok()) << decoded.status();
  EXPECT_EQ(decoded->meta.generation, 7u);
  EXPECT_EQ(decoded->meta.term, 3u);
  EXPECT_EQ(decoded->meta.counter, 1234u);
  EXPECT_EQ(decoded->meta.label, "epoch-3");
  EXPECT_EQ(decoded->meta.wall_nanos, -5);
  EXPECT_EQ(decoded->meta.model_name, "lm");
  EXPECT_EQ(decoded->meta.state, example.meta.state);
  EXPECT_EQ(decoded->meta.arrays, example.meta.arrays);
  EXPECT_EQ(decoded->files, example.files);
}

TEST(Manifest, NamesThatAreNotUtf8ComeBack) {
  Manifest example = Example();
  example.meta.model_name = example.meta.label = example.meta.arrays[0].name = "\xff\xfe\x80";
  const auto decoded = DecodeManifest(EncodeManifest(example));
  ASSERT_TRUE(decoded.ok());
  EXPECT_EQ(decoded->meta.model_name, "\xff\xfe\x80");
  EXPECT_EQ(decoded->meta.arrays[0].name, "\xff\xfe\x80");
}

TEST(Manifest, CutAnywhereItDoesNotDecode) {
  const std::string whole = EncodeManifest(Example());
  for (size_t size = 0; size < whole.size(); ++size) {
    ASSERT_EQ(DecodeManifest(whole.substr(0, size)).status().code(), StatusCode::kDataLoss) << size;
  }
  EXPECT_EQ(DecodeManifest(whole + '\0').status().code(), StatusCode::kDataLoss);
}

TEST(Manifest, WithAnyBitFlippedItDoesNotDecode) {
  const std::string whole = EncodeManifest(Example());
  for (size_t bit = 0; bit < whole.size() * 8; ++bit) {
    std::string damaged = whole;
    damaged[bit / 8] ^= static_cast<char>(1 << bit % 8);
    ASSERT_EQ(DecodeManifest(damaged).status().code(), StatusCode::kDataLoss) << bit;
  }
}

TEST(Manifest, RandomBytesDoNotDecode) {
  std::mt19937 random(5);
  const std::string whole = EncodeManifest(Example());
  for (int i = 0; i < 10'000; ++i) {
    std::string damaged = whole;
    for (int n = 0; n < 1 + i % 8; ++n) damaged[random() % damaged.size()] = static_cast<char>(random());
    ASSERT_TRUE(damaged == whole || !DecodeManifest(damaged).ok());
  }
}

TEST(Manifest, ANewerFormatIsRefusedAndNotTakenForDamage) {
  std::string file = EncodeManifest(Example());
  StoreLittle32(kFormatVersion + 1, file.data() + 8);
  StoreLittle32(Crc32c(file.data(), 24), file.data() + 24);
  EXPECT_EQ(DecodeManifest(file).status().code(), StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(DecodeManifest(file).status().message()), HasSubstr("format version 2"));
}

struct Lie {
  const char* name;
  std::function<void(v1::SnapshotManifest*)> tell;
  const char* message;
};

class ManifestLies : public testing::TestWithParam<Lie> {};

TEST_P(ManifestLies, AreFoundUnderACorrectChecksum) {
  v1::SnapshotManifest body = Body(EncodeManifest(Example()));
  ASSERT_TRUE(DecodeManifest(Framed(body)).ok());
  GetParam().tell(&body);
  const absl::Status status = DecodeManifest(Framed(body)).status();
  EXPECT_EQ(status.code(), StatusCode::kDataLoss);
  EXPECT_THAT(std::string(status.message()), HasSubstr(GetParam().message));
}

INSTANTIATE_TEST_SUITE_P(
    All, ManifestLies,
    testing::Values(
        Lie{"HugeArray", [](auto* m) { m->mutable_arrays(0)->set_bytes(1ull << 63); },
            "a snapshot has at most"},
        Lie{"ArraysThatWrapAround",
            [](auto* m) {
              for (int i = 0; i < 3; ++i) m->mutable_arrays(i)->set_bytes((1ull << 50) - 1);
            },
            "a snapshot has at most"},
        Lie{"LargerArray", [](auto* m) { m->mutable_arrays(0)->set_bytes(9000); }, "its arrays need"},
        Lie{"SameName", [](auto* m) { m->mutable_arrays(1)->set_name("phi"); }, "appears twice"},
        Lie{"NoName", [](auto* m) { m->mutable_arrays(1)->clear_name(); }, "expected 1..255"},
        Lie{"LongName", [](auto* m) { m->mutable_arrays(1)->set_name(std::string(256, 'a')); },
            "expected 1..255"},
        Lie{"LongLabel", [](auto* m) { m->set_label(std::string(256, 'a')); }, "label of 256 bytes"},
        Lie{"ManyArrays",
            [](auto* m) {
              for (int i = 0; i < 1024; ++i) m->add_arrays()->set_name(std::to_string(i));
            },
            "1027 arrays, at most 1024"},
        Lie{"FileSize", [](auto* m) { m->mutable_files(0)->set_bytes(8192); }, "data file 0 has 8192 bytes"},
        Lie{"ExtraFile", [](auto* m) { m->add_files(); }, "2 data files, its arrays need 1"},
        Lie{"NoFile", [](auto* m) { m->clear_files(); }, "0 data files"},
        Lie{"FewerChecksums", [](auto* m) { m->mutable_files(0)->clear_block_crc32c(); }, "has 0 checksums"},
        Lie{"MoreChecksums", [](auto* m) { m->mutable_files(0)->add_block_crc32c(0); }, "has 2 checksums"},
        Lie{"ShortHash", [](auto* m) { m->mutable_files(0)->set_hash128("h"); }, "hash of 1 bytes"}),
    [](const auto& info) { return info.param.name; });

TEST(Manifest, TheStreamPadsEveryArray) {
  EXPECT_EQ(StreamBytes({}), 0u);
  EXPECT_EQ(StreamBytes({{"a", 1}, {"b", 0}, {"c", 4096}, {"d", 4097}}), 4096u + 0 + 4096 + 8192);
}

TEST(Manifest, LargeSnapshotsHaveSeveralFiles) {
  Manifest manifest;
  manifest.meta.arrays = {{"phi", 2 * kFileBytes + 5}};
  const std::vector<uint32_t> crcs(kFileBytes / kBlockBytes);
  manifest.files = {{kFileBytes, crcs, std::string(16, 'a')},
                    {kFileBytes, crcs, std::string(16, 'b')},
                    {4096, {1}, std::string(16, 'c')}};
  EXPECT_TRUE(DecodeManifest(EncodeManifest(manifest)).ok());
  std::swap(manifest.files[1], manifest.files[2]);
  EXPECT_EQ(DecodeManifest(EncodeManifest(manifest)).status().code(), StatusCode::kDataLoss);
}

}  // namespace
}  // namespace stepback
