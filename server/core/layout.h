// Where every tensor lies: element indices of the dense wire order, and the 64-byte aligned arena (decisions 12).
// Immutable after Make; shared by everyone who touches the model.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "server/core/fragment_table.h"
#include "server/core/spec.h"
#include "server/core/tensor_place.h"

namespace stepback {

uint64_t BytesOf(DataType type);

class Layout {
 public:
  // INVALID_ARGUMENT on a bad name, shape, dtype, role, duplicate or overflow, and on
  // fragments that do not fit the table.
  static absl::StatusOr<std::shared_ptr<const Layout>> Make(const std::vector<TensorSpec>& tensors,
                                                            const FragmentSpec& fragments = {});

  const std::vector<TensorPlace>& tensors() const { return tensors_; }
  uint64_t elements() const { return elements_; }          // in all tensors
  uint64_t arena_floats() const { return arena_floats_; }  // a multiple of 16
  // Of the tensors; empty in a model that syncs as a whole.
  const FragmentTable& fragments() const { return fragments_; }
  // Rounds that may be open at once.
  uint32_t rounds() const { return fragments_.empty() ? 1 : fragments_.size(); }
  // SHA-256 of decisions 13; fragments are not in it.
  const std::array<uint8_t, 32>& fingerprint() const { return fingerprint_; }
  std::string fingerprint_hex() const;

 private:
  std::vector<TensorPlace> tensors_;
  FragmentTable fragments_;
  uint64_t elements_ = 0;
  uint64_t arena_floats_ = 0;
  std::array<uint8_t, 32> fingerprint_{};
};

}  // namespace stepback
