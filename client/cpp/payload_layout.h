// Which bytes of a payload are which elements (training.proto): the concatenation, in table order, of the
// encoded form of every element it covers. Pure arithmetic; O(tensors). Immutable after Make.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/codec_info.h"
#include "stepback/tensor.h"

namespace stepback::client {

// Encoded or decoded at a time: stays in the first-level cache.
inline constexpr uint64_t kStepElements = 2048;

// One contiguous run of one tensor.
struct Run {
  uint32_t tensor = 0;
  uint64_t first = 0;        // element within the tensor
  uint64_t count = 0;        // elements
  uint64_t byte_offset = 0;  // in the payload
  uint64_t bytes = 0;
  bool raw = false;  // CARRIED: bytes of the trainer's dtype, whatever the codec
};

// A push has no FROZEN tensors; a pull and initial weights have all.
enum class Direction : uint8_t { kPush, kPull };

class PayloadLayout {
 public:
  // present: by table index, empty: all. ranges: ascending and disjoint, empty: all elements.
  // INVALID_ARGUMENT when a range is out of bounds, unsorted, off a codec block, or cuts a CARRIED tensor.
  static absl::StatusOr<PayloadLayout> Make(std::span<const Tensor> tensors, const kernels::CodecInfo& codec,
                                            Direction direction, const std::vector<bool>& present,
                                            std::span<const ElementRange> ranges);

  const std::vector<Run>& runs() const { return runs_; }  // ascending byte_offset
  uint64_t total_bytes() const { return total_bytes_; }
  const kernels::CodecInfo& codec() const { return *codec_; }
  // The run that holds byte `offset` (< total_bytes()).
  const Run* RunAt(uint64_t offset) const;

 private:
  std::vector<Run> runs_;
  uint64_t total_bytes_ = 0;
  const kernels::CodecInfo* codec_ = nullptr;
};

// INVALID_ARGUMENT naming the codec when this build does not know it. "" is "f32".
absl::StatusOr<const kernels::CodecInfo*> CodecNamed(const std::string& name);

// The part of `rank` when `ranks` processes share a push evenly by bytes: cut at codec blocks, CARRIED
// tensors whole. INVALID_ARGUMENT when a rank would get nothing.
absl::StatusOr<std::vector<ElementRange>> EvenPart(std::span<const Tensor> tensors,
                                                   const kernels::CodecInfo& codec, uint32_t rank,
                                                   uint32_t ranks);

}  // namespace stepback::client
