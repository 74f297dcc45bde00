#include "server/engine/push_assembly.h"

#include <gtest/gtest.h>

#include <random>

#include "tests/unit/engine_fixture.h"

namespace stepback {
namespace {

std::shared_ptr<const Layout> MixedLayout() {
  return *Layout::Make({{.name = "a", .shape = {100}},
                        {.name = "steps", .shape = {}, .dtype = DataType::kI64, .role = Role::kCarried},
                        {.name = "frozen", .shape = {9}, .role = Role::kFrozen},
                        {.name = "b", .shape = {33}}});
}

WireLayout Wire(const Layout& layout, const std::vector<ElementRange>& ranges) {
  absl::StatusOr<WireLayout> wire =
      WireLayout::Make(layout, *kernels::FindCodec("f32"), Direction::kPush, {}, ranges);
  EXPECT_TRUE(wire.ok()) << wire.status();
  return *wire;
}

// The bytes of the elements that `part` covers, taken from the whole payload run by run.
std::vector<std::byte> Cut(const WireLayout& whole, const std::vector<std::byte>& bytes,
                           const WireLayout& part) {
  std::vector<std::byte> cut;
  for (const WireRun& run : part.runs()) {
    for (const WireRun& full : whole.runs()) {
      if (full.tensor != run.tensor) continue;
      const uint64_t from = full.byte_offset + (run.raw ? 0 : run.first * sizeof(float));
      cut.insert(cut.end(), bytes.begin() + from, bytes.begin() + from + run.bytes);
    }
  }
  return cut;
}

std::vector<kernels::ByteSpan> Spans(const std::vector<std::byte>& bytes, size_t size) {
  std::vector<kernels::ByteSpan> spans;
  for (size_t at = 0; at < bytes.size(); at += size)
    spans.push_back({bytes.data() + at, std::min(size, bytes.size() - at)});
  return spans;
}

TEST(PushAssembly, PartsWithInterleavedRangesBecomeTheWholePayload) {
  const auto layout = MixedLayout();
  const WireLayout whole = Wire(*layout, {});
  std::vector<std::byte> bytes(whole.total_bytes());
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = std::byte(i * 13);
  const uint64_t seed = 7;
  std::mt19937_64 random(seed);
  for (int round = 0; round < 200; ++round) {
    // Cuts at random elements, never inside the carried tensor; pieces are dealt out to three parts.
    std::vector<std::vector<ElementRange>> ranges(3);
    for (uint64_t begin = 0; begin < layout->elements();) {
      uint64_t count = 1 + random() % 30;
      count = std::min(count, layout->elements() - begin);
      std::vector<ElementRange>& part = ranges[random() % 3];
      if (!part.empty() && part.back().begin + part.back().count == begin) {
        part.back().count += count;
      } else {
        part.push_back({begin, count});
      }
      begin += count;
    }
    std::vector<WireLayout> wires;
    std::vector<std::vector<std::byte>> cuts;
    for (const auto& part : ranges) {
      if (part.empty()) continue;
      wires.push_back(Wire(*layout, part));
      cuts.push_back(Cut(whole, bytes, wires.back()));
      ASSERT_EQ(cuts.back().size(), wires.back().total_bytes());
    }
    std::vector<AssemblyPart> parts;
    for (size_t i = 0; i < wires.size(); ++i) parts.push_back({&wires[i], Spans(cuts[i], 1 + random() % 50)});
    absl::StatusOr<Payload> payload = AssemblePush(whole, parts, std::make_shared<int>(0));
    ASSERT_TRUE(payload.ok()) << payload.status() << " seed " << seed << " round " << round;
    EXPECT_EQ(Joined(*payload), bytes);
  }
}

TEST(PushAssembly, RefusesHolesAndOverlaps) {
  const auto layout = MixedLayout();
  const WireLayout whole = Wire(*layout, {});
  const std::vector<std::byte> bytes(whole.total_bytes());
  const auto assemble = [&](const std::vector<std::vector<ElementRange>>& ranges) {
    std::vector<WireLayout> wires;
    for (const auto& part : ranges) wires.push_back(Wire(*layout, part));
    std::vector<AssemblyPart> parts;
    for (const WireLayout& wire : wires) parts.push_back({&wire, Spans(bytes, bytes.size())});
    return AssemblePush(whole, parts, nullptr).status();
  };
  const uint64_t all = layout->elements();
  EXPECT_TRUE(assemble({{{0, 50}}, {{50, all - 50}}}).ok());
  EXPECT_THAT(assemble({{{0, 50}}, {{51, all - 51}}}),
              Refused(absl::StatusCode::kInvalidArgument, "PART_MISMATCH"));
  EXPECT_THAT(assemble({{{0, 51}}, {{50, all - 50}}}),
              Refused(absl::StatusCode::kInvalidArgument, "PART_MISMATCH"));
  EXPECT_THAT(assemble({{{0, all}}, {{0, 10}}}),
              Refused(absl::StatusCode::kInvalidArgument, "PART_MISMATCH"));
  EXPECT_THAT(assemble({{{0, 100}}}), Refused(absl::StatusCode::kInvalidArgument, "PART_MISMATCH"));
  EXPECT_THAT(assemble({{{50, all - 50}}}), Refused(absl::StatusCode::kInvalidArgument, "PART_MISMATCH"));
}

TEST(PushAssembly, ThePayloadKeepsItsOwnerAlive) {
  const auto layout = MixedLayout();
  const WireLayout whole = Wire(*layout, {});
  auto bytes = std::make_shared<std::vector<std::byte>>(whole.total_bytes());
  Payload payload = *AssemblePush(whole, {{&whole, Spans(*bytes, 100)}}, bytes);
  const std::weak_ptr<std::vector<std::byte>> watched = bytes;
  bytes.reset();
  EXPECT_FALSE(watched.expired());
  payload = Payload();
  EXPECT_TRUE(watched.expired());
}

}  // namespace
}  // namespace stepback
