// Error feedback under every lossy codec: what has been sent and what is still held back add up to what was
// meant (invariant 33), and a push can be formed again, bit for bit, until it is committed.
#include "client/cpp/residual.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "client/cpp/message.h"
#include "client/cpp/tensor_source.h"

namespace stepback::client {
namespace {

constexpr uint32_t kSeed = 5;

class ClientResidual : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override { ASSERT_TRUE(residual_.Begin().ok()); }

  void Draw() {
    std::normal_distribution<float> normal(0, 1);
    for (std::vector<float>& tensor : deltas_) {
      for (float& x : tensor) x = normal(random_);
    }
  }
  std::vector<TensorData> Data() const {
    return {{deltas_[0].data(), 4 * deltas_[0].size(), 0}, {deltas_[1].data(), 4 * deltas_[1].size(), 0}};
  }
  std::string Form(Residual* residual, uint64_t chunk) const {
    const std::vector<TensorData> data = Data();
    TensorSource source(&layout_, data, pool_, {.residual = residual});
    std::string bytes;
    for (uint64_t at = 0; at < layout_.total_bytes(); at += chunk) {
      bytes += Flatten(source.Read(at, std::min(chunk, layout_.total_bytes() - at)).value());
    }
    return bytes;
  }
  std::vector<float> Decode(const std::string& bytes, const client::Run& run) const {
    std::vector<float> values(run.count);
    codec_.decode(reinterpret_cast<const std::byte*>(bytes.data()) + run.byte_offset, run.count,
                  values.data());
    return values;
  }

  const kernels::CodecInfo& codec_ = *kernels::FindCodec(GetParam());
  const std::vector<Tensor> table_ = {{"w", {4500}}, {"b", {33}}};
  const PayloadLayout layout_ = PayloadLayout::Make(table_, codec_, Direction::kPush, {}, {}).value();
  const std::shared_ptr<BufferPool> pool_ = std::make_shared<BufferPool>();
  Residual residual_{table_, codec_, {}, 1, pool_};
  std::mt19937 random_{kSeed};
  std::vector<std::vector<float>> deltas_ = {std::vector<float>(4500), std::vector<float>(33)};
};

TEST_P(ClientResidual, WhatWasSentAndTheResidualAreTheSumOfAllDeltas) {
  constexpr int kPushes = 40;
  std::vector<std::vector<double>> meant = {std::vector<double>(4500), std::vector<double>(33)}, sent = meant;
  for (int push = 0; push < kPushes; ++push) {
    Draw();
    const std::string bytes = Form(&residual_, 1 << 20);
    residual_.Commit(layout_);
    for (const client::Run& run : layout_.runs()) {
      const std::vector<float> decoded = Decode(bytes, run);
      for (uint64_t i = 0; i < run.count; ++i) {
        meant[run.tensor][i] += deltas_[run.tensor][i];
        sent[run.tensor][i] += decoded[i];
      }
    }
  }
  for (const client::Run& run : layout_.runs()) {
    for (uint64_t i = 0; i < run.count; ++i) {
      const double rest = residual_.Now(run.tensor, 0)[i];
      // Two fp32 roundings a push, of numbers up to the residual's size.
      const double scale = 1 + std::abs(rest) + std::abs(meant[run.tensor][i]);
      ASSERT_NEAR(sent[run.tensor][i] + rest, meant[run.tensor][i], kPushes * scale * 0x1p-22)
          << "seed " << kSeed << ", element " << i;
    }
  }
}

TEST_P(ClientResidual, APushIsTheSameBytesUntilItIsCommittedHoweverItIsCut) {
  Draw();
  Form(&residual_, 1 << 20);
  residual_.Commit(layout_);
  Draw();
  const std::string once = Form(&residual_, 1 << 20);
  for (const uint64_t chunk : {8u, 104u, 4096u}) EXPECT_EQ(Form(&residual_, chunk), once) << chunk;
  const std::vector<float> next(residual_.Next(0, 0), residual_.Next(0, 0) + 4500);
  Form(&residual_, 56);
  EXPECT_EQ(next, std::vector<float>(residual_.Next(0, 0), residual_.Next(0, 0) + 4500));
  residual_.Commit(layout_);
  EXPECT_EQ(next, std::vector<float>(residual_.Now(0, 0), residual_.Now(0, 0) + 4500));
}

TEST_P(ClientResidual, ATensorThatIsNotPushedKeepsItsResidual) {
  Draw();
  Form(&residual_, 1 << 20);
  residual_.Commit(layout_);
  const std::vector<float> before(residual_.Now(1, 0), residual_.Now(1, 0) + 33);
  Draw();
  const auto first_only = PayloadLayout::Make(table_, codec_, Direction::kPush, {true, false}, {}).value();
  Form(&residual_, 1 << 20);
  residual_.Commit(first_only);
  EXPECT_EQ(before, std::vector<float>(residual_.Now(1, 0), residual_.Now(1, 0) + 33));
}

TEST_P(ClientResidual, ResetStartsFromZero) {
  Draw();
  const std::string fresh = Form(&residual_, 1 << 20);
  residual_.Commit(layout_);
  residual_.Reset();
  EXPECT_EQ(Form(&residual_, 1 << 20), fresh);
}

TEST_P(ClientResidual, TakesItsMemoryOnFirstUse) {
  Residual residual(table_, codec_, {}, 0.95, pool_);
  pool_->FailAllocation(1);
  EXPECT_EQ(residual.Begin().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(residual.Begin().ok());
  EXPECT_EQ(residual.beta(), 0.95f);
}

std::vector<std::string> LossyCodecs() {
  std::vector<std::string> names;
  for (const kernels::CodecInfo& codec : kernels::Codecs()) {
    if (codec.name != "f32") names.emplace_back(codec.name);
  }
  return names;
}

INSTANTIATE_TEST_SUITE_P(Codecs, ClientResidual, ::testing::ValuesIn(LossyCodecs()),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace stepback::client
