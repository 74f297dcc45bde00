// Walks the stream of a snapshot: arrays in order, each from a multiple of kArrayAlign, zeros between. Writer
// and reader share it, so that they cannot disagree about where a byte lies.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <vector>

#include "server/store/snapshot_format.h"

namespace stepback {

// Copied and checksummed at a time, while they are in the second-level cache.
inline constexpr uint64_t kCachedPieceBytes = 128 << 10;

// A run of bytes of one array, or of padding.
struct StreamSegment {
  std::optional<size_t> array;  // index; nothing: padding
  uint64_t offset = 0;          // in the array
  uint64_t bytes = 0;
};

class StreamCursor {
 public:
  // `arrays` outlives the cursor.
  explicit StreamCursor(const std::vector<ArrayInfo>& arrays) : arrays_(arrays) { SkipFinished(); }

  // Goes to byte `start` of the stream.
  void Seek(uint64_t start) {
    array_ = 0;
    at_ = start;
    while (array_ < arrays_.size() && at_ >= PaddedBytes(arrays_[array_].bytes)) {
      at_ -= PaddedBytes(arrays_[array_++].bytes);
    }
  }

  // The next run of at most `bytes_max` > 0 bytes; not called at the end of the stream.
  StreamSegment Next(uint64_t bytes_max) {
    const uint64_t array_bytes = arrays_[array_].bytes;
    const bool padding = at_ >= array_bytes;
    const uint64_t end = padding ? PaddedBytes(array_bytes) : array_bytes;
    StreamSegment segment{.offset = at_, .bytes = std::min(bytes_max, end - at_)};
    if (!padding) segment.array = array_;
    at_ += segment.bytes;
    SkipFinished();
    return segment;
  }

 private:
  void SkipFinished() {
    while (array_ < arrays_.size() && at_ == PaddedBytes(arrays_[array_].bytes)) {
      ++array_;
      at_ = 0;
    }
  }

  const std::vector<ArrayInfo>& arrays_;
  size_t array_ = 0;
  uint64_t at_ = 0;  // in the array and its padding
};

}  // namespace stepback
