#include "client/cpp/residual.h"

#include <fmt/format.h>

#include <algorithm>

namespace stepback::client {

Residual::Residual(std::span<const Tensor> tensors, const kernels::CodecInfo& codec,
                   std::span<const ElementRange> ranges, double beta, std::shared_ptr<BufferPool> pool)
    : segments_(tensors.size()), beta_(static_cast<float>(beta)), pool_(std::move(pool)) {
  const auto layout = PayloadLayout::Make(tensors, codec, Direction::kPush, {}, ranges);
  if (!layout.ok()) return;
  for (const Run& run : layout->runs()) {
    if (run.raw) continue;
    segments_[run.tensor].push_back({run.first, run.count, floats_});
    floats_ += run.count;
  }
}

Residual::~Residual() { pool_->Free(reinterpret_cast<std::byte*>(halves_), 2 * floats_ * sizeof(float)); }

absl::Status Residual::Begin() {
  if (halves_ != nullptr || floats_ == 0) return absl::OkStatus();
  halves_ = reinterpret_cast<float*>(pool_->Allocate(2 * floats_ * sizeof(float)));
  if (halves_ == nullptr) {
    return absl::ResourceExhaustedError(fmt::format("no memory for a residual of 2 x {} floats", floats_));
  }
  Reset();
  return absl::OkStatus();
}

void Residual::Commit(const PayloadLayout& pushed) {
  for (const Run& run : pushed.runs()) {
    if (run.raw) continue;
    Segment* const segment = Find(run.tensor, run.first);
    if (segment != nullptr) segment->second = !segment->second;
  }
}

void Residual::Reset() {
  if (halves_ != nullptr) std::fill_n(halves_, 2 * floats_, 0.0f);
}

void Residual::Reset(const PayloadLayout& pushed) {
  for (const Run& run : pushed.runs()) {
    if (run.raw || halves_ == nullptr) continue;
    for (const bool next : {false, true}) std::fill_n(At(run.tensor, run.first, next), run.count, 0.0f);
  }
}

Residual::Segment* Residual::Find(uint32_t tensor, uint64_t first) {
  for (Segment& segment : segments_[tensor]) {
    if (first >= segment.first && first < segment.first + segment.count) return &segment;
  }
  return nullptr;
}

float* Residual::At(uint32_t tensor, uint64_t first, bool next) const {
  const Segment* const segment = const_cast<Residual*>(this)->Find(tensor, first);
  if (segment == nullptr || halves_ == nullptr) return nullptr;
  const bool second = segment->second != next;
  return halves_ + (second ? floats_ : 0) + segment->at + (first - segment->first);
}

}  // namespace stepback::client
