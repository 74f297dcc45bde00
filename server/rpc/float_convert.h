// Float types of safetensors files to fp32, element by element, little-endian and unaligned. Pure.
#pragma once

#include <cstddef>
#include <cstdint>

#include "server/store/safetensors_dtype.h"

namespace stepback {

float FloatFromHalf(uint16_t bits);

// `count` elements of F32, F64 (rounded to nearest), F16 or BF16.
void ConvertToFloat(SafetensorsDtype dtype, const std::byte* from, size_t count, std::byte* to);

}  // namespace stepback
