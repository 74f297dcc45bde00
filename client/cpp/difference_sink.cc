#include "client/cpp/difference_sink.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "client/cpp/convert.h"
#include "kernels/codecs/bf16_changes.h"
#include "server/base/status_macros.h"

namespace stepback::client {

DifferenceSink::DifferenceSink(std::span<const Tensor> tensors, const kernels::CodecInfo* codec,
                               const kernels::CodecInfo& full, std::span<const TensorSink> sinks, BaseWeights* held)
    : tensors_(tensors), codec_(codec), sinks_(sinks), held_(held) {
  // All elements of every tensor: nothing that a layout could refuse.
  layout_ = *PayloadLayout::Make(tensors, codec == nullptr ? full : *codec, Direction::kPush, {}, {});
  full_bytes_ = PayloadLayout::Make(tensors, full, Direction::kPull, {}, {})->total_bytes();
}

absl::Status DifferenceSink::Begin(const v1::Difference& difference, uint64_t total_bytes) {
  const uint64_t count = difference.count();
  const bool fits = codec_ == nullptr ? total_bytes <= full_bytes_ && (count > 0 || total_bytes == 0)
                                      : count <= full_bytes_ && total_bytes == count * layout_.total_bytes();
  if (FromProto(difference.base()) != held_->version() || !fits) {
    return absl::DataLossError(
        fmt::format("pull: {} differences of {} bytes from version {}, held is {} of {} bytes", count,
                    total_bytes, FromProto(difference.base()).ToString(), held_->version().ToString(),
                    full_bytes_));
  }
  total_bytes_ = total_bytes;
  received_ = 0;
  left_ = difference.count();
  run_ = at_ = 0;
  unit_.clear();
  SkipToRun();
  return held_->BeginWrite();
}

absl::Status DifferenceSink::Accept(const kernels::EncodedView& bytes) {
  for (const kernels::ByteSpan& span : bytes.spans()) {
    RETURN_IF_ERROR(Take(span.data, span.size));
    received_ += span.size;
  }
  return absl::OkStatus();
}

absl::Status DifferenceSink::Take(const std::byte* from, uint64_t bytes) {
  while (bytes > 0) {
    if (left_ == 0) return absl::DataLossError(fmt::format("pull: {} bytes behind the differences", bytes));
    const Run& run = layout_.runs()[run_];
    uint64_t taken = 0;
    if (run.raw) {
      taken = TakeRaw(run, from, bytes);
    } else {
      ASSIGN_OR_RETURN(const uint64_t size, UnitBytes());
      taken = std::min(size - unit_.size(), bytes);
      unit_.insert(unit_.end(), from, from + taken);
      ASSIGN_OR_RETURN(const uint64_t needed, UnitBytes());
      if (unit_.size() == needed) RETURN_IF_ERROR(AddUnit(run));
    }
    from += taken;
    bytes -= taken;
  }
  return absl::OkStatus();
}

uint64_t DifferenceSink::TakeRaw(const Run& run, const std::byte* from, uint64_t bytes) {
  const uint64_t taken = std::min(run.bytes - at_, bytes);
  const TensorSink& sink = sinks_[run.tensor];
  if (sink.data != nullptr) std::memcpy(static_cast<std::byte*>(sink.data) + at_, from, taken);
  Advance(taken);
  return taken;
}

// Elements of the block (lossless) or of the blocks (a codec) that are added at a time.
uint64_t DifferenceSink::UnitElements() const {
  const uint64_t left = layout_.runs()[run_].count - at_;
  if (codec_ == nullptr) return std::min<uint64_t>(left, kernels::kChangeBlock);
  return std::min(left, std::max(kStepElements / codec_->block_elements, uint64_t{1}) * codec_->block_elements);
}

// Of the unit at hand, as far as its bytes tell yet.
absl::StatusOr<uint64_t> DifferenceSink::UnitBytes() const {
  const uint64_t n = UnitElements();
  if (codec_ != nullptr) return codec_->encoded_bytes(n);
  if (unit_.size() < kernels::kChangeHeader) return kernels::kChangeHeader;
  const uint64_t count = kernels::LoadAs<uint16_t>(unit_.data());
  if (count > n) return absl::DataLossError(fmt::format("pull: {} changes in a block of {}", count, n));
  return kernels::ChangeBytes(n, count);
}

absl::Status DifferenceSink::AddUnit(const Run& run) {
  const uint64_t n = UnitElements();
  float* const held = held_->Overlap(run.tensor, at_, n).front().values;  // held whole
  if (codec_ == nullptr) {
    if (!kernels::ChangesAreSound(unit_.data(), n)) {
      return absl::DataLossError(fmt::format("pull: changes of tensor '{}' from element {} are out of order",
                                             tensors_[run.tensor].name, at_));
    }
    kernels::ForChanges(unit_.data(), n, [held](size_t i, float x) { held[i] = x; });
  } else {
    values_.resize(std::max<uint64_t>(values_.size(), n));
    codec_->decode(unit_.data(), n, values_.data());
    for (uint64_t i = 0; i < n; ++i) held[i] += values_[i];
  }
  unit_.clear();
  Advance(n);
  return absl::OkStatus();
}

void DifferenceSink::Advance(uint64_t by) {
  const Run& run = layout_.runs()[run_];
  at_ += by;
  if (at_ < (run.raw ? run.bytes : run.count)) return;
  at_ = 0;
  ++run_;
  SkipToRun();
}

void DifferenceSink::SkipToRun() {
  if (layout_.runs().empty()) left_ = 0;
  if (left_ == 0 || run_ < layout_.runs().size()) return;
  run_ = 0;
  --left_;
}

void DifferenceSink::Commit(Version version) {
  held_->Commit(version);
  CopyToSinks();
}

void DifferenceSink::CopyToSinks() const {
  for (uint32_t t = 0; t < tensors_.size(); ++t) {
    const uint64_t elements = tensors_[t].elements();
    if (sinks_[t].data == nullptr || tensors_[t].role == Role::kCarried || elements == 0) continue;
    std::memcpy(sinks_[t].data, held_->Find(t, 0, elements), elements * sizeof(float));
  }
}

}  // namespace stepback::client
