// Random numbers that codecs draw: from a counter, not from a state, so that an element gets the same number
// whoever encodes it, in whatever pieces, order, thread or instruction set (algorithms.md 10.2: keyed by
// model, tensor, version and index). Nobody needs them to decode.
#pragma once

#include <cstdint>
#include <string_view>

namespace stepback::kernels {

// Where a run of elements stands. Different keys, tensors or elements have independent numbers.
struct Draw {
  uint64_t key = 0;     // DrawKey
  uint32_t tensor = 0;  // place in the tensor table
  uint64_t first = 0;   // the run's first element within the tensor; a multiple of the codec's block
};

// FNV-1a of the bytes `model`, 0, `client_id`, 0, then `term` and `counter` as 8 little-endian bytes each. A
// push: its client and term 0, counter = sequence number. Weights: client "" and their version.
constexpr uint64_t DrawKey(std::string_view model, std::string_view client_id, uint64_t term,
                           uint64_t counter) {
  uint64_t hash = 0xcbf29ce484222325u;
  const auto add = [&](uint8_t byte) { hash = (hash ^ byte) * 0x100000001b3u; };
  for (const std::string_view text : {model, client_id}) {
    for (const char c : text) add(static_cast<uint8_t>(c));
    add(0);
  }
  for (const uint64_t number : {term, counter}) {
    for (int byte = 0; byte < 8; ++byte) add(static_cast<uint8_t>(number >> 8 * byte));
  }
  return hash;
}

}  // namespace stepback::kernels
