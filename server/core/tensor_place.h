// Where one tensor lies, and stretches of elements: the words of layouts.
#pragma once

#include <cstdint>

#include "server/core/spec.h"

namespace stepback {

struct TensorPlace {
  uint64_t elements = 0;       // product of the shape (1 for a scalar, 0 when a dimension is 0)
  uint64_t element_begin = 0;  // first element in the dense concatenation of all tensors
  uint64_t arena_begin = 0;    // first float in the arena
  uint64_t arena_floats = 0;   // = elements; carried: floats that hold the raw bytes
  uint64_t raw_bytes = 0;      // elements x size of the trainer's dtype
  Role role = Role::kTrained;
};

// Elements [begin, begin + count) of the dense concatenation of all tensors.
struct ElementRange {
  uint64_t begin = 0;
  uint64_t count = 0;
};

}  // namespace stepback
