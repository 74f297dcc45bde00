// Encoded forms against a plain encoding of the whole array, on host memory and on memory that the host
// cannot address.
#include "server/engine/encoded_form.h"

#include <gtest/gtest.h>

#include <random>
#include <thread>

#include "tests/fakes/device_backend.h"
#include "tests/unit/engine_fixture.h"

namespace stepback {
namespace {

std::shared_ptr<const Layout> MixedLayout() {
  std::vector<TensorSpec> tensors = {
      {.name = "a", .shape = {300'000}},
      {.name = "flag", .shape = {3}, .dtype = DataType::kBool, .role = Role::kCarried},
      {.name = "b", .shape = {77'777}},
      {.name = "frozen", .shape = {16}, .role = Role::kFrozen},
  };
  for (int i = 0; i < 200; ++i) tensors.push_back({.name = "small" + std::to_string(i), .shape = {3}});
  tensors.push_back({.name = "c", .shape = {524'288}});
  return *Layout::Make(tensors);
}

// An arena filled with a ramp, and its bytes in wire order.
struct Filled {
  Filled(kernels::Backend* backend, std::shared_ptr<const Layout> l, const kernels::CodecInfo& codec)
      : layout(std::move(l)) {
    const std::vector<float> floats = Ramp(layout->arena_floats());
    std::unique_ptr<kernels::Buffer> buffer = backend->Allocate(floats.size() * sizeof(float));
    const auto* raw = reinterpret_cast<const std::byte*>(floats.data());
    EXPECT_EQ(backend->Upload(buffer.get(), 0, raw, buffer->bytes()), kernels::Status::kOk);
    array = std::move(buffer);
    for (const TensorPlace& place : layout->tensors()) {
      const size_t at = wire.size();
      if (place.role == Role::kCarried) {
        wire.insert(wire.end(), raw + place.arena_begin * 4, raw + place.arena_begin * 4 + place.raw_bytes);
      } else {
        wire.resize(at + codec.encoded_bytes(place.elements));
        codec.encode(floats.data() + place.arena_begin, place.elements, wire.data() + at);
      }
    }
  }
  std::shared_ptr<const Layout> layout;
  Array array;
  std::vector<std::byte> wire;
};

class EncodedFormTest : public testing::TestWithParam<std::tuple<const char*, bool>> {
 protected:
  EncodedFormTest() {
    host_ = kernels::MakeCpuBackend("generic", &pool_);
    device_ = std::make_unique<DeviceBackend>(host_.get());
    backend_ = std::get<1>(GetParam()) ? static_cast<kernels::Backend*>(device_.get()) : host_.get();
  }
  std::vector<std::byte> Read(EncodedForm* form, uint64_t offset, uint64_t bytes) {
    Payload payload;
    const absl::Status read = form->Read(offset, bytes, std::make_shared<int>(0), &payload);
    EXPECT_TRUE(read.ok()) << read;
    EXPECT_LE(payload.view().spans().size(), 64 + bytes / 8192) << "a chunk is not a crowd of spans";
    return Joined(payload);
  }

  const kernels::CodecInfo& codec_ = *kernels::FindCodec(std::get<0>(GetParam()));
  BufferPool pool_;
  std::unique_ptr<kernels::Backend> host_;
  std::unique_ptr<DeviceBackend> device_;
  kernels::Backend* backend_ = nullptr;
};

TEST_P(EncodedFormTest, EveryStretchIsThatOfTheWholeEncoding) {
  const Filled filled(backend_, MixedLayout(), codec_);
  const auto form = *EncodedForm::Make(filled.array, filled.layout, codec_, {backend_, &pool_, nullptr});
  ASSERT_EQ(form->wire().total_bytes(), filled.wire.size());
  std::mt19937_64 random(3);
  for (int round = 0; round < 200; ++round) {
    const uint64_t offset = random() % filled.wire.size();
    const uint64_t bytes = std::min<uint64_t>(random() % 300'000, filled.wire.size() - offset);
    const std::vector<std::byte> expected(filled.wire.begin() + offset, filled.wire.begin() + offset + bytes);
    ASSERT_EQ(Read(form.get(), offset, bytes), expected) << offset << " + " << bytes;
  }
  EXPECT_EQ(Read(form.get(), 0, filled.wire.size()), filled.wire);
}

TEST_P(EncodedFormTest, APieceIsMadeOnceWhoeverAsks) {
  const Filled filled(backend_, MixedLayout(), codec_);
  const auto form = *EncodedForm::Make(filled.array, filled.layout, codec_, {backend_, &pool_, nullptr});
  std::vector<std::thread> readers;
  for (int i = 0; i < 4; ++i) {
    readers.emplace_back([&] { EXPECT_EQ(Read(form.get(), 0, filled.wire.size()), filled.wire); });
  }
  for (std::thread& reader : readers) reader.join();
  const uint64_t allocations = pool_.stats().fresh_count + pool_.stats().reuse_count;
  EXPECT_EQ(Read(form.get(), 0, filled.wire.size()), filled.wire);
  EXPECT_EQ(pool_.stats().fresh_count + pool_.stats().reuse_count, allocations);
}

TEST_P(EncodedFormTest, NoMemoryForAPieceIsAnErrorThatPasses) {
  const Filled filled(backend_, MixedLayout(), codec_);
  const auto form = *EncodedForm::Make(filled.array, filled.layout, codec_, {backend_, &pool_, nullptr});
  const std::string name(codec_.name);
  // The piece with the crowd of small tensors is copied in every form.
  const uint64_t offset = codec_.encoded_bytes(377'777 + 16) + 3 + 100;
  pool_.FailAllocation(1);
  Payload payload;
  EXPECT_THAT(form->Read(offset, 100, nullptr, &payload),
              Refused(absl::StatusCode::kResourceExhausted, "MEMORY_FULL"));
  const std::vector<std::byte> expected(filled.wire.begin() + offset, filled.wire.begin() + offset + 100);
  EXPECT_EQ(Read(form.get(), offset, 100), expected);
}

TEST_P(EncodedFormTest, ADeviceThatFailsIsAnError) {
  if (backend_ == host_.get()) GTEST_SKIP() << "host memory is read in place";
  const Filled filled(backend_, MixedLayout(), codec_);
  const auto form = *EncodedForm::Make(filled.array, filled.layout, codec_, {backend_, &pool_, nullptr});
  device_->FailDownloads(true);
  Payload payload;
  EXPECT_THAT(form->Read(0, 100, nullptr, &payload), Refused(absl::StatusCode::kInternal, "DEVICE_ERROR"));
  device_->FailDownloads(false);
  EXPECT_EQ(Read(form.get(), 0, filled.wire.size()), filled.wire);
}

INSTANTIATE_TEST_SUITE_P(Forms, EncodedFormTest,
                         testing::Combine(testing::Values("f32", "bf16"), testing::Bool()),
                         [](const auto& info) {
                           return std::string(std::get<0>(info.param)) +
                                  (std::get<1>(info.param) ? "_device" : "_host");
                         });

}  // namespace
}  // namespace stepback
