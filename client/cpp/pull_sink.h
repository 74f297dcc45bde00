// Received bytes into the caller's tensors, and into the base weights beside them: straight from the
// transport's slices, each byte copied once per destination.
//
// Threads: one. Bytes come in order.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "client/cpp/base_weights.h"
#include "client/cpp/payload_layout.h"
#include "server/base/payload.h"
#include "stepback/tensor.h"

namespace stepback::client {

// INVALID_ARGUMENT unless every wanted sink has room for its runs.
absl::Status CheckSinks(const PayloadLayout& layout, std::span<const Tensor> tensors,
                        std::span<const TensorSink> sinks);

class PullSink {
 public:
  // `layout` and `base` (nullptr: none) outlive the sink; `sinks` have been checked.
  // `fragment`: that the layout is of.
  PullSink(const PayloadLayout* layout, std::span<const TensorSink> sinks, BaseWeights* base,
           BaseWeights::Fragment fragment = {});

  uint64_t total_bytes() const { return layout_->total_bytes(); }
  // Starts over, with the first byte; RESOURCE_EXHAUSTED when the base has no memory.
  absl::Status Begin();
  // The next bytes of the payload; at most what is left of it.
  void Accept(const kernels::EncodedView& bytes);
  uint64_t received() const { return received_; }
  // Whether anything of the caller's memory has been overwritten.
  bool touched() const { return touched_; }
  // All bytes are there and `version` is what they are, with these outer steps of each fragment.
  void Commit(Version version, std::span<const uint64_t> fragment_steps = {});

 private:
  void Copy(const Run& run, uint64_t begin, const std::byte* from, uint64_t bytes);
  void Decode(const Run& run, uint64_t begin, const std::byte* from, uint64_t bytes);
  void DecodeBlocks(const Run& run, uint64_t element, uint64_t count, const std::byte* from);
  void Store(const Run& run, uint64_t element, uint64_t count, const float* values);

  const PayloadLayout* const layout_;
  const std::span<const TensorSink> sinks_;
  BaseWeights* const base_;
  const BaseWeights::Fragment fragment_;
  uint64_t received_ = 0;
  bool touched_ = false;
  std::vector<float> values_;
  std::vector<std::byte> cut_;  // of a block that arrives in pieces
  uint64_t cut_bytes_ = 0;
};

}  // namespace stepback::client
