// The encoded bytes of one contribution in host memory, cut anywhere: gRPC's slices are the staging area and
// are never joined. Reading a block yields a pointer into the slice when the block lies inside one, and
// gathers it into the caller's scratch (at most one block, in L1) when it crosses a cut.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

namespace stepback::kernels {

struct ByteSpan {
  const std::byte* data = nullptr;
  size_t size = 0;
};

class EncodedView {
 public:
  EncodedView() = default;
  explicit EncodedView(std::vector<ByteSpan> spans) {
    for (const ByteSpan& span : spans) Append(span);
  }

  void Append(ByteSpan span) {
    if (span.size == 0) return;
    starts_.push_back(size_);
    spans_.push_back(span);
    size_ += span.size;
  }

  uint64_t size() const { return size_; }
  const std::vector<ByteSpan>& spans() const { return spans_; }
  // The span that holds byte `offset` (offset < size()), and the offset of a span's first byte.
  size_t SpanAt(uint64_t offset) const {
    return std::upper_bound(starts_.begin(), starts_.end(), offset) - starts_.begin() - 1;
  }
  uint64_t start(size_t span) const { return starts_[span]; }

  // `count` bytes from `offset` (offset + count <= size()); `scratch` holds at least `count` bytes.
  const std::byte* Read(uint64_t offset, size_t count, std::byte* scratch) const {
    if (count == 0) return scratch;
    size_t i = SpanAt(offset);
    size_t skip = offset - starts_[i];
    if (spans_[i].size - skip >= count) return spans_[i].data + skip;
    for (size_t done = 0; done < count; ++i, skip = 0) {
      const size_t take = std::min(count - done, spans_[i].size - skip);
      std::memcpy(scratch + done, spans_[i].data + skip, take);
      done += take;
    }
    return scratch;
  }

 private:
  std::vector<ByteSpan> spans_;
  std::vector<uint64_t> starts_;
  uint64_t size_ = 0;
};

}  // namespace stepback::kernels
