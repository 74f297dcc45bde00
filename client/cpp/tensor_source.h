// The caller's tensors as an upload: gradients and raw bytes leave straight from the caller's memory, base -
// theta and narrower codecs are formed chunk by chunk in pooled buffers while earlier chunks are on their
// way.
//
// Threads: one. The caller's memory must stay as it is until every payload read from here is let go
// (CallerMemory).
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "client/cpp/base_weights.h"
#include "client/cpp/chunk_source.h"
#include "client/cpp/payload_layout.h"
#include "client/cpp/residual.h"
#include "server/base/pool.h"
#include "stepback/tensor.h"

namespace stepback::client {

// INVALID_ARGUMENT unless every tensor of `layout` has data that covers its runs.
absl::Status CheckTensors(const PayloadLayout& layout, std::span<const Tensor> tensors,
                          std::span<const TensorData> data);

class TensorSource final : public ChunkSource {
 public:
  struct Options {
    // Elements found in it are sent as base - value, the others as they are. nullptr: all as they are.
    const BaseWeights* base = nullptr;
    // Multiplies the differences (AVERAGED tensors under loss scaling: the server divides everything).
    float difference_scale = 1;
    // Error feedback: what it holds is added, what the codec loses goes into its next state. nullptr: none.
    Residual* residual = nullptr;
    // Of codecs that draw random numbers: kernels::DrawKey of this upload.
    uint64_t draw_key = 0;
    // Copies everything: the payloads outlive the caller's memory (replay).
    bool copy = false;
    // Held by every payload that points into the caller's memory.
    std::shared_ptr<const void> caller_memory;
  };
  // `layout` and `data` (checked with CheckTensors) outlive the source.
  TensorSource(const PayloadLayout* layout, std::span<const TensorData> data,
               std::shared_ptr<BufferPool> pool, Options options);

  uint64_t total_bytes() const override { return layout_->total_bytes(); }
  absl::StatusOr<Payload> Read(uint64_t offset, uint64_t bytes) override;

 private:
  struct Piece;  // the part of one run that lies in the chunk

  const float* ValuesAt(const Run& run, uint64_t element) const;
  bool AsItIs(const Run& run) const;
  void Write(const Piece& piece, std::byte* out);
  void WriteBlocks(const Run& run, uint64_t element, uint64_t count, std::byte* out);
  const float* Prepare(const Run& run, uint64_t element, uint64_t count);
  const float* AddResidual(const Run& run, uint64_t element, uint64_t count, const float* values);
  void KeepRest(const Run& run, uint64_t element, uint64_t count, const float* values, const std::byte* sent);

  const PayloadLayout* const layout_;
  const std::span<const TensorData> data_;
  const std::shared_ptr<BufferPool> pool_;
  const Options options_;
  std::vector<float> values_;       // differences of one step of WriteBlocks
  std::vector<float> decoded_;      // of the same step, as the server will see it (error feedback)
  std::vector<std::byte> encoded_;  // of blocks that the chunk's ends cut
};

}  // namespace stepback::client
