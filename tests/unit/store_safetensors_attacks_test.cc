// Files that lie. Each attack keeps what it tries and what stops it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <random>
#include <string>

#include "server/base/little_endian.h"
#include "server/store/safetensors_header.h"
#include "server/store/safetensors_reader.h"

namespace stepback {
namespace {

using absl::StatusCode;
using testing::HasSubstr;

struct NoSink final : SafetensorsReader::Sink {
  absl::Status OnHeader(const SafetensorsHeader&) override { return ++headers, absl::OkStatus(); }
  absl::Status OnData(const SafetensorsTensor&, uint64_t, std::span<const std::byte> bytes) override {
    return data_bytes += bytes.size(), absl::OkStatus();
  }
  int headers = 0;
  uint64_t data_bytes = 0;
};

std::string FileOf(const std::string& json, size_t data_bytes) {
  std::string file(8, '\0');
  StoreLittle64(json.size(), file.data());
  return file + json + std::string(data_bytes, 'd');
}

absl::Status ReadAll(const std::string& file, NoSink* sink, const SafetensorsReader::Limits& limits = {}) {
  SafetensorsReader reader(sink, limits);
  if (absl::Status status = reader.Feed(std::as_bytes(std::span(file))); !status.ok()) return status;
  return reader.Finish();
}

struct Attack {
  const char* name;
  std::string json;
  const char* stopped_by;
};

std::string Nested(const std::string& open, int depth) {
  std::string json = R"({"w":)";
  for (int i = 0; i < depth; ++i) json += open;
  return json;
}

std::string Ones(int count) {
  std::string list = "1";
  for (int i = 1; i < count; ++i) list += ",1";
  return list;
}

class HeaderAttack : public testing::TestWithParam<Attack> {};

TEST_P(HeaderAttack, IsRefusedBeforeAnyData) {
  for (size_t data_bytes : {size_t{0}, size_t{8}, size_t{64}}) {
    NoSink sink;
    const absl::Status status = ReadAll(FileOf(GetParam().json, data_bytes), &sink);
    ASSERT_EQ(status.code(), StatusCode::kInvalidArgument) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(GetParam().stopped_by));
    EXPECT_EQ(sink.headers, 0);
    EXPECT_LT(status.message().size(), 400u) << "an error message is no place for a file's contents";
  }
}

INSTANTIATE_TEST_SUITE_P(
    Json, HeaderAttack,
    testing::Values(
        Attack{"NotJson", "{hello}", "not JSON"}, Attack{"AnArray", "[]", "does not start with '{'"},
        Attack{"LeadingSpace", " {}", "does not start with '{'"},
        Attack{"ByteOrderMark", "\xef\xbb\xbf{}", "does not start"},
        Attack{"Unfinished", R"({"w":{"dtype":"F32")", "not JSON"}, Attack{"SecondValue", "{}{}", "not JSON"},
        Attack{"TrailingNul", std::string("{}\0", 3), "zero byte"},
        Attack{"HiddenBehindNul", std::string("{}\0,\"w\":1}", 10), "zero byte"},
        Attack{"NotUtf8", "{\"\xff\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}", "not JSON"},
        Attack{"DeepArrays", Nested("[", 1'000'000), "did not expect an array"},
        Attack{"DeepObjects", Nested(R"({"w":)", 1'000'000), "unknown or appears twice"},
        Attack{"DeepShape", R"({"w":{"shape":[[1]]}})", "did not expect an array"},
        Attack{"DeepMetadata", R"({"__metadata__":{"k":{"k":"v"}}})", "did not expect an object"},
        Attack{"MetadataNumber", R"({"__metadata__":{"k":1}})", "did not expect a number"},
        Attack{"MetadataNull", R"({"__metadata__":null})", "did not expect null"},
        Attack{"MetadataTwice", R"({"__metadata__":{},"__metadata__":{}})", "appears twice"},
        Attack{"MetadataKeyTwice", R"({"__metadata__":{"k":"1","k":"2"}})", "metadata 'k' appears twice"},
        Attack{"TensorIsANumber", R"({"w":1})", "did not expect a number"},
        Attack{"TensorIsAString", R"({"w":"F32"})", "did not expect a string"}),
    [](const auto& info) { return info.param.name; });

INSTANTIATE_TEST_SUITE_P(
    Fields, HeaderAttack,
    testing::Values(
        Attack{
            "TensorTwice",
            R"({"w":{"dtype":"U8","shape":[8],"data_offsets":[0,8]},"w":{"dtype":"U8","shape":[8],"data_offsets":[0,8]}})",
            "tensor 'w' appears twice"},
        Attack{
            "TensorTwiceByEscape",
            R"({"w":{"dtype":"U8","shape":[8],"data_offsets":[0,8]},"\u0077":{"dtype":"U8","shape":[0],"data_offsets":[8,8]}})",
            "tensor 'w' appears twice"},
        Attack{"FieldTwice", R"({"w":{"dtype":"U8","dtype":"F32","shape":[8],"data_offsets":[0,8]}})",
               "field 'dtype'"},
        Attack{"ShapeTwice", R"({"w":{"dtype":"U8","shape":[8],"shape":[1],"data_offsets":[0,8]}})",
               "field 'shape'"},
        Attack{"UnknownField",
               R"({"w":{"dtype":"U8","shape":[8],"data_offsets":[0,8],"file":"/etc/passwd"}})",
               "field 'file'"},
        Attack{"NoDtype", R"({"w":{"shape":[8],"data_offsets":[0,8]}})",
               "needs dtype, shape and data_offsets"},
        Attack{"NoShape", R"({"w":{"dtype":"U8","data_offsets":[0,8]}})",
               "needs dtype, shape and data_offsets"},
        Attack{"NoOffsets", R"({"w":{"dtype":"U8","shape":[8]}})", "needs dtype, shape and data_offsets"},
        Attack{"EmptyTensor", R"({"w":{}})", "needs dtype, shape and data_offsets"},
        Attack{"UnknownDtype", R"({"w":{"dtype":"F128","shape":[8],"data_offsets":[0,8]}})",
               "unknown dtype 'F128'"},
        Attack{"DtypeNumber", R"({"w":{"dtype":4,"shape":[8],"data_offsets":[0,8]}})",
               "did not expect a number"},
        Attack{"OneOffset", R"({"w":{"dtype":"U8","shape":[8],"data_offsets":[0]}})",
               "data_offsets has 1 numbers"},
        Attack{"ThreeOffsets", R"({"w":{"dtype":"U8","shape":[8],"data_offsets":[0,8,8]}})",
               "more than 2 numbers"},
        Attack{"NegativeDimension", R"({"w":{"dtype":"U8","shape":[-8],"data_offsets":[0,8]}})",
               "a negative number"},
        Attack{"NegativeOffset", R"({"w":{"dtype":"U8","shape":[8],"data_offsets":[-8,0]}})",
               "a negative number"},
        Attack{"FloatDimension", R"({"w":{"dtype":"U8","shape":[8.0],"data_offsets":[0,8]}})",
               "no 64-bit integer"},
        Attack{"DimensionBeyond64Bits",
               R"({"w":{"dtype":"U8","shape":[18446744073709551616],"data_offsets":[0,8]}})",
               "no 64-bit integer"},
        Attack{"ManyDimensions",
               R"({"w":{"dtype":"U8","shape":[)" + Ones(100'000) + R"(],"data_offsets":[0,1]}})",
               "more than 64 dimensions"}),
    [](const auto& info) { return info.param.name; });

INSTANTIATE_TEST_SUITE_P(
    Arithmetic, HeaderAttack,
    testing::Values(
        Attack{"SizeOverflows",
               R"({"w":{"dtype":"F32","shape":[9223372036854775808,2],"data_offsets":[0,0]}})", "overflows"},
        Attack{"SizeOverflowsByDtype",
               R"({"w":{"dtype":"F64","shape":[2305843009213693952],"data_offsets":[0,0]}})", "overflows"},
        Attack{"OverflowHiddenBehindZero",
               R"({"w":{"dtype":"U8","shape":[18446744073709551615,2,0],"data_offsets":[0,0]}})",
               "overflows"},
        Attack{
            "EndBeforeBegin",
            R"({"w":{"dtype":"U8","shape":[8],"data_offsets":[0,0]},"v":{"dtype":"U8","shape":[8],"data_offsets":[8,0]}})",
            "offsets [0, 0], dtype and shape need 8 bytes"},
        Attack{"WrongSize", R"({"w":{"dtype":"F32","shape":[1],"data_offsets":[0,8]}})", "need 4 bytes"},
        Attack{"HugeClaim", R"({"w":{"dtype":"U8","shape":[9223372036854775807],"data_offsets":[0,8]}})",
               "need 9223372036854775807 bytes"},
        Attack{"HoleAtTheStart", R"({"w":{"dtype":"U8","shape":[4],"data_offsets":[4,8]}})", "leaves a hole"},
        Attack{
            "HoleInTheMiddle",
            R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[6,8]}})",
            "leaves a hole after the tensor before it: starts at 6, expected 2"},
        Attack{
            "Overlap",
            R"({"a":{"dtype":"U8","shape":[6],"data_offsets":[0,6]},"b":{"dtype":"U8","shape":[4],"data_offsets":[4,8]}})",
            "overlaps the tensor before it: starts at 4, expected 6"},
        Attack{
            "SameBytesTwice",
            R"({"a":{"dtype":"U8","shape":[8],"data_offsets":[0,8]},"b":{"dtype":"U8","shape":[8],"data_offsets":[0,8]}})",
            "overlaps"},
        Attack{
            "EmptyTensorInsideAnother",
            R"({"a":{"dtype":"U8","shape":[8],"data_offsets":[0,8]},"b":{"dtype":"U8","shape":[0],"data_offsets":[4,4]}})",
            "overlaps"}),
    [](const auto& info) { return info.param.name; });

