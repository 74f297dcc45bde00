// Constants of the format on disk, docs/on_disk_format.md. Changing one is a new format version.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "server/store/snapshot.h"

namespace stepback {

inline constexpr uint32_t kFormatVersion = 1;

// Manifest frame: magic, u32 version, u32 zero, u64 body size, u32 CRC32C of the 24 bytes before, u32 CRC32C
// of the body.
inline constexpr char kManifestMagic[8] = {'S', 'B', 'M', 'A', 'N', 'I', 'F', '\n'};
inline constexpr size_t kManifestHeaderBytes = 32;
inline constexpr uint64_t kManifestBytesMax = 256ull << 20;

// The stream: arrays in order, each from a multiple of kArrayAlign, padded with zeros; cut into files, files
// into blocks.
inline constexpr uint64_t kArrayAlign = 4096;  // = the alignment of direct I/O
inline constexpr uint64_t kBlockBytes = 4ull << 20;
inline constexpr uint64_t kFileBytes = 64ull << 20;
inline constexpr uint64_t kStreamBytesMax = 1ull << 50;
static_assert(kFileBytes % kBlockBytes == 0 && kBlockBytes % kArrayAlign == 0);

inline uint64_t PaddedBytes(uint64_t bytes) { return (bytes + kArrayAlign - 1) / kArrayAlign * kArrayAlign; }

}  // namespace stepback
