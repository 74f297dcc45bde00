#include "server/rpc/float_convert.h"

#include <bit>
#include <cmath>
#include <cstring>

namespace stepback {
namespace {

template <typename Bits, typename Convert>
void ConvertEach(const std::byte* from, size_t count, std::byte* to, Convert convert) {
  for (size_t i = 0; i < count; ++i) {
    Bits bits;
    std::memcpy(&bits, from + i * sizeof bits, sizeof bits);
    const float value = convert(bits);
    std::memcpy(to + i * sizeof value, &value, sizeof value);
  }
}

}  // namespace

float FloatFromHalf(uint16_t bits) {
  const uint32_t sign = uint32_t{bits & 0x8000u} << 16;
  const uint32_t exponent = (bits >> 10) & 0x1f, fraction = bits & 0x3ff;
  if (exponent == 0) {  // zero and subnormals: fraction x 2^-24
    const float magnitude = std::ldexp(static_cast<float>(fraction), -24);
    return std::bit_cast<float>(sign | std::bit_cast<uint32_t>(magnitude));
  }
  const uint32_t wide = exponent == 0x1f ? 0xff : exponent + 127 - 15;
  return std::bit_cast<float>(sign | wide << 23 | fraction << 13);
}

void ConvertToFloat(SafetensorsDtype dtype, const std::byte* from, size_t count, std::byte* to) {
  switch (dtype) {
    case SafetensorsDtype::kF64:
      return ConvertEach<double>(from, count, to, [](double value) { return static_cast<float>(value); });
    case SafetensorsDtype::kF16:
      return ConvertEach<uint16_t>(from, count, to, FloatFromHalf);
    case SafetensorsDtype::kBf16:
      return ConvertEach<uint16_t>(from, count, to,
                                   [](uint16_t bits) { return std::bit_cast<float>(uint32_t{bits} << 16); });
    default:
      std::memcpy(to, from, count * sizeof(float));
  }
}

}  // namespace stepback
