// Differences from the version that a worker holds, added to what it holds as they arrive (docs/wire.md,
// "Differences"), and the result copied to the caller's tensors at the end. Differences need what they start
// from: a stream that breaks leaves nothing held, and the next pull is in full.
//
// Threads: one. Bytes come in order.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "client/cpp/base_weights.h"
#include "client/cpp/payload_layout.h"
#include "server/base/payload.h"
#include "stepback/tensor.h"
#include "stepback/v1/training.pb.h"

namespace stepback::client {

class DifferenceSink {
 public:
  // `codec` of the differences; nullptr: lossless, of the numbers of `full`, the codec of what they are taken
  // between. `held` has every number of the table; it, `tensors` and `sinks` (checked, nothing but whole tensors)
  // outlive the sink.
  DifferenceSink(std::span<const Tensor> tensors, const kernels::CodecInfo* codec, const kernels::CodecInfo& full,
                 std::span<const TensorSink> sinks, BaseWeights* held);

  // What comes; DATA_LOSS unless it starts from what is held and has the size that it must have.
  absl::Status Begin(const v1::Difference& difference, uint64_t total_bytes);
  uint64_t total_bytes() const { return total_bytes_; }
  uint64_t received() const { return received_; }
  // The next bytes of the payload; at most what is left of it. DATA_LOSS when they say what no server sends.
  absl::Status Accept(const kernels::EncodedView& bytes);
  // All bytes are there, as many as the differences have.
  bool complete() const { return received_ == total_bytes_ && left_ == 0; }
  void Commit(Version version);

 private:
  absl::StatusOr<uint64_t> UnitBytes() const;
  absl::Status Take(const std::byte* from, uint64_t bytes);
  uint64_t TakeRaw(const Run& run, const std::byte* from, uint64_t bytes);
  absl::Status AddUnit(const Run& run);
  void Advance(uint64_t by);
  void SkipToRun();
  uint64_t UnitElements() const;
  void CopyToSinks() const;

  const std::span<const Tensor> tensors_;
  const kernels::CodecInfo* const codec_;
  const std::span<const TensorSink> sinks_;
  BaseWeights* const held_;
  PayloadLayout layout_;  // of one difference; lossless: of the full form of the same tensors
  uint64_t full_bytes_ = 0;
  uint64_t total_bytes_ = 0;
  uint64_t received_ = 0;
  uint32_t left_ = 0;  // differences that are not through
  size_t run_ = 0;     // within the difference at hand
  uint64_t at_ = 0;    // element, or byte of a carried tensor, within the run
  std::vector<std::byte> unit_;  // what has come of the block at hand
  std::vector<float> values_;
};

}  // namespace stepback::client