TEST(SafetensorsAttack, ALengthThatLiesAllocatesNothing) {
  for (uint64_t length :
       {uint64_t{0}, uint64_t{100'000'001}, uint64_t{1} << 32, uint64_t{1} << 63, ~uint64_t{0}}) {
    std::string file(8, '\0');
    StoreLittle64(length, file.data());
    NoSink sink;
    EXPECT_EQ(ReadAll(file + "{}", &sink).code(), StatusCode::kInvalidArgument) << length;
  }
}

TEST(SafetensorsAttack, ALengthWithinTheLimitCostsOnlyWhatArrives) {
  const auto resident_kb = [] {
    rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_maxrss;
  };
  std::string file(8, '\0');
  StoreLittle64(100'000'000, file.data());
  const long before = resident_kb();
  for (int i = 0; i < 100; ++i) {
    NoSink sink;
    ASSERT_THAT(std::string(ReadAll(file + "{", &sink).message()), HasSubstr("ends inside the header"));
  }
  EXPECT_LT(resident_kb() - before, 4096);
}

TEST(SafetensorsAttack, LimitsOfTheCallerHold) {
  const std::string json = R"({"w":{"dtype":"U8","shape":[8],"data_offsets":[0,8]}})";
  NoSink sink;
  EXPECT_EQ(ReadAll(FileOf(json, 8), &sink, {.header_bytes_max = json.size() - 1}).code(),
            StatusCode::kInvalidArgument);
  EXPECT_EQ(ReadAll(FileOf(json, 8), &sink, {.data_bytes_max = 7}).code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(sink.headers, 0);
  EXPECT_TRUE(ReadAll(FileOf(json, 8), &sink, {.header_bytes_max = json.size(), .data_bytes_max = 8}).ok());
}

TEST(SafetensorsAttack, MoreOrLessDataThanTheHeaderSays) {
  const std::string json = R"({"w":{"dtype":"U8","shape":[8],"data_offsets":[0,8]}})";
  for (size_t data_bytes = 0; data_bytes < 20; ++data_bytes) {
    NoSink sink;
    const absl::Status status = ReadAll(FileOf(json, data_bytes), &sink);
    EXPECT_EQ(status.ok(), data_bytes == 8) << data_bytes;
    EXPECT_LE(sink.data_bytes, 8u);
  }
}

TEST(SafetensorsAttack, TheFirstErrorStays) {
  NoSink sink;
  SafetensorsReader reader(&sink, {});
  const std::string bad = FileOf("{hello}", 0), good = FileOf("{}", 0);
  const absl::Status first = reader.Feed(std::as_bytes(std::span(bad)));
  EXPECT_EQ(reader.Feed(std::as_bytes(std::span(good))), first);
  EXPECT_EQ(reader.Finish(), first);
}

TEST(SafetensorsAttack, TensorsMayComeInAnyOrderAndEmptyOnesAnywhereBetween) {
  NoSink sink;
  EXPECT_TRUE(
      ReadAll(
          FileOf(
              R"({"b":{"dtype":"U8","shape":[4],"data_offsets":[4,8]},"e":{"dtype":"F32","shape":[0],"data_offsets":[4,4]},)"
              R"("a":{"data_offsets":[0,4],"shape":[2,2],"dtype":"I8"},"z":{"dtype":"F32","shape":[3,0],"data_offsets":[8,8]}})",
              8),
          &sink)
          .ok());
  EXPECT_EQ(sink.data_bytes, 8u);
}

// Whatever is read without an error tiles its data: checked on mutations of a good header.
TEST(SafetensorsAttack, RandomMutationsAreRefusedOrStillTile) {
  const std::string good =
      R"({"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},)"
      R"("b":{"dtype":"U8","shape":[5],"data_offsets":[24,29]}})";
  std::mt19937 random(17);
  int accepted = 0;
  for (int i = 0; i < 200'000; ++i) {
    std::string json = good;
    for (int edits = 1 + random() % 3; edits > 0; --edits) {
      const size_t at = random() % json.size();
      switch (random() % 4) {
        case 0:
          json[at] = static_cast<char>(random());
          break;
        case 1:
          json[at] = "0123456789{}[]\",:"[random() % 17];
          break;
        case 2:
          json.erase(at, 1 + random() % 4);
          break;
        default:
          json.insert(at, json.substr(random() % json.size(), random() % 20));
          break;
      }
      if (json.empty()) json = "{";
    }
    const auto header = DecodeSafetensorsHeader(json);
    if (!header.ok()) continue;
    ++accepted;
    uint64_t next = 0;
    for (const SafetensorsTensor& tensor : header->tensors) {
      uint64_t bytes = BytesOf(tensor.dtype);
      for (const uint64_t dimension : tensor.shape) bytes *= dimension;
      ASSERT_EQ(tensor.begin, next) << json;
      ASSERT_EQ(tensor.bytes(), bytes) << json;
      next = tensor.end;
    }
    ASSERT_EQ(header->data_bytes, next) << json;
  }
  EXPECT_GT(accepted, 1000);
}

}  // namespace
}  // namespace stepback
