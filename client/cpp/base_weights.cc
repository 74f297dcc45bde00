#include "client/cpp/base_weights.h"

#include <fmt/format.h>

#include <algorithm>

namespace stepback::client {
namespace {

bool Differs(const Tensor& tensor, Mode mode) {
  return tensor.role == Role::kAveraged || (tensor.role == Role::kTrained && mode == Mode::kDelta);
}

}  // namespace

BaseWeights::BaseWeights(std::span<const Tensor> tensors, Mode mode, std::span<const ElementRange> ranges,
                         std::shared_ptr<BufferPool> pool, size_t fragments)
    : segments_(tensors.size()), pool_(std::move(pool)), bases_(std::max<size_t>(fragments, 1)) {
  // The ranges have been checked with the rank's push layout, so the identity codec cannot refuse them.
  const auto layout = PayloadLayout::Make(tensors, *kernels::FindCodec("f32"), Direction::kPush, {}, ranges);
  if (!layout.ok()) return;
  for (const Run& run : layout->runs()) {
    if (Differs(tensors[run.tensor], mode)) AddSegment(run.tensor, run.first, run.count);
  }
}

BaseWeights::BaseWeights(std::span<const Tensor> tensors, std::shared_ptr<BufferPool> pool)
    : segments_(tensors.size()), pool_(std::move(pool)), bases_(1) {
  for (uint32_t t = 0; t < tensors.size(); ++t) {
    const bool number = tensors[t].role != Role::kCarried;
    if (number && tensors[t].elements() > 0) AddSegment(t, 0, tensors[t].elements());
  }
}

void BaseWeights::AddSegment(uint32_t tensor, uint64_t first, uint64_t count) {
  segments_[tensor].push_back({first, count, floats_});
  floats_ += count;
}

BaseWeights::~BaseWeights() { pool_->Free(reinterpret_cast<std::byte*>(values_), floats_ * sizeof(float)); }

absl::Status BaseWeights::BeginWrite(Fragment fragment) {
  for (size_t f = 0; f < bases_.size(); ++f) {
    if (!fragment || *fragment == f) bases_[f] = {};
  }
  if (values_ != nullptr || floats_ == 0) return absl::OkStatus();
  values_ = reinterpret_cast<float*>(pool_->Allocate(floats_ * sizeof(float)));
  if (values_ != nullptr) return absl::OkStatus();
  return absl::ResourceExhaustedError(fmt::format("no memory for base weights of {} floats", floats_));
}

void BaseWeights::Commit(Version version, Fragment fragment, std::span<const uint64_t> steps) {
  for (size_t f = 0; f < bases_.size(); ++f) {
    if (!fragment || *fragment == f) bases_[f] = {version, f < steps.size() ? steps[f] : 0};
  }
}

Version BaseWeights::version(Fragment fragment) const {
  if (fragment) return bases_[*fragment].version;
  Version newest;
  for (const Base& base : bases_) newest = std::max(newest, base.version);
  return newest;
}

std::vector<BaseWeights::Piece> BaseWeights::Overlap(uint32_t tensor, uint64_t first, uint64_t count) const {
  std::vector<Piece> pieces;
  for (const Segment& segment : segments_[tensor]) {
    const uint64_t from = std::max(first, segment.first);
    const uint64_t to = std::min(first + count, segment.first + segment.count);
    if (from < to) pieces.push_back({from, to - from, values_ + segment.at + (from - segment.first)});
  }
  return pieces;
}

const float* BaseWeights::Find(uint32_t tensor, uint64_t first, uint64_t count) const {
  for (const Segment& segment : segments_[tensor]) {
    if (first >= segment.first && first + count <= segment.first + segment.count) {
      return values_ + segment.at + (first - segment.first);
    }
  }
  return nullptr;
}

}  // namespace stepback::client
