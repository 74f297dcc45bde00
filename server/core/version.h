// A version of a model's weights: ordered by (term, counter), never going backwards for any reader (decisions 2).
#pragma once

#include <compare>
#include <cstdint>
#include <string>

namespace stepback {

struct Version {
  uint64_t term = 0;
  uint64_t counter = 0;

  friend auto operator<=>(const Version&, const Version&) = default;
  std::string ToString() const { return std::to_string(term) + "." + std::to_string(counter); }
};

}  // namespace stepback
