#include "client/cpp/pull_sink.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "server/base/status_macros.h"

namespace stepback::client {
namespace {

uint64_t CallerElementBytes(const Run& run, const Tensor& tensor) {
  return run.raw ? BytesOf(tensor.dtype) : sizeof(float);
}

}  // namespace

absl::Status CheckSinks(const PayloadLayout& layout, std::span<const Tensor> tensors,
                        std::span<const TensorSink> sinks) {
  if (sinks.size() != tensors.size()) {
    return absl::InvalidArgumentError(
        fmt::format("{} tensors given, the table has {}", sinks.size(), tensors.size()));
  }
  for (const Run& run : layout.runs()) {
    const TensorSink& sink = sinks[run.tensor];
    if (sink.data == nullptr) continue;
    const Tensor& tensor = tensors[run.tensor];
    const uint64_t begin = run.first - std::min(sink.first, run.first);
    const uint64_t needed = (begin + run.count) * CallerElementBytes(run, tensor);
    const bool whole = run.count == tensor.elements() && sink.first == 0;
    if (sink.first > run.first || sink.bytes < needed || (whole && sink.bytes != needed)) {
      return absl::InvalidArgumentError(fmt::format(
          "tensor '{}' has room for {} bytes from element {}, expected {} bytes for elements [{}, +{}) as {}",
          tensor.name, sink.bytes, sink.first, needed, run.first, run.count,
          run.raw ? NameOf(tensor.dtype) : "f32"));
    }
  }
  return absl::OkStatus();
}

PullSink::PullSink(const PayloadLayout* layout, std::span<const TensorSink> sinks, BaseWeights* base,
                   BaseWeights::Fragment fragment)
    : layout_(layout), sinks_(sinks), base_(base), fragment_(fragment) {
  const kernels::CodecInfo& codec = layout->codec();
  values_.resize(std::max<uint64_t>(kStepElements, codec.block_elements));
  cut_.resize(codec.encoded_bytes(codec.block_elements));
}

absl::Status PullSink::Begin() {
  received_ = 0;
  cut_bytes_ = 0;
  return base_ == nullptr ? absl::OkStatus() : base_->BeginWrite(fragment_);
}

void PullSink::Accept(const kernels::EncodedView& bytes) {
  for (const kernels::ByteSpan& span : bytes.spans()) {
    touched_ = true;
    for (uint64_t done = 0; done < span.size;) {
      const Run& run = *layout_->RunAt(received_);
      const uint64_t begin = received_ - run.byte_offset;
      const uint64_t take = std::min<uint64_t>(run.bytes - begin, span.size - done);
      if (run.raw || layout_->codec().name == "f32") {
        Copy(run, begin, span.data + done, take);
      } else {
        Decode(run, begin, span.data + done, take);
      }
      done += take;
      received_ += take;
    }
  }
}

void PullSink::Commit(Version version, std::span<const uint64_t> fragment_steps) {
  if (base_ != nullptr) base_->Commit(version, fragment_, fragment_steps);
}

// Bytes [begin, begin + bytes) of a run whose wire form is its memory form; cuts may fall within elements.
void PullSink::Copy(const Run& run, uint64_t begin, const std::byte* from, uint64_t bytes) {
  const uint64_t element_bytes = run.bytes / run.count;
  const TensorSink& sink = sinks_[run.tensor];
  if (sink.data != nullptr) {
    auto* to = static_cast<std::byte*>(sink.data) + (run.first - sink.first) * element_bytes + begin;
    std::memcpy(to, from, bytes);
  }
  if (base_ == nullptr || run.raw) return;
  // A base piece in bytes of the run: [piece_begin, piece_end).
  for (const BaseWeights::Piece& piece : base_->Overlap(run.tensor, run.first, run.count)) {
    const uint64_t piece_begin = (piece.first - run.first) * sizeof(float);
    const uint64_t piece_end = piece_begin + piece.count * sizeof(float);
    const uint64_t lo = std::max(begin, piece_begin), hi = std::min(begin + bytes, piece_end);
    if (lo < hi)
      std::memcpy(reinterpret_cast<std::byte*>(piece.values) + (lo - piece_begin), from + (lo - begin),
                  hi - lo);
  }
}

void PullSink::Decode(const Run& run, uint64_t begin, const std::byte* from, uint64_t bytes) {
  const uint64_t block = layout_->codec().block_elements, block_bytes = cut_.size();
  for (uint64_t done = 0; done < bytes;) {
    const uint64_t at = begin + done;
    const uint64_t element = at / block_bytes * block;
    const uint64_t whole = cut_bytes_ == 0 ? (bytes - done) / block_bytes : 0;
    if (whole > 0) {
      DecodeBlocks(run, element, std::min(whole * block, run.count - element), from + done);
      done += whole * block_bytes;
      continue;
    }
    // The bytes of this block as far as they go (the last block of a run may be short).
    const uint64_t elements = std::min(block, run.count - element);
    const uint64_t size = layout_->codec().encoded_bytes(elements);
    const uint64_t take = std::min(size - cut_bytes_, bytes - done);
    std::memcpy(cut_.data() + cut_bytes_, from + done, take);
    cut_bytes_ += take;
    done += take;
    if (cut_bytes_ < size) return;
    cut_bytes_ = 0;
    DecodeBlocks(run, element, elements, cut_.data());
  }
}

void PullSink::DecodeBlocks(const Run& run, uint64_t element, uint64_t count, const std::byte* from) {
  const kernels::CodecInfo& codec = layout_->codec();
  const uint64_t step = values_.size() / codec.block_elements * codec.block_elements;
  for (uint64_t done = 0; done < count; done += step) {
    const uint64_t n = std::min(step, count - done);
    codec.decode(from, n, values_.data());
    from += codec.encoded_bytes(n);
    Store(run, element + done, n, values_.data());
  }
}

void PullSink::Store(const Run& run, uint64_t element, uint64_t count, const float* values) {
  const uint64_t first = run.first + element;
  const TensorSink& sink = sinks_[run.tensor];
  if (sink.data != nullptr) {
    std::memcpy(static_cast<float*>(sink.data) + (first - sink.first), values, count * sizeof(float));
  }
  if (base_ == nullptr) return;
  for (const BaseWeights::Piece& piece : base_->Overlap(run.tensor, first, count)) {
    std::memcpy(piece.values, values + (piece.first - first), piece.count * sizeof(float));
  }
}

}  // namespace stepback::client
