#include "server/core/fold_plan.h"

#include <algorithm>

namespace stepback {
namespace {

// Raw runs stay whole: their place in an fp64 sum is one stretch of bytes.
kernels::Fold RawFold(const TensorPlace& place, const WireRun& run, bool first) {
  return {.byte_offset = run.byte_offset,
          .arena_begin = place.arena_begin,
          .count = run.bytes,
          .first = first,
          .raw = true};
}

void AppendFolds(const TensorPlace& place, const WireRun& run, const kernels::CodecInfo& codec, bool first,
                 std::vector<kernels::Fold>* folds) {
  const uint64_t blocks = std::max<uint64_t>(kFoldElements / codec.block_elements, 1);
  const uint64_t step = blocks * codec.block_elements;
  for (uint64_t done = 0; done < run.count; done += step) {
    folds->push_back({.codec = codec.id,
                      .byte_offset = run.byte_offset + codec.encoded_bytes(done),
                      .arena_begin = place.arena_begin + run.first + done,
                      .count = std::min(step, run.count - done),
                      .first = first});
  }
}

}  // namespace

std::vector<kernels::Fold> PlanFolds(const Layout& layout, const WireLayout& wire, const Round& round,
                                     FoldPart part) {
  std::vector<kernels::Fold> folds;
  folds.reserve(wire.runs().size());
  for (const WireRun& run : wire.runs()) {
    const TensorPlace& place = layout.tensors()[run.tensor];
    if ((place.role == Role::kTrained) != (part == FoldPart::kTrained)) continue;
    const bool first = !round.has(run.tensor);
    if (run.raw) {
      folds.push_back(RawFold(place, run, first));
    } else {
      AppendFolds(place, run, wire.codec(), first, &folds);
    }
  }
  return folds;
}

std::vector<int64_t> TensorOffsets(const Layout& layout, const WireLayout& wire) {
  std::vector<int64_t> offsets(layout.tensors().size(), -1);
  for (const WireRun& run : wire.runs()) offsets[run.tensor] = static_cast<int64_t>(run.byte_offset);
  return offsets;
}

}  // namespace stepback
