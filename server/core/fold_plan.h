// How the bytes of a push meet the arena: the runs of a payload as folds into the running sum, or as one
// offset per tensor for staged pushes. Pure arithmetic on checked layouts, O(tensors).
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/backend.h"
#include "server/core/layout.h"
#include "server/core/round.h"
#include "server/core/wire_layout.h"

namespace stepback {

inline constexpr uint64_t kFoldElements = 64 * 1024;  // of one fold, so that they spread over threads

// Which tensors of a push: its trained ones may have a weight of their own.
enum class FoldPart : uint8_t { kTrained, kOthers };

// Folds of that part of a push into the sum of `round`, which does not hold the push yet: the first push to
// have a tensor overwrites.
std::vector<kernels::Fold> PlanFolds(const Layout& layout, const WireLayout& wire, const Round& round,
                                     FoldPart part);

// Byte offset of every tensor in the payload of a whole push; -1: absent (or empty).
std::vector<int64_t> TensorOffsets(const Layout& layout, const WireLayout& wire);

}  // namespace stepback
