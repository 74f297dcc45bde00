// The bytes of an upload, at every offset and in every codec, against a plain second implementation.
#include "client/cpp/tensor_source.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>

#include "client/cpp/message.h"

namespace stepback::client {
namespace {

// A form in blocks of 16 elements: the sum as a float, then one rounded byte each. Made up, but cut like real
// ones.
uint64_t BlockBytes(uint64_t elements) { return (elements + 15) / 16 * 4 + elements; }
void EncodeBlocks(const float* in, uint64_t elements, std::byte* out) {
  for (uint64_t begin = 0; begin < elements; begin += 16) {
    const uint64_t n = std::min<uint64_t>(16, elements - begin);
    float sum = 0;
    for (uint64_t i = 0; i < n; ++i) sum += in[begin + i];
    std::memcpy(out, &sum, 4);
    for (uint64_t i = 0; i < n; ++i)
      out[4 + i] = static_cast<std::byte>(static_cast<int>(in[begin + i]) & 0xff);
    out += 4 + n;
  }
}
const kernels::CodecInfo kBlocks{
    .name = "blocks", .id = 99, .block_elements = 16, .encoded_bytes = BlockBytes, .encode = EncodeBlocks};

class ClientTensorSource : public ::testing::TestWithParam<const kernels::CodecInfo*> {
 protected:
  void SetUp() override {
    std::mt19937 random(7);
    std::normal_distribution<float> normal(0, 100);
    for (size_t t = 0; t < table_.size(); ++t) {
      std::string bytes(table_[t].bytes(), '\0');
      for (size_t i = 0; i + 4 <= bytes.size(); i += 4) {
        const float x = normal(random);
        std::memcpy(bytes.data() + i, &x, 4);
      }
      memory_.push_back(bytes);
    }
    for (size_t t = 0; t < table_.size(); ++t) data_.push_back({memory_[t].data(), memory_[t].size(), 0});
  }

  float Value(size_t tensor, uint64_t index) const {
    float x;
    std::memcpy(&x, memory_[tensor].data() + 4 * index, 4);
    return x;
  }

  // Fills the base with index-dependent numbers and returns what base - value is, tensor by tensor.
  std::string Expected(const PayloadLayout& layout, const BaseWeights* base, float scale) const {
    std::string out;
    for (const client::Run& run : layout.runs()) {
      if (run.raw) {
        out += memory_[run.tensor];
        continue;
      }
      std::vector<float> values;
      for (uint64_t i = 0; i < run.count; ++i) {
        const float value = Value(run.tensor, run.first + i);
        const float* b = base == nullptr ? nullptr : base->Find(run.tensor, run.first + i, 1);
        values.push_back(b == nullptr ? value : scale * (*b - value));
      }
      std::vector<std::byte> encoded(run.bytes);
      GetParam()->encode(values.data(), values.size(), encoded.data());
      out.append(reinterpret_cast<const char*>(encoded.data()), encoded.size());
    }
    return out;
  }

  std::unique_ptr<BaseWeights> MakeBase(Mode mode) {
    auto base = std::make_unique<BaseWeights>(table_, mode, std::span<const ElementRange>(), pool_);
    EXPECT_TRUE(base->BeginWrite().ok());
    for (uint32_t t = 0; t < table_.size(); ++t) {
      for (const BaseWeights::Piece& piece : base->Overlap(t, 0, table_[t].elements())) {
        for (uint64_t i = 0; i < piece.count; ++i)
          piece.values[i] = static_cast<float>(t * 1000 + piece.first + i);
      }
    }
    return base;
  }

