#include "server/base/crc32c.h"

#include <isa-l/crc.h>

#include <algorithm>

namespace stepback {

// ISA-L's crc32_iscsi takes and returns the bare register, without the inversions at both ends, and an int
// length.
uint32_t ExtendCrc32c(uint32_t crc, const void* data, size_t size) {
  constexpr size_t kPieceMax = size_t{1} << 30;
  auto* next =
      static_cast<unsigned char*>(const_cast<void*>(data));  // read only; the C signature lacks the const
  uint32_t bare = ~crc;
  for (size_t left = size; left > 0;) {
    const size_t piece = std::min(left, kPieceMax);
    bare = crc32_iscsi(next, static_cast<int>(piece), bare);
    next += piece;
    left -= piece;
  }
  return ~bare;
}

uint32_t Crc32c(const kernels::EncodedView& view) {
  uint32_t crc = 0;
  for (const kernels::ByteSpan& span : view.spans()) crc = ExtendCrc32c(crc, span.data, span.size);
  return crc;
}

}  // namespace stepback
