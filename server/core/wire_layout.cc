#include "server/core/wire_layout.h"

#include <fmt/format.h>

#include <algorithm>

#include "server/base/errors.h"
#include "server/base/status_macros.h"

namespace stepback {
namespace {

absl::Status Refuse(const std::string& message) {
  return Error(absl::StatusCode::kInvalidArgument, "LAYOUT_MISMATCH", message);
}

bool HasBit(std::span<const uint8_t> bitmap, size_t i) { return (bitmap[i / 8] >> (i % 8) & 1) != 0; }

absl::Status CheckBitmap(const Layout& layout, Direction direction, std::span<const uint8_t> present) {
  if (present.empty()) return absl::OkStatus();
  const size_t tensors = layout.tensors().size(), bytes = (tensors + 7) / 8;
  if (present.size() != bytes) {
    return Refuse(
        fmt::format("present has {} bytes, expected {} for {} tensors", present.size(), bytes, tensors));
  }
  for (size_t t = 0; t < 8 * bytes; ++t) {
    if (!HasBit(present, t)) continue;
    if (t >= tensors) return Refuse(fmt::format("present names tensor {}, the table has {}", t, tensors));
    if (direction == Direction::kPush && layout.tensors()[t].role == Role::kFrozen) {
      return Refuse(fmt::format("present names tensor {}, which is frozen: it is never pushed", t));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckRanges(const Layout& layout, std::span<const ElementRange> ranges) {
  uint64_t end = 0;
  for (const ElementRange& range : ranges) {
    if (range.count == 0) return Refuse(fmt::format("the range at element {} is empty", range.begin));
    if (range.begin > layout.elements() || range.count > layout.elements() - range.begin) {
      return Refuse(fmt::format("the range of {} elements at {} ends after the model's {} elements",
                                range.count, range.begin, layout.elements()));
    }
    if (range.begin < end) {
      return Refuse(fmt::format("the range at element {} begins before {}, where the one before it ends",
                                range.begin, end));
    }
    end = range.begin + range.count;
  }
  return absl::OkStatus();
}

// Walks tensors and ranges side by side.
class RunBuilder {
 public:
  RunBuilder(const Layout& layout, const kernels::CodecInfo& codec, Direction direction,
             std::span<const uint8_t> present)
      : places_(layout.tensors()), codec_(codec), direction_(direction), present_(present) {}

  absl::Status Add(const ElementRange& range) {
    const uint64_t end = range.begin + range.count;
    while (tensor_ < places_.size() && EndOf(tensor_) <= range.begin) ++tensor_;
    for (size_t t = tensor_; t < places_.size() && places_[t].element_begin < end; ++t) {
      if (!Travels(t) || places_[t].elements == 0) continue;
      const uint64_t begin = places_[t].element_begin;
      RETURN_IF_ERROR(AddRun(t, std::max(range.begin, begin) - begin, std::min(end, EndOf(t)) - begin));
    }
    return absl::OkStatus();
  }

  std::vector<WireRun> runs;
  uint64_t bytes = 0;

 private:
  uint64_t EndOf(size_t t) const { return places_[t].element_begin + places_[t].elements; }

  bool Travels(size_t t) const {
    if (direction_ == Direction::kPush && places_[t].role == Role::kFrozen) return false;
    return present_.empty() || HasBit(present_, t);
  }

  absl::Status AddRun(size_t t, uint64_t first, uint64_t last) {
    const TensorPlace& place = places_[t];
    const bool raw = place.role == Role::kCarried;
    const uint64_t block = raw ? place.elements : codec_.block_elements;
    if (first % block != 0 || (last % block != 0 && last != place.elements)) {
      return Refuse(fmt::format("a range takes elements {}..{} of the {} of tensor {}, {}", first, last,
                                place.elements, t,
                                raw ? std::string("which is carried and travels whole")
                                    : fmt::format("a cut must be a multiple of {}", block)));
    }
    const uint64_t size = raw ? place.raw_bytes : codec_.encoded_bytes(last - first);
    runs.push_back({.tensor = static_cast<uint32_t>(t),
                    .first = first,
                    .count = last - first,
                    .byte_offset = bytes,
                    .bytes = size,
                    .raw = raw});
    bytes += size;
    return absl::OkStatus();
  }

  const std::vector<TensorPlace>& places_;
  const kernels::CodecInfo& codec_;
  const Direction direction_;
  const std::span<const uint8_t> present_;
  size_t tensor_ = 0;
};

}  // namespace

absl::StatusOr<WireLayout> WireLayout::Make(const Layout& layout, const kernels::CodecInfo& codec,
                                            Direction direction, std::span<const uint8_t> present,
                                            std::span<const ElementRange> ranges) {
  RETURN_IF_ERROR(CheckBitmap(layout, direction, present));
  RETURN_IF_ERROR(CheckRanges(layout, ranges));
  const ElementRange all{.begin = 0, .count = layout.elements()};
  if (ranges.empty()) ranges = {&all, 1};
  RunBuilder builder(layout, codec, direction, present);
  for (const ElementRange& range : ranges) RETURN_IF_ERROR(builder.Add(range));
  WireLayout wire;
  wire.runs_ = std::move(builder.runs);
  wire.total_bytes_ = builder.bytes;
  wire.codec_ = &codec;
  return wire;
}

}  // namespace stepback
