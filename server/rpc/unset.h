// proto3 numbers that a caller left out. Pure.
#pragma once

namespace stepback {

// The number, or its default where 0 means "not set".
template <typename Number>
Number Or(Number value, Number unset) {
  return value == 0 ? unset : value;
}

}  // namespace stepback
