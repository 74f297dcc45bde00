#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "server/base/errors.h"
#include "server/base/pool.h"
#include "server/rpc/export_source.h"
#include "server/rpc/float_convert.h"
#include "server/rpc/import_sink.h"
#include "server/rpc/tensor_file.h"
#include "tests/fakes/engine.h"

namespace stepback {
namespace {

// IEEE 754-2008 section 3.4, by the definition.
double HalfByDefinition(uint16_t bits) {
  const int sign = bits >> 15 ? -1 : 1, exponent = (bits >> 10) & 31, fraction = bits & 1023;
  if (exponent == 31) return fraction == 0 ? sign * std::numeric_limits<double>::infinity() : std::nan("");
  if (exponent == 0) return sign * std::ldexp(fraction / 1024.0, -14);
  return sign * std::ldexp(1 + fraction / 1024.0, exponent - 15);
}

TEST(FloatFromHalf, IsExactForEveryHalf) {
  for (uint32_t bits = 0; bits < 65'536; ++bits) {
    const float actual = FloatFromHalf(static_cast<uint16_t>(bits));
    const double expected = HalfByDefinition(static_cast<uint16_t>(bits));
    if (std::isnan(expected)) {
      ASSERT_TRUE(std::isnan(actual)) << bits;
    } else {
      ASSERT_EQ(actual, expected) << bits;
      ASSERT_EQ(std::signbit(actual), bits >> 15 != 0) << bits;
    }
  }
}

ModelSpec MixedSpec() {
  ModelSpec spec;
  spec.name = "mixed";
  spec.tensors = {{.name = "w", .shape = {3, 5}},
                  {.name = "half", .shape = {7}, .dtype = DataType::kF16},
                  {.name = "steps", .shape = {}, .dtype = DataType::kI64, .role = Role::kCarried},
                  {.name = "flags", .shape = {3}, .dtype = DataType::kBool, .role = Role::kCarried},
                  {.name = "mean", .shape = {2}, .dtype = DataType::kF64, .role = Role::kAveraged},
                  {.name = "empty", .shape = {0, 4}}};
  return spec;
}

template <typename T>
void Put(std::string* bytes, T value) {
  bytes->append(reinterpret_cast<const char*>(&value), sizeof value);
}

// A file of MixedSpec with `w` as F64, `half` as F16, `mean` as BF16; and the dense form it stands for.
struct MixedFile {
  std::string bytes;
  std::string dense;
};
MixedFile MakeMixedFile(float w3 = 3.25f) {
  std::vector<SafetensorsTensor> tensors = {
      {.name = "w", .dtype = SafetensorsDtype::kF64, .shape = {3, 5}},
      {.name = "half", .dtype = SafetensorsDtype::kF16, .shape = {7}},
      {.name = "steps", .dtype = SafetensorsDtype::kI64},
      {.name = "flags", .dtype = SafetensorsDtype::kBool, .shape = {3}},
      {.name = "mean", .dtype = SafetensorsDtype::kBf16, .shape = {2}},
      {.name = "empty", .dtype = SafetensorsDtype::kF32, .shape = {0, 4}}};
  const SafetensorsHeader header = *LayOutSafetensors(tensors, {});
  std::map<std::string, std::string> data;
  MixedFile file;
  for (int i = 0; i < 15; ++i) {
    const float value = i == 3 ? w3 : 0.1f * static_cast<float>(i);
    Put<double>(&data["w"], value);
    Put<float>(&file.dense, value);
  }
  for (int i = 0; i < 7; ++i) {
    Put<uint16_t>(&data["half"], static_cast<uint16_t>(0x3c00 + i));
    Put<float>(&file.dense, static_cast<float>(1 + i / 1024.0));
  }
  Put<int64_t>(&data["steps"], -7);
  Put<int64_t>(&file.dense, -7);
  data["flags"] = std::string("\x01\x00\x01", 3);
  file.dense += data["flags"];
  for (const uint16_t bits : {0x3f80, 0xc000}) {
    Put<uint16_t>(&data["mean"], bits);
    Put<float>(&file.dense, std::bit_cast<float>(uint32_t{bits} << 16));
  }
  file.bytes = EncodeSafetensorsHeader(header);
  for (const SafetensorsTensor& tensor : header.tensors) file.bytes += data[tensor.name];
  return file;
}

std::string BytesOf(const Payload& payload) {
  std::string bytes;
  for (const kernels::ByteSpan& span : payload.view().spans()) {
    bytes.append(reinterpret_cast<const char*>(span.data), span.size);
  }
  return bytes;
}

absl::StatusOr<std::string> Import(const ModelSpec& spec, const std::string& file, size_t piece_bytes_max,
                                   uint64_t seed, BufferPool* pool) {
  std::mt19937_64 random(seed);
  ImportSink sink(std::make_shared<const ModelSpec>(spec), *Layout::Make(spec.tensors), pool);
  SafetensorsReader reader(&sink, sink.limits());
  for (size_t begin = 0; begin < file.size();) {
    const size_t size = std::min<size_t>(file.size() - begin, 1 + random() % piece_bytes_max);
    const absl::Status status = reader.Feed({reinterpret_cast<const std::byte*>(file.data()) + begin, size});
    if (!status.ok()) return status;
    begin += size;
  }
  if (absl::Status status = reader.Finish(); !status.ok()) return status;
  return BytesOf(sink.TakeDense());
}

TEST(ImportSink, PutsEveryTensorInItsPlaceHoweverTheFileIsCut) {
  const MixedFile file = MakeMixedFile();
  BufferPool pool;
  for (uint64_t seed = 0; seed < 200; ++seed) {
    const auto dense = Import(MixedSpec(), file.bytes, 1 + seed % 40, seed, &pool);
    ASSERT_TRUE(dense.ok()) << dense.status();
    ASSERT_TRUE(*dense == file.dense) << "seed " << seed;
  }
}

TEST(ImportSink, RefusesAFileOfAnotherModelBeforeItTakesMemory) {
  const std::string file = MakeMixedFile().bytes;
  BufferPool pool;
  const auto refused = [&](auto change) {
    ModelSpec spec = MixedSpec();
    change(&spec);
    return ReasonOf(Import(spec, file, 100, 1, &pool).status());
  };
  EXPECT_EQ(refused([](ModelSpec* spec) { spec->tensors[0].name = "v"; }), "FILE_MISMATCH");
  EXPECT_EQ(refused([](ModelSpec* spec) { spec->tensors[0].shape = {5, 3}; }), "FILE_MISMATCH");
  EXPECT_EQ(refused([](ModelSpec* spec) { spec->tensors.pop_back(); }), "FILE_MISMATCH");
  EXPECT_EQ(refused([](ModelSpec* spec) { spec->tensors[2].dtype = DataType::kI32; }), "FILE_MISMATCH");
  EXPECT_EQ(pool.stats().fresh_count, 0u);
}

TEST(ImportSink, RefusesNumbersThatAreNotFinite) {
  BufferPool pool;
  for (const float bad : {std::numeric_limits<float>::infinity(), std::nanf("")}) {
    EXPECT_EQ(ReasonOf(Import(MixedSpec(), MakeMixedFile(bad).bytes, 100, 1, &pool).status()), "NONFINITE");
  }
}

TEST(ImportSink, SaysWhenThereIsNoMemory) {
  BufferPool pool;
  pool.FailAllocation(1);
  const absl::Status status = Import(MixedSpec(), MakeMixedFile().bytes, 100, 1, &pool).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(ReasonOf(status), "NO_MEMORY");
}

TEST(ExportSource, WritesAFileThatReadsBackWhateverThePieces) {
  const ModelSpec spec = FakeSpec("m", 1000);
  FakeEngine engine(spec);
  std::vector<float> weights(1000);
  for (size_t i = 0; i < weights.size(); ++i) weights[i] = 0.5f * static_cast<float>(i);
  engine.model().Publish(weights);
  const std::string dense(reinterpret_cast<const char*>(weights.data()), 4000);
  BufferPool pool;
  for (const uint64_t piece : {1u, 7u, 64u, 1000u, 1u << 20}) {
    auto source = ExportSource::Make(&engine.model(), engine.model().Pin(), View::kEval);
    ASSERT_TRUE(source.ok()) << source.status();
    std::string file;
    while (!(*source)->done()) file += BytesOf(*(*source)->Next(piece));
    EXPECT_EQ(file.size(), (*source)->total_bytes());
    const auto read = Import(spec, file, 33, piece, &pool);
    ASSERT_TRUE(read.ok()) << read.status();
    EXPECT_TRUE(*read == dense) << "pieces of " << piece;
  }
}

}  // namespace
}  // namespace stepback
