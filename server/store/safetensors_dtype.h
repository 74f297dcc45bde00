// Element types of the safetensors format.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace stepback {

enum class SafetensorsDtype : uint8_t {
  kBool,
  kU8,
  kI8,
  kF8E5M2,
  kF8E4M3,
  kI16,
  kU16,
  kF16,
  kBf16,
  kI32,
  kU32,
  kF32,
  kI64,
  kU64,
  kF64,
};

std::string_view NameOf(SafetensorsDtype dtype);  // as in files: "F32", "BF16", ...
size_t BytesOf(SafetensorsDtype dtype);           // per element: 1, 2, 4 or 8
std::optional<SafetensorsDtype> SafetensorsDtypeNamed(std::string_view name);

}  // namespace stepback
