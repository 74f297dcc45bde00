// CRC32C (Castagnoli), the checksum of chunks on the wire and of blocks on disk: RFC 3720 appendix B.4, in
// its final form (initial and final inversion done here), so that Crc32c("123456789") is 0xe3069283.
// Thread-safe.
//
//   uint32_t crc = Crc32c(first, n);
//   crc = ExtendCrc32c(crc, second, m);   // as if both had been one piece
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/encoded_view.h"

namespace stepback {

uint32_t ExtendCrc32c(uint32_t crc, const void* data, size_t size);
inline uint32_t Crc32c(const void* data, size_t size) { return ExtendCrc32c(0, data, size); }
uint32_t Crc32c(const kernels::EncodedView& view);

}  // namespace stepback
