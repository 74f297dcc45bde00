#include "server/core/model_arrays.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "server/base/errors.h"
#include "server/base/status_macros.h"

namespace stepback {
namespace {

using kernels::Buffer;
using kernels::kMaxSlots;

constexpr uint64_t kPieceFloats = 256 * 1024;

bool HasBit(uint32_t mask, int i) { return (mask >> i & 1) != 0; }

bool StartsFromWeights(const kernels::SlotInfo* slot) { return slot != nullptr && slot->from_weights; }

uint32_t FirstMomentsOf(const kernels::RuleInfo& rule) {
  uint32_t mask = 0;
  for (size_t i = 0; i < rule.slots.size(); ++i) mask |= uint32_t{rule.slots[i].first_moment} << i;
  return mask;
}

}  // namespace

ArraySet SlotsOf(const ModelSpec& spec, const RuleTable& rules) {
  ArraySet set;
  if (rules.outer.has_value()) set.outer_slots = rules.outer->used_slots();
  for (const RuleChoice& choice : rules.inner) {
    set.inner_slots |= choice.used_slots();
    set.caches |= choice.used_slots() & FirstMomentsOf(choice.info());
  }
  if (spec.mode == Mode::kDelta || spec.inner_state != InnerState::kPullback) set.caches = 0;
  return set;
}

absl::StatusOr<std::unique_ptr<Buffer>> ArrayMaker::Allocate(uint64_t bytes) const {
  std::unique_ptr<Buffer> buffer = backend_->Allocate(bytes);
  if (buffer != nullptr) return buffer;
  return WithRetryAfter(
      Error(absl::StatusCode::kResourceExhausted, "NO_MEMORY",
            fmt::format("model '{}': no memory for an array of {} bytes", model_name_, bytes)),
      1);
}

absl::StatusOr<NextArrays> ArrayMaker::AllocateNext(const ArraySet& set) const {
  NextArrays next;
  const auto allocate = [this](bool wanted, std::unique_ptr<Buffer>* buffer) {
    if (!wanted) return absl::OkStatus();
    ASSIGN_OR_RETURN(*buffer, Allocate(arena_bytes()));
    return absl::OkStatus();
  };
  RETURN_IF_ERROR(allocate(set.phi, &next.phi));
  RETURN_IF_ERROR(allocate(set.theta, &next.theta));
  RETURN_IF_ERROR(allocate(set.delta, &next.delta));
  for (int i = 0; i < kMaxSlots; ++i) {
    RETURN_IF_ERROR(allocate(HasBit(set.inner_slots, i), &next.inner_slots[i]));
    RETURN_IF_ERROR(allocate(HasBit(set.outer_slots, i), &next.outer_slots[i]));
    RETURN_IF_ERROR(allocate(HasBit(set.caches, i), &next.caches[i]));
  }
  for (size_t i = 0; i < kMaxAverages; ++i) {
    RETURN_IF_ERROR(allocate(HasBit(set.averages, static_cast<int>(i)), &next.averages[i]));
  }
  return next;
}

absl::Status ArrayMaker::AddMissingSlots(const RuleTable& rules, ModelVersion* version) const {
  const ArraySet set = SlotsOf(*version->spec, rules);
  for (std::vector<Array>* arrays : {&version->inner_slots, &version->outer_slots, &version->caches}) {
    arrays->resize(kMaxSlots);
  }
  for (int i = 0; i < kMaxSlots; ++i) {
    if (HasBit(set.inner_slots, i) && version->inner_slots[i] == nullptr) {
      ASSIGN_OR_RETURN(version->inner_slots[i],
                       MakeSlot(rules, kernels::RuleKind::kInner, i, *version->theta));
    }
    if (HasBit(set.outer_slots, i) && version->outer_slots[i] == nullptr) {
      ASSIGN_OR_RETURN(version->outer_slots[i],
                       MakeSlot(rules, kernels::RuleKind::kOuter, i, *version->phi));
    }
    if (HasBit(set.caches, i) && version->caches[i] == nullptr) {
      ASSIGN_OR_RETURN(std::unique_ptr<Buffer> cache, Allocate(arena_bytes()));
      RETURN_IF_ERROR(Check(backend_->Zero(cache.get())));  // m_c starts at 0 (algorithms.md 4.2)
      version->caches[i] = std::move(cache);
    }
  }
  return absl::OkStatus();
}

// Zero, or the weights where a rule starts the slot from them; then every tensor whose rule starts it
// elsewhere.
absl::StatusOr<Array> ArrayMaker::MakeSlot(const RuleTable& rules, kernels::RuleKind kind, int slot,
                                           const Buffer& weights) const {
  ASSIGN_OR_RETURN(std::unique_ptr<Buffer> buffer, Allocate(arena_bytes()));
  const std::vector<const kernels::SlotInfo*> infos = SlotOfTensors(rules, kind, slot);
  const bool copy = std::any_of(infos.begin(), infos.end(), StartsFromWeights);
  RETURN_IF_ERROR(Check(copy ? backend_->Copy(buffer.get(), weights) : backend_->Zero(buffer.get())));
  for (size_t t = 0; t < infos.size(); ++t) {
    if (infos[t] == nullptr || infos[t]->from_weights || (!copy && infos[t]->init == 0)) continue;
    RETURN_IF_ERROR(FillTensor(buffer.get(), layout_->tensors()[t], infos[t]->init));
  }
  return Array(std::move(buffer));
}

// Per tensor: what its rule says about the slot; null: it has no such rule or slot.
std::vector<const kernels::SlotInfo*> ArrayMaker::SlotOfTensors(const RuleTable& rules,
                                                                kernels::RuleKind kind, int slot) const {
  std::vector<const kernels::SlotInfo*> infos;
  for (size_t t = 0; t < layout_->tensors().size(); ++t) {
    infos.push_back(nullptr);
    const int inner = rules.inner_of[t];
    if (layout_->tensors()[t].role != Role::kTrained) continue;
    if (kind == kernels::RuleKind::kInner && inner < 0) continue;
    const auto slots = (kind == kernels::RuleKind::kInner ? rules.inner[inner] : *rules.outer).info().slots;
    if (slot < static_cast<int>(slots.size())) infos.back() = &slots[slot];
  }
  return infos;
}

absl::Status ArrayMaker::FillTensor(Buffer* buffer, const TensorPlace& place, float value) const {
  const std::vector<float> piece(std::min(place.elements, kPieceFloats), value);
  for (uint64_t done = 0; done < place.elements; done += kPieceFloats) {
    const uint64_t count = std::min(kPieceFloats, place.elements - done);
    RETURN_IF_ERROR(
        Check(backend_->Upload(buffer, (place.arena_begin + done) * sizeof(float),
                               reinterpret_cast<const std::byte*>(piece.data()), count * sizeof(float))));
  }
  return absl::OkStatus();
}

absl::Status ArrayMaker::Check(kernels::Status status) const {
  return StatusOf(status, model_name_, "initialising a state array");
}

absl::Status StatusOf(kernels::Status status, const std::string& model_name, const std::string& doing) {
  switch (status) {
    case kernels::Status::kOk:
      return absl::OkStatus();
    case kernels::Status::kOutOfMemory:
      return Error(absl::StatusCode::kResourceExhausted, "NO_MEMORY",
                   fmt::format("model '{}': no memory while {}", model_name, doing));
    case kernels::Status::kDeviceError:
      break;
  }
  return Error(absl::StatusCode::kInternal, "DEVICE_ERROR",
               fmt::format("model '{}': the device failed while {}", model_name, doing));
}

absl::Status CheckFinite(kernels::Backend* backend, const ModelSpec& spec, const Layout& layout,
                         const Buffer& weights) {
  const kernels::CodecInfo* f32 = kernels::FindCodec("f32");
  std::vector<float> piece(std::min(layout.arena_floats(), kPieceFloats));
  for (size_t t = 0; t < layout.tensors().size(); ++t) {
    const TensorPlace& place = layout.tensors()[t];
    if (place.role != Role::kTrained && place.role != Role::kAveraged) continue;
    for (uint64_t done = 0; done < place.elements; done += kPieceFloats) {
      const uint64_t count = std::min(kPieceFloats, place.elements - done);
      auto* bytes = reinterpret_cast<std::byte*>(piece.data());
      RETURN_IF_ERROR(StatusOf(backend->Download(weights, (place.arena_begin + done) * sizeof(float), bytes,
                                                 count * sizeof(float)),
                               spec.name, "checking the weights"));
      if (f32->all_finite(bytes, count)) continue;
      return Error(
          absl::StatusCode::kInvalidArgument, "NONFINITE",
          fmt::format("model '{}': tensor '{}' has a NaN or an infinity", spec.name, spec.tensors[t].name));
    }
  }
  return absl::OkStatus();
}

}  // namespace stepback
