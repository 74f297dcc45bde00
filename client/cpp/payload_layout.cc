#include "client/cpp/payload_layout.h"

#include <fmt/format.h>

#include <algorithm>

#include "server/base/status_macros.h"

namespace stepback::client {
namespace {

absl::Status CheckRanges(std::span<const ElementRange> ranges, uint64_t elements) {
  uint64_t end = 0;
  for (const ElementRange& range : ranges) {
    if (range.count == 0 || range.begin < end || range.begin > elements ||
        range.count > elements - range.begin) {
      return absl::InvalidArgumentError(
          fmt::format("range [{}, +{}) must be non-empty, ascending, and within {} elements", range.begin,
                      range.count, elements));
    }
    end = range.begin + range.count;
  }
  return absl::OkStatus();
}

// The part [first, first + count) of one tensor that a range covers may only cut where the form can be cut.
absl::Status CheckCut(const Tensor& tensor, uint64_t first, uint64_t count, const kernels::CodecInfo& codec) {
  const uint64_t elements = tensor.elements();
  const bool whole = first == 0 && count == elements;
  if (tensor.role == Role::kCarried && !whole) {
    return absl::InvalidArgumentError(
        fmt::format("tensor '{}' is carried: a range must hold it whole", tensor.name));
  }
  const uint64_t block = codec.block_elements;
  if (first % block != 0 || ((first + count) % block != 0 && first + count != elements)) {
    return absl::InvalidArgumentError(
        fmt::format("tensor '{}': elements [{}, +{}) are off the blocks of {} of codec {}", tensor.name,
                    first, count, block, std::string(codec.name)));
  }
  return absl::OkStatus();
}

// Element ranges within one tensor that `ranges` ask for; `next` walks the sorted ranges.
std::vector<ElementRange> Within(std::span<const ElementRange> ranges, uint64_t begin, uint64_t elements,
                                 size_t* next) {
  if (ranges.empty()) return {{0, elements}};
  std::vector<ElementRange> parts;
  const uint64_t end = begin + elements;
  while (*next < ranges.size() && ranges[*next].begin + ranges[*next].count <= begin) ++*next;
  for (size_t i = *next; i < ranges.size() && ranges[i].begin < end; ++i) {
    const uint64_t from = std::max(begin, ranges[i].begin);
    const uint64_t to = std::min(end, ranges[i].begin + ranges[i].count);
    if (from < to) parts.push_back({from - begin, to - from});
  }
  return parts;
}

}  // namespace

absl::StatusOr<PayloadLayout> PayloadLayout::Make(std::span<const Tensor> tensors,
                                                  const kernels::CodecInfo& codec, Direction direction,
                                                  const std::vector<bool>& present,
                                                  std::span<const ElementRange> ranges) {
  uint64_t elements = 0;
  for (const Tensor& tensor : tensors) elements += tensor.elements();
  RETURN_IF_ERROR(CheckRanges(ranges, elements));
  PayloadLayout layout;
  layout.codec_ = &codec;
  uint64_t begin = 0;
  size_t next_range = 0;
  for (uint32_t t = 0; t < tensors.size(); ++t) {
    const Tensor& tensor = tensors[t];
    const uint64_t count = tensor.elements();
    const bool sent =
        (direction == Direction::kPull || tensor.role != Role::kFrozen) && (present.empty() || present[t]);
    if (sent && count > 0) {
      for (const ElementRange& part : Within(ranges, begin, count, &next_range)) {
        RETURN_IF_ERROR(CheckCut(tensor, part.begin, part.count, codec));
        const bool raw = tensor.role == Role::kCarried;
        const uint64_t bytes = raw ? part.count * BytesOf(tensor.dtype) : codec.encoded_bytes(part.count);
        layout.runs_.push_back({t, part.begin, part.count, layout.total_bytes_, bytes, raw});
        layout.total_bytes_ += bytes;
      }
    }
    begin += count;
  }
  return layout;
}

const Run* PayloadLayout::RunAt(uint64_t offset) const {
  const auto after = std::upper_bound(runs_.begin(), runs_.end(), offset,
                                      [](uint64_t at, const Run& run) { return at < run.byte_offset; });
  return &*(after - 1);
}

absl::StatusOr<const kernels::CodecInfo*> CodecNamed(const std::string& name) {
  const kernels::CodecInfo* codec = kernels::FindCodec(name.empty() ? "f32" : name);
  if (codec != nullptr) return codec;
  std::string known;
  for (const kernels::CodecInfo& info : kernels::Codecs())
    known += fmt::format(" {}", std::string(info.name));
  return absl::InvalidArgumentError(fmt::format("codec '{}' is not one of:{}", name, known));
}

absl::StatusOr<std::vector<ElementRange>> EvenPart(std::span<const Tensor> tensors,
                                                   const kernels::CodecInfo& codec, uint32_t rank,
                                                   uint32_t ranks) {
  if (ranks == 0 || rank >= ranks) {
    return absl::InvalidArgumentError(fmt::format("rank {} is not below ranks {}", rank, ranks));
  }
  ASSIGN_OR_RETURN(const PayloadLayout layout, PayloadLayout::Make(tensors, codec, Direction::kPush, {}, {}));
  std::vector<uint64_t> begins;
  uint64_t elements = 0;
  for (const Tensor& tensor : tensors) {
    begins.push_back(elements);
    elements += tensor.elements();
  }
  // Element index where part `i` begins.
  const auto cut = [&](uint32_t i) -> uint64_t {
    if (i == 0) return 0;
    const uint64_t byte = layout.total_bytes() / ranks * i;
    if (i == ranks || byte >= layout.total_bytes()) return elements;
    const Run& run = *layout.RunAt(byte);
    using Wide = unsigned __int128;  // elements x bytes may pass 64 bits
    const uint64_t share =
        run.raw ? 0 : static_cast<uint64_t>(Wide{run.count} * (byte - run.byte_offset) / run.bytes);
    return begins[run.tensor] + share / codec.block_elements * codec.block_elements;
  };
  const ElementRange part{cut(rank), cut(rank + 1) - cut(rank)};
  if (part.count == 0) {
    return absl::InvalidArgumentError(
        fmt::format("rank {} of {} would get none of the {} elements", rank, ranks, elements));
  }
  return std::vector<ElementRange>{part};
}

}  // namespace stepback::client
