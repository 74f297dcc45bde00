// Received bytes land in the caller's tensors and in the base, wherever the stream is cut.
#include "client/cpp/pull_sink.h"

#include <gtest/gtest.h>

#include <cstring>
#include <deque>
#include <random>

namespace stepback::client {
namespace {

class ClientPullSink : public ::testing::TestWithParam<const char*> {
 protected:
  ClientPullSink() {
    for (const Tensor& tensor : table_) {
      memory_.emplace_back(tensor.bytes() + 8, char{0x55});
      sinks_.push_back({memory_.back().data(), tensor.bytes(), 0});
    }
  }

  // What the server would send: element i of tensor t is 16 t + i / 4, which every codec holds exactly.
  static float Value(uint32_t tensor, uint64_t index) {
    return 16 * static_cast<float>(tensor) + static_cast<float>(index) / 4;
  }
  std::string Wire(const PayloadLayout& layout) const {
    std::string wire;
    for (const client::Run& run : layout.runs()) {
      if (run.raw) {
        wire += std::string(run.bytes, static_cast<char>('a' + run.tensor));
        continue;
      }
      std::vector<float> values;
      for (uint64_t i = 0; i < run.count; ++i) values.push_back(Value(run.tensor, run.first + i));
      std::vector<std::byte> encoded(run.bytes);
      layout.codec().encode(values.data(), values.size(), encoded.data());
      wire.append(reinterpret_cast<const char*>(encoded.data()), encoded.size());
    }
    return wire;
  }
  static void Feed(const std::string& wire, size_t piece, PullSink* sink) {
    for (size_t at = 0; at < wire.size(); at += piece) {
      kernels::EncodedView view;
      view.Append({reinterpret_cast<const std::byte*>(wire.data()) + at, std::min(piece, wire.size() - at)});
      sink->Accept(view);
    }
  }
  float Got(uint32_t tensor, uint64_t index) const {
    float x;
    std::memcpy(&x, memory_[tensor].data() + 4 * index, 4);
    return x;
  }

  const std::vector<Tensor> table_ = {{"w", {41}},
                                      {"flags", {3}, DataType::kBool, Role::kCarried},
                                      {"frozen", {9}, DataType::kF32, Role::kFrozen},
                                      {"mean", {5}, DataType::kF32, Role::kAveraged}};
  std::deque<std::string> memory_;  // whose elements do not move
  std::vector<TensorSink> sinks_;
  const std::shared_ptr<BufferPool> pool_ = std::make_shared<BufferPool>();
};

TEST_P(ClientPullSink, EveryCutGivesTheSameTensorsAndTheSameBase) {
  const auto layout =
      PayloadLayout::Make(table_, *kernels::FindCodec(GetParam()), Direction::kPull, {}, {}).value();
  const std::string wire = Wire(layout);
  for (size_t piece = 1; piece <= wire.size(); ++piece) {
    for (std::string& bytes : memory_) bytes.assign(bytes.size(), 0x55);
    BaseWeights base(table_, Mode::kDelta, {}, pool_);
    PullSink sink(&layout, sinks_, &base);
    ASSERT_TRUE(sink.Begin().ok());
    Feed(wire, piece, &sink);
    EXPECT_EQ(sink.received(), wire.size());
    EXPECT_FALSE(base.version());
    sink.Commit({3, 4});
    EXPECT_EQ(base.version(), (Version{3, 4}));
    for (const uint32_t t : {0u, 2u, 3u}) {
      for (uint64_t i = 0; i < table_[t].elements(); ++i) {
        ASSERT_EQ(Got(t, i), Value(t, i)) << "tensor " << t << ", element " << i << ", pieces of " << piece;
        const float* kept = base.Find(t, i, 1);
        ASSERT_EQ(kept != nullptr, t != 2);  // frozen tensors are never pushed
        if (kept != nullptr) {
          ASSERT_EQ(*kept, Value(t, i));
        }
      }
    }
    EXPECT_EQ(memory_[1].substr(0, 3), "bbb");
    for (size_t t = 0; t < table_.size(); ++t) {
      EXPECT_EQ(memory_[t].substr(table_[t].bytes()), std::string(8, 0x55)) << "written past tensor " << t;
    }
  }
}

TEST_P(ClientPullSink, ANewPullMakesTheBaseInvalidUntilItsCommit) {
  const auto layout =
      PayloadLayout::Make(table_, *kernels::FindCodec(GetParam()), Direction::kPull, {}, {}).value();
  BaseWeights base(table_, Mode::kDelta, {}, pool_);
  PullSink sink(&layout, sinks_, &base);
  ASSERT_TRUE(sink.Begin().ok());
  Feed(Wire(layout), 100, &sink);
  sink.Commit({1, 1});
  ASSERT_TRUE(sink.Begin().ok());
  EXPECT_FALSE(base.version());
  EXPECT_EQ(sink.received(), 0u);
}

TEST_P(ClientPullSink, SinksWithoutDataAreSkippedAndShardsStartWhereTheySay) {
  const std::vector<ElementRange> ranges = {{10, 20}, {53, 5}};
  const auto layout =
      PayloadLayout::Make(table_, *kernels::FindCodec(GetParam()), Direction::kPull, {}, ranges).value();
  std::vector<float> shard(20, -1);
  std::vector<TensorSink> sinks(4);
  sinks[0] = {shard.data(), 80, 10};
  BaseWeights base(table_, Mode::kDelta, ranges, pool_);
  ASSERT_TRUE(CheckSinks(layout, table_, sinks).ok());
  PullSink sink(&layout, sinks, &base);
  ASSERT_TRUE(sink.Begin().ok());
  Feed(Wire(layout), 7, &sink);
  for (uint64_t i = 0; i < 20; ++i) EXPECT_EQ(shard[i], Value(0, 10 + i));
  EXPECT_EQ(*base.Find(3, 4, 1), Value(3, 4));
  EXPECT_EQ(base.Find(0, 9, 1), nullptr);
}

INSTANTIATE_TEST_SUITE_P(Codecs, ClientPullSink, ::testing::Values("f32", "bf16"),
                         [](const auto& info) { return std::string(info.param); });

TEST(ClientPullSinkChecks, SinksWithoutRoomAreNamed) {
  const std::vector<Tensor> table = {{"w", {10}}};
  const auto layout =
      PayloadLayout::Make(table, *kernels::FindCodec("f32"), Direction::kPull, {}, {}).value();
  float memory[16];
  EXPECT_TRUE(CheckSinks(layout, table, std::vector<TensorSink>{{nullptr, 0}}).ok());
  EXPECT_TRUE(CheckSinks(layout, table, std::vector<TensorSink>{{memory, 40}}).ok());
  EXPECT_FALSE(CheckSinks(layout, table, std::vector<TensorSink>{{memory, 36}}).ok());
  EXPECT_FALSE(CheckSinks(layout, table, std::vector<TensorSink>{{memory, 44}}).ok());
  EXPECT_FALSE(CheckSinks(layout, table, std::vector<TensorSink>{{memory, 40, 1}}).ok());
  EXPECT_FALSE(CheckSinks(layout, table, std::vector<TensorSink>{}).ok());
}

TEST(ClientPullSinkChecks, ABaseWithoutMemoryIsResourceExhausted) {
  const std::vector<Tensor> table = {{"w", {10}}};
  const auto pool = std::make_shared<BufferPool>();
  BaseWeights base(table, Mode::kDelta, {}, pool);
  pool->FailAllocation(1);
  EXPECT_EQ(base.BeginWrite().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(base.BeginWrite().ok());
}

}  // namespace
}  // namespace stepback::client
