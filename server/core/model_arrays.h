// The state arrays of a model: which ones its rules need, memory for new ones, and their first content. All
// arrays are as long as the arena; memory comes from the back-end (the server's pool), and running out is an
// error, never a crash.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/backend.h"
#include "server/core/model_version.h"
#include "server/core/rule_choice.h"

namespace stepback {

// Bit i of a mask: slot i.
struct ArraySet {
  bool phi = false;
  bool theta = false;
  uint32_t inner_slots = 0;
  uint32_t outer_slots = 0;
  uint32_t caches = 0;
  uint32_t averages = 0;
  bool delta = false;
};

// Slots (and pullback caches) that the rules use with their present hyperparameters.
ArraySet SlotsOf(const ModelSpec& spec, const RuleTable& rules);

// What a commit writes; null: the array does not change.
struct NextArrays {
  std::unique_ptr<kernels::Buffer> phi, theta;
  std::unique_ptr<kernels::Buffer> delta;  // of the outer step, for averages that keep it
  std::unique_ptr<kernels::Buffer> inner_slots[kernels::kMaxSlots];
  std::unique_ptr<kernels::Buffer> outer_slots[kernels::kMaxSlots];
  std::unique_ptr<kernels::Buffer> caches[kernels::kMaxSlots];
  std::array<std::unique_ptr<kernels::Buffer>, kMaxAverages> averages;
};

// Makes arrays of one model. Plain; outlived by the back-end.
class ArrayMaker {
 public:
  ArrayMaker(kernels::Backend* backend, std::shared_ptr<const Layout> layout, std::string model_name)
      : backend_(backend), layout_(std::move(layout)), model_name_(std::move(model_name)) {}

  // RESOURCE_EXHAUSTED(NO_MEMORY).
  absl::StatusOr<std::unique_ptr<kernels::Buffer>> Allocate(uint64_t bytes) const;
  absl::StatusOr<NextArrays> AllocateNext(const ArraySet& set) const;
  // Adds the slots and caches that the rules of `version` need and it does not have, at their first value.
  absl::Status AddMissingSlots(const RuleTable& rules, ModelVersion* version) const;

  uint64_t arena_bytes() const { return layout_->arena_floats() * sizeof(float); }

 private:
  absl::StatusOr<Array> MakeSlot(const RuleTable& rules, kernels::RuleKind kind, int slot,
                                 const kernels::Buffer& weights) const;
  std::vector<const kernels::SlotInfo*> SlotOfTensors(const RuleTable& rules, kernels::RuleKind kind,
                                                      int slot) const;
  absl::Status FillTensor(kernels::Buffer* buffer, const TensorPlace& place, float value) const;
  absl::Status Check(kernels::Status status) const;

  kernels::Backend* backend_;
  std::shared_ptr<const Layout> layout_;
  std::string model_name_;
};

// A back-end's failure as RESOURCE_EXHAUSTED(NO_MEMORY) or INTERNAL(DEVICE_ERROR).
absl::Status StatusOf(kernels::Status status, const std::string& model_name, const std::string& doing);

// INVALID_ARGUMENT(NONFINITE) naming the first trained or averaged tensor with a NaN or an infinity. Frozen
// tensors may have them (attention masks), carried ones are bytes.
absl::Status CheckFinite(kernels::Backend* backend, const ModelSpec& spec, const Layout& layout,
                         const kernels::Buffer& weights);

}  // namespace stepback
