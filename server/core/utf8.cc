#include "server/core/utf8.h"

#include <cstddef>
#include <cstdint>

namespace stepback {
namespace {

// What a first byte announces: how many bytes follow, and the bounds of the first of them (the others
// are 80..BF).
struct Lead {
  size_t following = 0;
  uint8_t second_min = 0x80;
  uint8_t second_max = 0xBF;
  bool valid = true;
};

Lead LeadOf(uint8_t byte) {
  if (byte < 0x80) return {.following = 0};
  if (byte < 0xC2) return {.valid = false};  // a continuation byte, or an overlong form
  if (byte < 0xE0) return {.following = 1};
  if (byte == 0xE0) return {.following = 2, .second_min = 0xA0};
  if (byte == 0xED) return {.following = 2, .second_max = 0x9F};  // surrogates
  if (byte < 0xF0) return {.following = 2};
  if (byte == 0xF0) return {.following = 3, .second_min = 0x90};
  if (byte < 0xF4) return {.following = 3};
  if (byte == 0xF4) return {.following = 3, .second_max = 0x8F};
  return {.valid = false};
}

}  // namespace

bool IsUtf8(std::string_view bytes) {
  for (size_t i = 0; i < bytes.size();) {
    const Lead lead = LeadOf(static_cast<uint8_t>(bytes[i]));
    if (!lead.valid || bytes.size() - i <= lead.following) return false;
    for (size_t j = 1; j <= lead.following; ++j) {
      const auto byte = static_cast<uint8_t>(bytes[i + j]);
      if (byte < (j == 1 ? lead.second_min : 0x80) || byte > (j == 1 ? lead.second_max : 0xBF)) return false;
    }
    i += lead.following + 1;
  }
  return true;
}

}  // namespace stepback
