// The walker against the plain reading of the whole payload, for every kind of cut.
#include "server/engine/wire_walker.h"

#include <gtest/gtest.h>

#include <random>
#include <utility>
#include <vector>

#include "server/core/wire_layout.h"
#include "tests/unit/engine_fixture.h"

namespace stepback {
namespace {

// f32 and raw tensors with odd sizes, so that elements lie at every alignment.
std::shared_ptr<const Layout> OddLayout() {
  const std::vector<TensorSpec> tensors = {
      {.name = "a", .shape = {5}},
      {.name = "flag", .shape = {3}, .dtype = DataType::kBool, .role = Role::kCarried},
      {.name = "b", .shape = {7, 3}},
      {.name = "none", .shape = {0}},
      {.name = "count", .shape = {}, .dtype = DataType::kI64, .role = Role::kCarried},
      {.name = "byte", .shape = {1}, .dtype = DataType::kU8, .role = Role::kCarried},
      {.name = "c", .shape = {}},
  };
  return *Layout::Make(tensors);
}

std::vector<std::byte> CountingBytes(size_t count) {
  std::vector<std::byte> bytes(count);
  for (size_t i = 0; i < count; ++i) bytes[i] = std::byte(i * 37 + 11);
  return bytes;
}

// What a visitor saw, put together again: the payload's bytes, and per run how far its elements came.
struct Seen {
  std::vector<std::byte> bytes;
  std::vector<uint64_t> elements;
  bool in_order = true;
};

Seen Walk(const WireLayout& wire, const std::vector<std::byte>& bytes, const std::vector<size_t>& cuts) {
  Seen seen;
  seen.elements.resize(wire.runs().size());
  WireWalker walker(&wire);
  size_t at = 0;
  const auto visit = [&](const WireRun& run, uint64_t first, uint64_t count, const std::byte* data) {
    const size_t index = &run - wire.runs().data();
    seen.in_order = seen.in_order && first == (run.raw ? 0 : run.first) + seen.elements[index];
    seen.elements[index] += count;
    const uint64_t size = run.raw ? count : wire.codec().encoded_bytes(count);
    seen.bytes.insert(seen.bytes.end(), data, data + size);
  };
  for (size_t cut : cuts) {
    // A copy of its own per piece: reads beyond the piece are seen by the address sanitizer.
    const std::vector<std::byte> piece(bytes.begin() + at, bytes.begin() + cut);
    walker.Feed({piece.data(), piece.size()}, visit);
    at = cut;
  }
  return seen;
}

void ExpectWhole(const WireLayout& wire, const std::vector<std::byte>& bytes, const Seen& seen) {
  EXPECT_TRUE(seen.in_order);
  EXPECT_EQ(seen.bytes, bytes);
  for (size_t i = 0; i < wire.runs().size(); ++i) {
    EXPECT_EQ(seen.elements[i], wire.runs()[i].raw ? wire.runs()[i].bytes : wire.runs()[i].count);
  }
}

TEST(WireWalker, ShowsEveryElementOnceForEveryTwoCuts) {
  const auto layout = OddLayout();
  for (const kernels::CodecInfo& codec : kernels::Codecs()) {
    const WireLayout wire = *WireLayout::Make(*layout, codec, Direction::kPush, {}, {});
    const std::vector<std::byte> bytes = CountingBytes(wire.total_bytes());
    for (size_t first = 0; first <= bytes.size(); ++first) {
      for (size_t second = first; second <= bytes.size(); second += 3) {
        ExpectWhole(wire, bytes, Walk(wire, bytes, {first, second, bytes.size()}));
      }
    }
  }
}

TEST(WireWalker, ShowsEveryElementOnceForRandomCutsDownToSingleBytes) {
  const auto layout = OddLayout();
  const uint64_t seed = 20260501;
  std::mt19937_64 random(seed);
  for (const kernels::CodecInfo& codec : kernels::Codecs()) {
    const WireLayout wire = *WireLayout::Make(*layout, codec, Direction::kPull, {}, {});
    const std::vector<std::byte> bytes = CountingBytes(wire.total_bytes());
    for (int round = 0; round < 500; ++round) {
      std::vector<size_t> cuts;
      const size_t step = 1 + random() % 9;
      for (size_t at = 0; at < bytes.size(); at += 1 + random() % step) cuts.push_back(at);
      cuts.push_back(bytes.size());
      ExpectWhole(wire, bytes, Walk(wire, bytes, cuts));
    }
  }
}

TEST(WireWalker, ACopyGoesOnFromWhereItWasMade) {
  const auto layout = OddLayout();
  const WireLayout wire = *WireLayout::Make(*layout, *kernels::FindCodec("f32"), Direction::kPush, {}, {});
  const std::vector<std::byte> bytes = CountingBytes(wire.total_bytes());
  const auto ignore = [](const WireRun&, uint64_t, uint64_t, const std::byte*) {};
  for (size_t cut = 0; cut < bytes.size(); ++cut) {
    WireWalker walker(&wire);
    walker.Feed({bytes.data(), cut}, ignore);
    WireWalker copy = walker;
    copy.Feed({bytes.data() + cut, bytes.size() - cut}, ignore);  // a chunk that turns out to be bad
    uint64_t shown = 0;
    walker.Feed({bytes.data() + cut, bytes.size() - cut},
                [&](const WireRun& run, uint64_t, uint64_t count, const std::byte*) {
                  shown += run.raw ? count : wire.codec().encoded_bytes(count);
                });
    EXPECT_GE(shown, bytes.size() - cut);
    EXPECT_LT(shown, bytes.size() - cut + 4);
  }
}

}  // namespace
}  // namespace stepback
