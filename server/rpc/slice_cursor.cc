#include "server/rpc/slice_cursor.h"

#include <algorithm>

namespace stepback {

SliceCursor::SliceCursor(std::span<const grpc::Slice> slices) : slices_(slices) {
  for (const grpc::Slice& slice : slices) limit_ += slice.size();
}

kernels::ByteSpan SliceCursor::TakeRun(uint64_t length) {
  while (in_slice_ == slices_[slice_].size()) {
    ++slice_;
    in_slice_ = 0;
  }
  const grpc::Slice& slice = slices_[slice_];
  const size_t size = std::min<uint64_t>(length, slice.size() - in_slice_);
  const auto* data = reinterpret_cast<const std::byte*>(slice.begin()) + in_slice_;
  in_slice_ += size;
  position_ += size;
  return {data, size};
}

bool SliceCursor::ReadByte(uint8_t* byte) {
  if (done()) return false;
  *byte = static_cast<uint8_t>(*TakeRun(1).data);
  return true;
}

bool SliceCursor::ReadVarint(uint64_t* value) { return ReadVarintOf(10, value); }

bool SliceCursor::ReadVarintOf(int bytes_max, uint64_t* value) {
  *value = 0;
  for (int shift = 0; shift < 7 * bytes_max; shift += 7) {
    uint8_t byte;
    if (!ReadByte(&byte)) return false;
    if (shift < 64) *value |= static_cast<uint64_t>(byte & 0x7f) << shift;
    if (byte < 0x80) return true;
  }
  return false;
}

bool SliceCursor::ReadTag(uint32_t* tag) {
  uint64_t value;
  if (!ReadVarintOf(5, &value)) return false;
  *tag = static_cast<uint32_t>(value);  // protobuf drops higher bits, too
  return FieldOf(*tag) != 0;
}

bool SliceCursor::ReadFixed32(uint32_t* value) {
  *value = 0;
  for (int shift = 0; shift < 32; shift += 8) {
    uint8_t byte;
    if (!ReadByte(&byte)) return false;
    *value |= static_cast<uint32_t>(byte) << shift;
  }
  return true;
}

bool SliceCursor::ReadLength(uint64_t* length) { return ReadVarintOf(5, length) && *length <= remaining(); }

bool SliceCursor::Skip(uint64_t count) {
  if (count > remaining()) return false;
  while (count > 0) count -= TakeRun(count).size;
  return true;
}

bool SliceCursor::SkipField(uint32_t tag) { return SkipValue(tag, 0); }

bool SliceCursor::SkipValue(uint32_t tag, int depth) {
  uint64_t number;
  switch (WireTypeOf(tag)) {
    case WireType::kVarint:
      return ReadVarint(&number);
    case WireType::kFixed64:
      return Skip(8);
    case WireType::kBytes:
      return ReadLength(&number) && Skip(number);
    case WireType::kGroup:
      return depth < kGroupDepthMax && SkipGroup(FieldOf(tag), depth + 1);
    case WireType::kFixed32:
      return Skip(4);
    default:
      return false;
  }
}

bool SliceCursor::SkipGroup(uint32_t field, int depth) {
  uint32_t tag;
  while (ReadTag(&tag)) {
    if (WireTypeOf(tag) == WireType::kEndGroup) return FieldOf(tag) == field;
    if (!SkipValue(tag, depth)) return false;
  }
  return false;
}

void SliceCursor::AppendTo(uint64_t length, std::string* text) {
  text->reserve(text->size() + length);
  while (length > 0) {
    const kernels::ByteSpan run = TakeRun(length);
    text->append(reinterpret_cast<const char*>(run.data), run.size);
    length -= run.size;
  }
}

void SliceCursor::AppendTo(uint64_t length, const std::shared_ptr<const void>& owner, Payload* payload) {
  while (length > 0) {
    const kernels::ByteSpan run = TakeRun(length);
    payload->Append(run, owner);
    length -= run.size;
  }
}

uint64_t SliceCursor::Enter(uint64_t length) {
  const uint64_t outer = limit_;
  limit_ = position_ + length;
  return outer;
}

}  // namespace stepback
