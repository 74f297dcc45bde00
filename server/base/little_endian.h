// Fixed-width little-endian integers in byte buffers, on any machine and at any alignment.
#pragma once

#include <cstdint>

namespace stepback {

inline void StoreLittle64(uint64_t value, void* to) {
  for (int i = 0; i < 8; ++i)
    static_cast<unsigned char*>(to)[i] = static_cast<unsigned char>(value >> (8 * i));
}
inline void StoreLittle32(uint32_t value, void* to) {
  for (int i = 0; i < 4; ++i)
    static_cast<unsigned char*>(to)[i] = static_cast<unsigned char>(value >> (8 * i));
}
inline uint64_t LoadLittle64(const void* from) {
  uint64_t value = 0;
  for (int i = 0; i < 8; ++i) value |= uint64_t{static_cast<const unsigned char*>(from)[i]} << (8 * i);
  return value;
}
inline uint32_t LoadLittle32(const void* from) {
  uint32_t value = 0;
  for (int i = 0; i < 4; ++i) value |= uint32_t{static_cast<const unsigned char*>(from)[i]} << (8 * i);
  return value;
}

}  // namespace stepback
