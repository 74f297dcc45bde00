// A version of a model's weights: ordered by (term, counter), never going backwards for any reader. The term
// rises with every recovery and restore, the counter with every commit. Term 0: no version.
#pragma once

#include <compare>
#include <cstdint>
#include <string>

namespace stepback::client {

struct Version {
  uint64_t term = 0;
  uint64_t counter = 0;

  friend auto operator<=>(const Version&, const Version&) = default;
  explicit operator bool() const { return term != 0; }
  std::string ToString() const { return std::to_string(term) + "." + std::to_string(counter); }
};

}  // namespace stepback::client
