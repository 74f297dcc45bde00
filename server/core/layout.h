// Where every tensor lies: element indices of the dense wire order, and the 64-byte aligned arena (decisions 12).
// Immutable after Make; shared by everyone who touches the model.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "server/core/spec.h"

namespace stepback {

uint64_t BytesOf(DataType type);

struct TensorPlace {
  uint64_t elements = 0;        // product of the shape (1 for a scalar, 0 when a dimension is 0)
  uint64_t element_begin = 0;   // first element in the dense concatenation of all tensors
  uint64_t arena_begin = 0;     // first float in the arena
  uint64_t arena_floats = 0;    // = elements; carried: floats that hold the raw bytes
  uint64_t raw_bytes = 0;       // elements x size of the trainer's dtype
  Role role = Role::kTrained;
};

class Layout {
 public:
  // INVALID_ARGUMENT on a bad name, shape, dtype, role, duplicate or overflow.
  static absl::StatusOr<std::shared_ptr<const Layout>> Make(const std::vector<TensorSpec>& tensors);

  const std::vector<TensorPlace>& tensors() const { return tensors_; }
  uint64_t elements() const { return elements_; }          // in all tensors
  uint64_t arena_floats() const { return arena_floats_; }  // a multiple of 16
  // SHA-256 of decisions 13.
  const std::array<uint8_t, 32>& fingerprint() const { return fingerprint_; }
  std::string fingerprint_hex() const;

 private:
  std::vector<TensorPlace> tensors_;
  uint64_t elements_ = 0;
  uint64_t arena_floats_ = 0;
  std::array<uint8_t, 32> fingerprint_{};
};

}  // namespace stepback
