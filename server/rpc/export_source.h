// One version as the bytes of a safetensors file, piece by piece: the header, then each tensor in the file's
// order, read straight from the version. Nothing is put together in memory.
//
// Owner: an ExportModel stream. Thread: one at a time.
//
//   ASSIGN_OR_RETURN(auto source, ExportSource::Make(model, model->Pin(), View::kEval));
//   while (!source->done()) { ASSIGN_OR_RETURN(Payload piece, source->Next(1 << 20)); ... }
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "server/engine/engine.h"
#include "server/store/safetensors_header.h"

namespace stepback {

class ExportSource {
 public:
  // `model` outlives the source.
  static absl::StatusOr<std::unique_ptr<ExportSource>> Make(Handle* model, std::shared_ptr<PinnedVersion> pin,
                                                            View view);

  uint64_t total_bytes() const { return total_bytes_; }
  bool done() const { return position_ == total_bytes_; }
  uint64_t position() const { return position_; }
  Version version() const { return pin_->version().version; }
  PinnedVersion* pin() const { return pin_.get(); }
  // The next `bytes_max` bytes, or what is left. ABORTED(VERSION_GONE) once the version is revoked.
  absl::StatusOr<Payload> Next(uint64_t bytes_max);

 private:
  ExportSource(Handle* model, std::shared_ptr<PinnedVersion> pin, View view, SafetensorsHeader header);

  absl::Status Refill();
  absl::Status OpenNextTensor();

  Handle* const model_;
  const std::shared_ptr<PinnedVersion> pin_;
  const View view_;
  const SafetensorsHeader header_;
  std::map<std::string, size_t> index_;  // name -> place in the model's table
  uint64_t total_bytes_ = 0;
  uint64_t position_ = 0;
  struct Piece {
    std::shared_ptr<const Payload> bytes;
    uint64_t used = 0;
  };
  void Keep(Payload bytes);

  std::deque<Piece> ready_;  // read, not handed out
  uint64_t ready_bytes_ = 0;
  size_t next_tensor_ = 0;              // in header_.tensors
  std::unique_ptr<PullReader> reader_;  // of the tensor before it
  uint64_t next_chunk_ = 0;
};

}  // namespace stepback
