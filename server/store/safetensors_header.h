// The header of a safetensors file: which tensors it holds and where. File: u64 little-endian header size,
// the header (JSON, padded with spaces to a multiple of 8), the tensors' bytes back to back.
//
// Decoding trusts nothing: at most 100,000,000 bytes starting with '{', no key twice, only known fields and
// dtypes, no arithmetic that wraps, and tensors that tile the data exactly, without holes or overlap. Pure;
// threads: any.
//
//   ASSIGN_OR_RETURN(SafetensorsHeader header, LayOutSafetensors({{"w", SafetensorsDtype::kF32, {2, 3}}},
//   {{"format", "pt"}})); std::string start_of_file = EncodeSafetensorsHeader(header);
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "server/store/safetensors_dtype.h"

namespace stepback {

inline constexpr uint64_t kSafetensorsHeaderBytesMax = 100'000'000;
inline constexpr size_t kSafetensorsRankMax = 64;
inline constexpr size_t kSafetensorsLengthBytes = 8;

struct SafetensorsTensor {
  std::string name;
  SafetensorsDtype dtype = SafetensorsDtype::kF32;
  std::vector<uint64_t> shape;  // empty: a scalar
  uint64_t begin = 0;           // byte offsets in the data, which starts after the header
  uint64_t end = 0;
  uint64_t bytes() const { return end - begin; }
  bool operator==(const SafetensorsTensor&) const = default;
};

struct SafetensorsHeader {
  std::vector<SafetensorsTensor> tensors;  // by offset
  std::map<std::string, std::string> metadata;
  uint64_t data_bytes = 0;
  bool operator==(const SafetensorsHeader&) const = default;
};

// Gives every tensor its place (begin and end of the arguments are ignored): larger elements first, otherwise
// in the given order, so that every tensor is aligned to its element. INVALID_ARGUMENT: a name twice,
// reserved or not UTF-8, a size that overflows, a header that grows too long.
absl::StatusOr<SafetensorsHeader> LayOutSafetensors(std::vector<SafetensorsTensor> tensors,
                                                    std::map<std::string, std::string> metadata);

// Length and JSON: the bytes a file starts with. `header` comes from LayOutSafetensors.
std::string EncodeSafetensorsHeader(const SafetensorsHeader& header);

// From the JSON alone. INVALID_ARGUMENT says what is wrong and where.
absl::StatusOr<SafetensorsHeader> DecodeSafetensorsHeader(std::string_view json);

}  // namespace stepback
