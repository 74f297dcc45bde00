// Files that are right: written, read back whatever the pieces, and read by an independent JSON parser.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

#include "server/base/little_endian.h"
#include "server/store/safetensors_header.h"
#include "server/store/safetensors_reader.h"
#include "server/store/safetensors_writer.h"
#include "tests/fakes/file_system.h"

namespace stepback {
namespace {

using absl::StatusCode;
using testing::ElementsAre;
using testing::HasSubstr;

std::span<const std::byte> Bytes(const std::string& text) { return std::as_bytes(std::span(text)); }

std::vector<SafetensorsTensor> ExampleTensors() {
  return {{"layer.weight", SafetensorsDtype::kF32, {3, 5}},
          {"odd", SafetensorsDtype::kU8, {7}},
          {"steps", SafetensorsDtype::kI64, {}},
          {"half", SafetensorsDtype::kBf16, {3}},
          {"nothing", SafetensorsDtype::kF16, {4, 0, 2}},
          {"größe \"1\"\n", SafetensorsDtype::kF64, {1}}};
}

std::string Write(const SafetensorsHeader& header, const std::string& data, size_t piece_bytes) {
  std::string file;
  SafetensorsWriter writer(header, [&](std::span<const std::byte> bytes) {
    file.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    return absl::OkStatus();
  });
  for (size_t at = 0; at < data.size(); at += piece_bytes)
    EXPECT_TRUE(writer.Write(Bytes(data.substr(at, piece_bytes))).ok());
  EXPECT_TRUE(writer.Finish().ok());
  return file;
}

struct Collector final : SafetensorsReader::Sink {
  absl::Status OnHeader(const SafetensorsHeader& h) override {
    header = h;
    return absl::OkStatus();
  }
  absl::Status OnData(const SafetensorsTensor& tensor, uint64_t offset,
                      std::span<const std::byte> bytes) override {
    EXPECT_EQ(offset, data[tensor.name].size());
    data[tensor.name].append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    return absl::OkStatus();
  }
  SafetensorsHeader header;
  std::map<std::string, std::string> data;
};

std::string RandomBytes(size_t count, uint32_t seed) {
  std::mt19937 random(seed);
  std::string bytes(count, '\0');
  for (char& c : bytes) c = static_cast<char>(random());
  return bytes;
}

TEST(Safetensors, EveryTensorIsAlignedToItsElementAndTheHeaderToEightBytes) {
  const auto header = LayOutSafetensors(ExampleTensors(), {{"format", "pt"}});
  ASSERT_TRUE(header.ok()) << header.status();
  std::vector<std::string> order;
  for (const SafetensorsTensor& tensor : header->tensors) {
    order.push_back(tensor.name);
    EXPECT_EQ(tensor.begin % BytesOf(tensor.dtype), 0u) << tensor.name;
  }
  EXPECT_THAT(order, ElementsAre("steps", "größe \"1\"\n", "layer.weight", "half", "nothing", "odd"));
  EXPECT_EQ(header->data_bytes, 8u + 8 + 60 + 6 + 0 + 7);
  EXPECT_EQ(EncodeSafetensorsHeader(*header).size() % 8, 0u);
}

TEST(Safetensors, TheHeaderIsTheJsonOfTheFormat) {
  const auto header = LayOutSafetensors(ExampleTensors(), {{"format", "pt"}, {"stepback.version", "1/5"}});
  const std::string start = EncodeSafetensorsHeader(*header);
  EXPECT_EQ(LoadLittle64(start.data()), start.size() - 8);
  const auto json = nlohmann::json::parse(start.substr(8));
  EXPECT_EQ(json.size(), 7u);
  EXPECT_EQ(json["__metadata__"], (nlohmann::json{{"format", "pt"}, {"stepback.version", "1/5"}}));
  EXPECT_EQ(json["layer.weight"]["dtype"], "F32");
  EXPECT_EQ(json["layer.weight"]["shape"], (nlohmann::json{3, 5}));
  EXPECT_EQ(json["layer.weight"]["data_offsets"], (nlohmann::json{16, 76}));
  EXPECT_EQ(json["steps"]["shape"], nlohmann::json::array());
  EXPECT_EQ(json["größe \"1\"\n"]["dtype"], "F64");
}

TEST(Safetensors, WhatIsWrittenIsReadWhateverThePieces) {
  const auto header = LayOutSafetensors(ExampleTensors(), {{"format", "pt"}});
  const std::string data = RandomBytes(header->data_bytes, 1);
  const std::string file = Write(*header, data, 13);
  for (size_t piece = 1; piece < file.size() + 2; ++piece) {
    Collector collector;
    SafetensorsReader reader(&collector, {});
    for (size_t at = 0; at < file.size(); at += piece)
      ASSERT_TRUE(reader.Feed(Bytes(file.substr(at, piece))).ok());
    ASSERT_TRUE(reader.Finish().ok());
    EXPECT_EQ(collector.header, *header);
    for (const SafetensorsTensor& tensor : header->tensors) {
      ASSERT_EQ(collector.data[tensor.name], data.substr(tensor.begin, tensor.bytes())) << tensor.name;
    }
  }
}

TEST(Safetensors, AnEmptyFileOfTensorsIsAFile) {
  const auto header = LayOutSafetensors({}, {});
  ASSERT_TRUE(header.ok());
  const std::string file = Write(*header, "", 1);
  EXPECT_EQ(file, std::string("\x08\0\0\0\0\0\0\0{}      ", 16));
  Collector collector;
  SafetensorsReader reader(&collector, {});
  EXPECT_TRUE(reader.Feed(Bytes(file)).ok());
  EXPECT_TRUE(reader.Finish().ok());
}

TEST(Safetensors, EveryDtypeHasANameAndASizeThatComeBack) {
  const std::map<std::string, size_t> sizes = {
      {"BOOL", 1}, {"U8", 1},  {"I8", 1},  {"F8_E5M2", 1}, {"F8_E4M3", 1}, {"I16", 2}, {"U16", 2}, {"F16", 2},
      {"BF16", 2}, {"I32", 4}, {"U32", 4}, {"F32", 4},     {"I64", 8},     {"U64", 8}, {"F64", 8}};
  for (const auto& [name, bytes] : sizes) {
    const auto dtype = SafetensorsDtypeNamed(name);
    ASSERT_TRUE(dtype.has_value()) << name;
    EXPECT_EQ(NameOf(*dtype), name);
    EXPECT_EQ(BytesOf(*dtype), bytes);
  }
  for (const char* name : {"", "f32", "F4", "F32 ", "I128"})
    EXPECT_FALSE(SafetensorsDtypeNamed(name).has_value()) << name;
}

TEST(Safetensors, AHundredThousandTensorsLayOutAndReadFast) {
  std::vector<SafetensorsTensor> tensors;
  for (int i = 0; i < 100'000; ++i)
    tensors.push_back({"blocks." + std::to_string(i), SafetensorsDtype::kF32, {1}});
  const auto header = LayOutSafetensors(tensors, {});
  ASSERT_TRUE(header.ok());
  const auto again = DecodeSafetensorsHeader(EncodeSafetensorsHeader(*header).substr(8));
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(*again, *header);
}

TEST(SafetensorsWriter, RefusesMoreAndMissesLess) {
  const auto header = LayOutSafetensors({{"w", SafetensorsDtype::kF32, {2}}}, {});
  SafetensorsWriter writer(*header, [](std::span<const std::byte>) { return absl::OkStatus(); });
  EXPECT_TRUE(writer.Write(Bytes("1234")).ok());
  EXPECT_EQ(writer.Finish().code(), StatusCode::kFailedPrecondition);
  EXPECT_EQ(writer.Write(Bytes("12345")).code(), StatusCode::kInvalidArgument);
  EXPECT_TRUE(writer.Write(Bytes("5678")).ok());
  EXPECT_TRUE(writer.Finish().ok());
}

TEST(SafetensorsWriter, TheOutputsErrorIsTheWritersError) {
  const auto header = LayOutSafetensors({{"w", SafetensorsDtype::kF32, {1}}}, {});
  SafetensorsWriter writer(*header,
                           [](std::span<const std::byte>) { return absl::ResourceExhaustedError("full"); });
  EXPECT_EQ(writer.Write(Bytes("1234")).code(), StatusCode::kResourceExhausted);
}

TEST(Safetensors, LayoutRefusesWhatNoFileCanHold) {
  const auto code = [](std::vector<SafetensorsTensor> tensors,
                       std::map<std::string, std::string> metadata = {}) {
    return LayOutSafetensors(std::move(tensors), std::move(metadata)).status().code();
  };
  EXPECT_EQ(code({{"a"}, {"a"}}), StatusCode::kInvalidArgument);
  EXPECT_EQ(code({{"__metadata__"}}), StatusCode::kInvalidArgument);
  EXPECT_EQ(code({{"\xff"}}), StatusCode::kInvalidArgument);
  EXPECT_EQ(code({{"a"}}, {{"k", "\xc3"}}), StatusCode::kInvalidArgument);
  EXPECT_EQ(code({{"a", SafetensorsDtype::kF32, {1ull << 62}}}), StatusCode::kInvalidArgument);
  EXPECT_EQ(code({{"a", SafetensorsDtype::kU8, {UINT64_MAX}}, {"b", SafetensorsDtype::kU8, {1}}}),
            StatusCode::kInvalidArgument);
  EXPECT_EQ(code({{"a", SafetensorsDtype::kU8, std::vector<uint64_t>(65, 1)}}), StatusCode::kInvalidArgument);
  EXPECT_EQ(code({}, {{"k", std::string(kSafetensorsHeaderBytesMax, 'v')}}), StatusCode::kInvalidArgument);
}

class SafetensorsFile : public testing::Test {
 protected:
  absl::Status Read(const std::string& contents) {
    EXPECT_TRUE(fs_.OpenForWrite("/w.safetensors", WriteMode::kTruncate).ok());
    fs_.SetContents("/w.safetensors", contents);
    return ReadSafetensorsFile(&fs_, "/w.safetensors", &collector_, {});
  }
  FakeFileSystem fs_;
  Collector collector_;
};

TEST_F(SafetensorsFile, IsReadInPiecesAndWhole) {
  const auto header = LayOutSafetensors({{"w", SafetensorsDtype::kF32, {1'000'000}}}, {});
  const std::string data = RandomBytes(header->data_bytes, 3);
  ASSERT_TRUE(Read(Write(*header, data, 65536)).ok());
  EXPECT_EQ(collector_.data["w"], data);
}

TEST_F(SafetensorsFile, CutShortIsAnError) {
  const auto header = LayOutSafetensors({{"w", SafetensorsDtype::kF32, {10}}}, {});
  const std::string file = Write(*header, RandomBytes(40, 3), 40);
  for (size_t size = 0; size < file.size(); ++size) {
    collector_.data.clear();
    ASSERT_EQ(Read(file.substr(0, size)).code(), StatusCode::kInvalidArgument) << size;
  }
}

TEST_F(SafetensorsFile, MissingIsNotFound) {
  EXPECT_EQ(ReadSafetensorsFile(&fs_, "/none", &collector_, {}).code(), StatusCode::kNotFound);
}

}  // namespace
}  // namespace stepback
