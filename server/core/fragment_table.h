// Which tensors a fragment has: the parts of the tensor table that sync on their own schedules (ModelSpec.
// fragments). Cut at tensor borders, so codec blocks, which restart at every tensor, never straddle two.
// Frozen tensors belong to none. Immutable after Make; part of a model's Layout.
//
//   ASSIGN_OR_RETURN(FragmentTable table, FragmentTable::Make(tensors, places, spec.fragments));
//   table[2].ranges;           // elements of the dense concatenation
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "server/core/spec.h"
#include "server/core/tensor_place.h"

namespace stepback {

struct Fragment {
  std::vector<uint32_t> tensors;     // ascending; at least one element in all
  std::vector<ElementRange> ranges;  // ascending and disjoint, joined where tensors touch
  std::vector<uint8_t> present;      // PushHeader.present of a push that has all of them
};

class FragmentTable {
 public:
  // Empty when `spec` asks for none. INVALID_ARGUMENT naming field, value and bound.
  static absl::StatusOr<FragmentTable> Make(const std::vector<TensorSpec>& tensors,
                                            const std::vector<TensorPlace>& places, const FragmentSpec& spec);

  bool empty() const { return fragments_.empty(); }
  uint32_t size() const { return static_cast<uint32_t>(fragments_.size()); }
  const Fragment& operator[](uint32_t fragment) const { return fragments_[fragment]; }

  struct Place {
    int32_t fragment = -1;  // -1: none
    uint32_t index = 0;     // in Fragment::tensors
  };
  const Place& Of(size_t tensor) const { return places_[tensor]; }

  // OK when the model has fragments and `fragment` is one of them, or neither. INVALID_ARGUMENT
  // (FRAGMENT_INVALID) naming model, value and bound.
  absl::Status Check(const std::string& model, std::optional<uint32_t> fragment) const;
  // Whether every range lies within the fragment. INVALID_ARGUMENT(FRAGMENT_INVALID).
  absl::Status CheckRanges(const std::string& model, uint32_t fragment,
                           std::span<const ElementRange> ranges) const;

 private:
  absl::Status Add(std::vector<uint32_t> tensors, const std::vector<TensorPlace>& places,
                   const std::string& field);

  std::vector<Fragment> fragments_;
  std::vector<Place> places_;  // by tensor; empty without fragments
};

// What workers are told: the local step (modulo H) after which they push a fragment, and the alpha of
// theta = alpha theta + (1 - alpha) received. `spec` has passed ValidateSpec.
uint32_t FragmentOffset(const ModelSpec& spec, uint32_t fragment, uint32_t fragments);
double FragmentMixing(const FragmentSpec& spec);

}  // namespace stepback