  const std::vector<Tensor> table_ = {{"w", {37, 3}},
                                      {"flags", {3}, DataType::kBool, Role::kCarried},
                                      {"frozen", {9}, DataType::kF32, Role::kFrozen},
                                      {"mean", {50}, DataType::kF32, Role::kAveraged},
                                      {"ids", {5}, DataType::kI16, Role::kCarried},
                                      {"big", {6000}},
                                      {"scalar", {}}};
  const std::shared_ptr<BufferPool> pool_ = std::make_shared<BufferPool>();
  std::vector<std::string> memory_;
  std::vector<TensorData> data_;
};

TEST_P(ClientTensorSource, DifferencesAreTheSameBytesHoweverTheyAreCut) {
  const auto layout = PayloadLayout::Make(table_, *GetParam(), Direction::kPush, {}, {}).value();
  for (const Mode mode : {Mode::kDelta, Mode::kGradient}) {
    const auto base = MakeBase(mode);
    for (const float scale : {1.0f, 64.0f}) {
      const std::string expected = Expected(layout, base.get(), scale);
      ASSERT_EQ(expected.size(), layout.total_bytes());
      TensorSource source(&layout, data_, pool_, {.base = base.get(), .difference_scale = scale});
      for (const uint64_t chunk : {8u, 104u, 4096u, 1u << 20}) {
        std::string joined;
        for (uint64_t at = 0; at < layout.total_bytes(); at += chunk) {
          joined += Flatten(source.Read(at, std::min(chunk, layout.total_bytes() - at)).value());
        }
        EXPECT_EQ(joined, expected) << "chunks of " << chunk;
      }
    }
  }
}

TEST_P(ClientTensorSource, AnyPieceCanBeReadAgain) {
  const auto layout = PayloadLayout::Make(table_, *GetParam(), Direction::kPush, {}, {}).value();
  const auto base = MakeBase(Mode::kDelta);
  const std::string expected = Expected(layout, base.get(), 1);
  TensorSource source(&layout, data_, pool_, {.base = base.get()});
  std::mt19937 random(11);
  for (int i = 0; i < 300; ++i) {
    const uint64_t begin = random() % layout.total_bytes();
    const uint64_t size = 1 + random() % (layout.total_bytes() - begin);
    EXPECT_EQ(Flatten(source.Read(begin, size).value()), expected.substr(begin, size));
  }
}

TEST_P(ClientTensorSource, AKeptSourceGivesTheSameBytesAfterTheMemoryHasChanged) {
  const auto layout = PayloadLayout::Make(table_, *GetParam(), Direction::kPush, {}, {}).value();
  const auto base = MakeBase(Mode::kDelta);
  const std::string expected = Expected(layout, base.get(), 1);
  auto source = std::make_unique<TensorSource>(&layout, data_, pool_,
                                               TensorSource::Options{.base = base.get(), .copy = true});
  KeptSource kept(std::move(source), 512);
  ASSERT_EQ(Flatten(kept.Read(512, 512).value()), expected.substr(512, 512));
  ASSERT_TRUE(kept.Complete().ok());
  for (std::string& bytes : memory_) bytes.assign(bytes.size(), 'x');
  std::mt19937 random(13);
  for (int i = 0; i < 100; ++i) {
    const uint64_t begin = random() % layout.total_bytes();
    const uint64_t size = 1 + random() % (layout.total_bytes() - begin);
    EXPECT_EQ(Flatten(kept.Read(begin, size).value()), expected.substr(begin, size));
  }
}

INSTANTIATE_TEST_SUITE_P(Codecs, ClientTensorSource,
                         ::testing::Values(kernels::FindCodec("f32"), kernels::FindCodec("bf16"), &kBlocks),
                         [](const auto& info) { return std::string(info.param->name); });

TEST(ClientTensorSourceMemory, LargeGradientsLeaveFromTheCallersMemory) {
  const std::vector<Tensor> table = {{"small", {10}}, {"large", {100000}}};
  std::vector<float> small(10, 1), large(100000, 2);
  const std::vector<TensorData> data = {{small.data(), 40, 0}, {large.data(), 400000, 0}};
  const auto layout =
      PayloadLayout::Make(table, *kernels::FindCodec("f32"), Direction::kPush, {}, {}).value();
  const auto pool = std::make_shared<BufferPool>();
  const auto owner = std::make_shared<int>(0);
  TensorSource source(&layout, data, pool, {.caller_memory = owner});
  const Payload payload = source.Read(0, layout.total_bytes()).value();
  ASSERT_EQ(payload.view().spans().size(), 2u);
  EXPECT_EQ(static_cast<const void*>(payload.view().spans()[1].data), large.data());
  EXPECT_EQ(owner.use_count(), 3);  // ours, the source's, the payload's
}

TEST(ClientTensorSourceMemory, AShardIsReadFromItsFirstElement) {
  const std::vector<Tensor> table = {{"w", {10}}};
  std::vector<float> shard = {4, 5, 6, 7};
  const std::vector<TensorData> data = {{shard.data(), 16, 4}};
  const std::vector<ElementRange> ranges = {{5, 3}};
  const auto layout =
      PayloadLayout::Make(table, *kernels::FindCodec("f32"), Direction::kPush, {}, ranges).value();
  ASSERT_TRUE(CheckTensors(layout, table, data).ok());
  TensorSource source(&layout, data, std::make_shared<BufferPool>(), {});
  const std::string bytes = Flatten(source.Read(0, 12).value());
  float values[3];
  std::memcpy(values, bytes.data(), 12);
  EXPECT_EQ(values[0], 5);
  EXPECT_EQ(values[2], 7);
}

TEST(ClientTensorSourceMemory, TensorsOfTheWrongSizeAreNamed) {
  const std::vector<Tensor> table = {{"w", {10}}, {"ids", {4}, DataType::kI64, Role::kCarried}};
  const auto layout =
      PayloadLayout::Make(table, *kernels::FindCodec("bf16"), Direction::kPush, {}, {}).value();
  float memory[64] = {};
  EXPECT_TRUE(CheckTensors(layout, table, std::vector<TensorData>{{memory, 40}, {memory, 32}}).ok());
  for (const std::vector<TensorData>& bad : {std::vector<TensorData>{{memory, 40}},
                                             {{memory, 36}, {memory, 32}},
                                             {{memory, 44}, {memory, 32}},
                                             {{memory, 40}, {nullptr, 32}},
                                             {{memory, 40, 1}, {memory, 32}},
                                             {{memory, 40}, {memory, 16}}}) {
    EXPECT_EQ(CheckTensors(layout, table, bad).code(), absl::StatusCode::kInvalidArgument);
  }
  const absl::Status status =
      CheckTensors(layout, table, std::vector<TensorData>{{memory, 36}, {memory, 32}});
  EXPECT_EQ(status.message(),
            "tensor 'w' has 36 bytes from element 0, expected 40 bytes for elements [0, +10) as f32");
}

TEST(ClientTensorSourceMemory, ChunksWithoutMemoryAreResourceExhausted) {
  const std::vector<Tensor> table = {{"w", {1000}}};
  std::vector<float> w(1000);
  const std::vector<TensorData> data = {{w.data(), 4000, 0}};
  const auto layout =
      PayloadLayout::Make(table, *kernels::FindCodec("bf16"), Direction::kPush, {}, {}).value();
  const auto pool = std::make_shared<BufferPool>();
  TensorSource source(&layout, data, pool, {});
  pool->FailAllocation(1);
  EXPECT_EQ(source.Read(0, 2000).status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(source.Read(0, 2000).ok());
}

}  // namespace
}  // namespace stepback::client
