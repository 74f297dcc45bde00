// Which bytes of a payload are which elements: the payload of a push or pull is the concatenation, in table order, of
// the encoded form of every element it covers (training.proto). Pure arithmetic on checked numbers; O(tensors).
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/codec_info.h"
#include "server/core/layout.h"

namespace stepback {

// One contiguous run of one tensor in a payload.
struct WireRun {
  uint32_t tensor = 0;
  uint64_t first = 0;         // element within the tensor
  uint64_t count = 0;         // elements
  uint64_t byte_offset = 0;   // in the payload
  uint64_t bytes = 0;
  bool raw = false;           // carried: raw bytes of the trainer's dtype
};

enum class Direction : uint8_t { kPush, kPull };   // a push has no frozen tensors

class WireLayout {
 public:
  // present: bitmap of PushHeader.present, empty = all. ranges: empty = all elements. INVALID_ARGUMENT when a range is
  // out of bounds, unsorted, overlapping, off a codec block, or cuts a carried tensor; when the bitmap has the wrong
  // length or names a frozen tensor. Absent and frozen tensors inside a range are skipped.
  static absl::StatusOr<WireLayout> Make(const Layout& layout, const kernels::CodecInfo& codec, Direction direction,
                                         std::span<const uint8_t> present, std::span<const ElementRange> ranges);

  const std::vector<WireRun>& runs() const { return runs_; }  // ascending byte_offset
  uint64_t total_bytes() const { return total_bytes_; }
  const kernels::CodecInfo& codec() const { return *codec_; }

 private:
  std::vector<WireRun> runs_;
  uint64_t total_bytes_ = 0;
  const kernels::CodecInfo* codec_ = nullptr;
};

}  // namespace stepback
