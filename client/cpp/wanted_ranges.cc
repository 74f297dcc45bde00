#include <algorithm>

#include "client/cpp/base_weights.h"
#include "client/cpp/model_impl.h"

namespace stepback::client {
namespace {

// Appends [begin, end), joined with the range before it when they touch.
void AddRange(uint64_t begin, uint64_t end, std::vector<ElementRange>* ranges) {
  if (begin >= end) return;
  if (!ranges->empty() && ranges->back().begin + ranges->back().count == begin) {
    ranges->back().count += end - begin;
  } else {
    ranges->push_back({begin, end - begin});
  }
}

// Appends what [begin, end) has in common with `within`, whose entries before *next end before `begin`.
void AddWithin(uint64_t begin, uint64_t end, std::span<const ElementRange> within, size_t* next,
               std::vector<ElementRange>* ranges) {
  if (within.empty()) return AddRange(begin, end, ranges);
  while (*next < within.size() && within[*next].begin + within[*next].count <= begin) ++*next;
  for (size_t i = *next; i < within.size() && within[i].begin < end; ++i) {
    AddRange(std::max(begin, within[i].begin), std::min(end, within[i].begin + within[i].count), ranges);
  }
}

}  // namespace

std::string DefaultView(Mode mode, const std::string& view) {
  if (!view.empty()) return view;
  return mode == Mode::kGradient ? "train" : "eval";
}

absl::StatusOr<std::vector<ElementRange>> WantedRanges(std::span<const Tensor> tensors,
                                                       std::span<const TensorSink> sinks,
                                                       const BaseWeights* base,
                                                       std::span<const ElementRange> within) {
  std::vector<ElementRange> ranges;
  uint64_t begin = 0;
  size_t next = 0;
  for (uint32_t t = 0; t < tensors.size(); ++t) {
    const uint64_t end = begin + tensors[t].elements();
    const bool kept = base != nullptr && !base->Overlap(t, 0, end - begin).empty();
    if (kept || (t < sinks.size() && sinks[t].data != nullptr)) AddWithin(begin, end, within, &next, &ranges);
    begin = end;
  }
  if (ranges.empty()) return absl::InvalidArgumentError("no sink wants anything: every data pointer is null");
  if (ranges.size() == 1 && ranges[0] == ElementRange{0, begin}) ranges.clear();
  return ranges;
}

}  // namespace stepback::client
