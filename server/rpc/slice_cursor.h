// Reads protobuf's basic forms straight from the slices of a received message, wherever they are cut. Nothing
// is copied and nothing is allocated from a declared length: every length is checked against what is there
// first.
//
// Owner: the parser of one message. Thread: one. The slices outlive the cursor.
//
//   SliceCursor cursor(slices);
//   while (!cursor.done()) if (!cursor.ReadTag(&tag) || !cursor.SkipField(tag)) return malformed;
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include <grpcpp/support/slice.h>

#include "server/base/payload.h"

namespace stepback {

enum class WireType : uint8_t {
  kVarint = 0,
  kFixed64 = 1,
  kBytes = 2,
  kGroup = 3,
  kEndGroup = 4,
  kFixed32 = 5
};

inline uint32_t FieldOf(uint32_t tag) { return tag >> 3; }
inline WireType WireTypeOf(uint32_t tag) { return static_cast<WireType>(tag & 7); }

class SliceCursor {
 public:
  explicit SliceCursor(std::span<const grpc::Slice> slices);

  // Bytes left before the current limit.
  uint64_t remaining() const { return limit_ - position_; }
  bool done() const { return position_ == limit_; }

  // Each returns false when the bytes end first or are no legal encoding; the cursor is then of no more use.
  bool ReadVarint(uint64_t* value);  // 1 to 10 bytes, minimal or not
  bool ReadTag(uint32_t* tag);       // 1 to 5 bytes, field number 1 or more
  bool ReadFixed32(uint32_t* value);
  bool ReadLength(uint64_t* length);  // 1 to 5 bytes, no more than remaining()
  bool Skip(uint64_t count);
  // Skips the value of an unknown field, groups included.
  bool SkipField(uint32_t tag);
  // Appends the next `length` bytes; length <= remaining().
  void AppendTo(uint64_t length, std::string* text);
  // References the next `length` bytes, which `owner` keeps alive; length <= remaining().
  void AppendTo(uint64_t length, const std::shared_ptr<const void>& owner, Payload* payload);

  // Narrows the view to the next `length` bytes (<= remaining()) and returns the outer limit for Leave.
  uint64_t Enter(uint64_t length);
  // After an inner message was read to its end.
  void Leave(uint64_t outer_limit) { limit_ = outer_limit; }

 private:
  static constexpr int kGroupDepthMax = 100;

  bool ReadByte(uint8_t* byte);
  bool ReadVarintOf(int bytes_max, uint64_t* value);
  bool SkipGroup(uint32_t field, int depth);
  bool SkipValue(uint32_t tag, int depth);
  // The next contiguous run of at most `length` bytes, consumed; length > 0 and <= remaining().
  kernels::ByteSpan TakeRun(uint64_t length);

  std::span<const grpc::Slice> slices_;
  size_t slice_ = 0;       // current slice
  size_t in_slice_ = 0;    // bytes of it already read
  uint64_t position_ = 0;  // bytes read of the whole message
  uint64_t limit_ = 0;
};

}  // namespace stepback
