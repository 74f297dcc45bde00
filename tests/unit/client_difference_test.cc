// Differences added to what a worker holds, wherever the stream is cut; what no server sends is refused and
// leaves nothing to start from. The payloads are written here byte by byte.
#include <gtest/gtest.h>

#include <cstring>
#include <deque>

#include "client/cpp/convert.h"
#include "client/cpp/download.h"
#include "client/cpp/held_weights.h"
#include "server/base/crc32c.h"

namespace stepback::client {
namespace {

constexpr size_t kElements = 4096 + 40;

class ClientDifference : public ::testing::Test {
 protected:
  ClientDifference() {
    for (const Tensor& tensor : table_) {
      memory_.emplace_back(tensor.bytes(), char{0x55});
      sinks_.push_back({memory_.back().data(), tensor.bytes(), 0});
    }
  }

  // Element i of tensor t is 100 t + i % 50 at first.
  void Hold(HeldWeights* held) {
    ASSERT_TRUE(held->weights()->BeginWrite().ok());
    for (uint32_t t = 0; t < table_.size(); ++t) {
      for (const BaseWeights::Piece& piece : held->weights()->Overlap(t, 0, table_[t].elements())) {
        for (uint64_t i = 0; i < piece.count; ++i) piece.values[i] = First(t, i);
      }
    }
    held->weights()->Commit({1, 4});
    v1::PullHeader header;
    header.mutable_difference()->set_chain(9);
    ASSERT_TRUE(held->Took(header, "eval").ok());
  }
  static float First(uint32_t tensor, uint64_t i) { return static_cast<float>(100 * tensor + i % 50); }
  float Got(uint32_t tensor, uint64_t i) const {
    float x;
    std::memcpy(&x, memory_[tensor].data() + 4 * i, sizeof x);
    return x;
  }
  static std::string Little(uint32_t value, size_t size) {
    std::string bytes;
    for (size_t i = 0; i < size; ++i) bytes += static_cast<char>(value >> 8 * i);
    return bytes;
  }
  static std::string Bf16(float x) {
    uint32_t bits;
    std::memcpy(&bits, &x, sizeof bits);
    return Little(bits >> 16, 2);
  }
  // Elements 1 and 4000 become 7 and -2, in the second block every even one of 40 becomes 3; the counter
  // `counter`; in "mean" all five become 1.
  static std::string Lossless(char counter) {
    std::string bytes = Little(2, 2) + Little(1 | 4000 << 12, 3) + Bf16(7) + Bf16(-2);
    bytes += Little(20, 2) + std::string(5, 0x55);
    for (int i = 0; i < 20; ++i) bytes += Bf16(3);
    return bytes + std::string(3, counter) + Little(5, 2) + Bf16(1) + Bf16(1) + Bf16(1) + Bf16(1) + Bf16(1);
  }
  static v1::Difference From(uint64_t counter, uint32_t count) {
    v1::Difference difference;
    difference.set_form("lossless_bf16");
    *difference.mutable_base() = ToProto(Version{1, counter});
    difference.set_count(count);
    return difference;
  }
  static absl::Status Feed(const std::string& bytes, size_t piece, DifferenceSink* sink) {
    for (size_t at = 0; at < bytes.size(); at += piece) {
      kernels::EncodedView view;
      view.Append(
          {reinterpret_cast<const std::byte*>(bytes.data()) + at, std::min(piece, bytes.size() - at)});
      if (absl::Status status = sink->Accept(view); !status.ok()) return status;
    }
    return absl::OkStatus();
  }
  void ExpectLossless(char counter) const {
    for (uint64_t i = 0; i < kElements; ++i) {
      const bool second = i >= 4096;
      const float expected = i == 1 ? 7 : i == 4000 ? -2 : second && i % 2 == 0 ? 3 : First(0, i);
      ASSERT_EQ(Got(0, i), expected) << i;
    }
    EXPECT_EQ(memory_[1], std::string(3, counter));
    EXPECT_EQ(Got(2, 8), First(2, 8)) << "frozen, and in no difference";
    EXPECT_EQ(Got(3, 4), 1);
  }

  const std::vector<Tensor> table_ = {{"w", {kElements}},
                                      {"flags", {3}, DataType::kBool, Role::kCarried},
                                      {"frozen", {9}, DataType::kF32, Role::kFrozen},
                                      {"mean", {5}, DataType::kF32, Role::kAveraged}};
  std::deque<std::string> memory_;
  std::vector<TensorSink> sinks_;
  const std::shared_ptr<BufferPool> pool_ = std::make_shared<BufferPool>();
  BaseWeights base_{table_, Mode::kDelta, {}, pool_};
  HeldWeights held_{table_, "lossless_bf16", Mode::kDelta, {}, &base_, pool_};
};

TEST_F(ClientDifference, ChangesAreMadeWhereverTheStreamIsCut) {
  for (const size_t piece : {1u, 3u, 64u, 1u << 20}) {
    Hold(&held_);
    DifferenceSink sink = held_.NewSink(sinks_);
    const std::string bytes = Lossless(1) + Lossless(2);
    ASSERT_TRUE(sink.Begin(From(4, 2), bytes.size()).ok());
    EXPECT_FALSE(held_.weights()->version()) << "half of a difference is no version";
    ASSERT_TRUE(Feed(bytes, piece, &sink).ok());
    ASSERT_TRUE(sink.complete());
    sink.Commit({1, 6});
    ExpectLossless(2);
    EXPECT_EQ(held_.weights()->version(), (Version{1, 6}));
  }
}

TEST_F(ClientDifference, QuantisedOnesAreAddedOneAfterAnother) {
  HeldWeights held(table_, "int8", Mode::kDelta, {}, &base_, pool_);
  for (const size_t piece : {1u, 100u, 1u << 20}) {
    Hold(&held);
    std::string once;
    for (const size_t elements : {kElements, size_t{5}}) {
      for (size_t at = 0; at < elements; at += 256) {
        once += Little(0x3f000000, 4);  // 0.5
        for (size_t i = at; i < std::min(at + 256, elements); ++i) once += static_cast<char>(i % 3) - 1;
      }
      if (elements == kElements) once += "abc";
    }
    DifferenceSink sink = held.NewSink(sinks_);
    ASSERT_TRUE(sink.Begin(From(4, 3), 3 * once.size()).ok());
    ASSERT_TRUE(Feed(once + once + once, piece, &sink).ok());
    ASSERT_TRUE(sink.complete());
    sink.Commit({1, 7});
    for (uint64_t i = 0; i < kElements; ++i) {
      ASSERT_EQ(Got(0, i), First(0, i) + 1.5f * (static_cast<float>(i % 3) - 1)) << i;
    }
    EXPECT_EQ(memory_[1], "abc");
  }
}

TEST_F(ClientDifference, NothingSinceIsAPullWithoutBytes) {
  Hold(&held_);
  DifferenceSink sink = held_.NewSink(sinks_);
  ASSERT_TRUE(sink.Begin(From(4, 0), 0).ok());
  ASSERT_TRUE(sink.complete());
  sink.Commit({1, 4});
  EXPECT_EQ(Got(0, 77), First(0, 77));
}

TEST_F(ClientDifference, WhatNoServerSendsIsRefused) {
  const std::string good = Lossless(1);
  const auto begin = [&](const v1::Difference& what, uint64_t bytes) {
    Hold(&held_);
    return held_.NewSink(sinks_).Begin(what, bytes).code();
  };
  EXPECT_EQ(begin(From(4, 1), good.size()), absl::StatusCode::kOk);
  EXPECT_EQ(begin(From(3, 1), good.size()), absl::StatusCode::kDataLoss) << "of another base";
  EXPECT_EQ(begin(From(4, 1), uint64_t{1} << 40), absl::StatusCode::kDataLoss) << "larger than all weights";
  EXPECT_EQ(begin(From(4, 0), 1), absl::StatusCode::kDataLoss);
  const auto feed = [&](std::string bytes) {
    Hold(&held_);
    DifferenceSink sink = held_.NewSink(sinks_);
    EXPECT_TRUE(sink.Begin(From(4, 1), bytes.size()).ok());
    const absl::Status status = Feed(bytes, 11, &sink);
    return status.ok() && sink.complete() ? absl::StatusCode::kOk : absl::StatusCode::kDataLoss;
  };
  const auto with = [&](size_t at, std::string bytes) {
    return std::string(good).replace(at, bytes.size(), bytes);
  };
  EXPECT_EQ(feed(good), absl::StatusCode::kOk);
  EXPECT_EQ(feed(with(0, Little(4097, 2))), absl::StatusCode::kDataLoss) << "more changes than elements";
  EXPECT_EQ(feed(with(2, Little(4000 | 1 << 12, 3))), absl::StatusCode::kDataLoss) << "descending";
  EXPECT_EQ(feed(with(2, Little(1 | 1 << 12, 3))), absl::StatusCode::kDataLoss) << "twice";
  EXPECT_EQ(feed(with(11, std::string(5, 0x57))), absl::StatusCode::kDataLoss) << "more bits than values";
  EXPECT_EQ(feed(good + "x"), absl::StatusCode::kDataLoss) << "behind the end";
  EXPECT_EQ(feed(good.substr(0, good.size() - 1)), absl::StatusCode::kDataLoss) << "before the end";
}

TEST_F(ClientDifference, IsAskedForOnlyFromWhatIsHeldOfThatView) {
  v1::PullRequest request;
  request.set_view("eval");
  const auto asks = [&] {
    held_.Ask(&request);
    EXPECT_EQ(request.difference().form(), "lossless_bf16");
    return request.difference().has_base();
  };
  EXPECT_FALSE(asks()) << "nothing is held yet";
  Hold(&held_);
  EXPECT_TRUE(asks());
  EXPECT_EQ(request.difference().base().counter(), 4u);
  EXPECT_EQ(request.difference().chain(), 9u);
  request.set_view("train");
  EXPECT_FALSE(asks());
  request.set_view("eval");
  EXPECT_TRUE(asks());
  ASSERT_TRUE(held_.weights()->BeginWrite().ok());
  EXPECT_FALSE(asks()) << "a pull has broken off";
  Hold(&held_);
  held_.Forget();
  EXPECT_FALSE(asks());
}

TEST_F(ClientDifference, OfAServerThatKnowsNoneNothingIsStartedFrom) {
  Hold(&held_);
  ASSERT_TRUE(held_.Took(v1::PullHeader(), "eval").ok());
  v1::PullRequest request;
  request.set_view("eval");
  held_.Ask(&request);
  EXPECT_FALSE(request.difference().has_base());
}

TEST_F(ClientDifference, TheBaseOfDeltasIsWhatIsHeldAlsoWhereTheyAreTwo) {
  EXPECT_NE(held_.weights(), &base_) << "the base has no frozen tensors";
  const std::vector<Tensor> trained = {table_[0]};
  BaseWeights base(trained, Mode::kDelta, {}, pool_);
  EXPECT_EQ(HeldWeights(trained, "int8", Mode::kDelta, {}, &base, pool_).weights(), &base) << "no copy";
  const std::vector<ElementRange> half = {{0, 256}};
  EXPECT_NE(HeldWeights(trained, "int8", Mode::kDelta, half, &base, pool_).weights(), &base);
  EXPECT_NE(HeldWeights(trained, "int8", Mode::kGradient, {}, &base, pool_).weights(), &base);
  Hold(&held_);
  EXPECT_EQ(base_.version(), (Version{1, 4}));
  EXPECT_EQ(*base_.Find(0, 49, 1), First(0, 49));
  EXPECT_EQ(*base_.Find(3, 2, 1), First(3, 2));
}

TEST_F(ClientDifference, FormsAreNamed) {
  EXPECT_TRUE(CheckDifferenceForm("lossless_bf16", "f32").ok());
  EXPECT_TRUE(CheckDifferenceForm("lossless_bf16", "bf16").ok());
  EXPECT_TRUE(CheckDifferenceForm("topk_2bit", "").ok());
  EXPECT_EQ(CheckDifferenceForm("int8", "bf16").message(),
            "JoinOptions.pull_codec is 'bf16', differences in 'int8' are of weights in 'f32'");
  for (const char* form : {"zip", "f32", ""}) {
    const absl::Status status = CheckDifferenceForm(form, "f32");
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_NE(status.message().find("there are lossless_bf16, bf16, f16"), std::string::npos) << status;
  }
}

TEST_F(ClientDifference, ADownloadTellsThemFromTheFullForm) {
  Hold(&held_);
  const auto layout =
      PayloadLayout::Make(table_, *kernels::FindCodec("bf16"), Direction::kPull, {}, {}).value();
  PullSink full(&layout, sinks_, held_.weights());
  DifferenceSink sink = held_.NewSink(sinks_);
  v1::PullHeader header;
  *header.mutable_version() = ToProto(Version{1, 5});
  *header.mutable_difference() = From(4, 1);
  header.set_total_bytes(Lossless(1).size());
  EXPECT_EQ(Download(&full, "").OnHeader(header).code(), absl::StatusCode::kDataLoss) << "nobody asked";
  Download download(&full, "", &sink);
  ASSERT_TRUE(download.OnHeader(header).ok());
  const std::string bytes = Lossless(1);
  ReceivedChunk chunk;
  chunk.data.Append({reinterpret_cast<const std::byte*>(bytes.data()), bytes.size()},
                    std::make_shared<std::string>());
  chunk.crc32c = Crc32c(chunk.data.view());
  ASSERT_TRUE(download.OnChunk(chunk).ok());
  v1::Commit commit;
  *commit.mutable_version() = header.version();
  const std::string crc = Little(chunk.crc32c, 4);
  commit.set_crc32c(Crc32c(reinterpret_cast<const std::byte*>(crc.data()), crc.size()));
  ASSERT_TRUE(download.OnCommit(commit).ok());
  EXPECT_EQ(download.info().difference, "lossless_bf16");
  EXPECT_EQ(download.info().payload_bytes, bytes.size());
  ExpectLossless(1);
}

}  // namespace
}  // namespace stepback::client
