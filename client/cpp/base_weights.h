// The weights that a worker started from: what base - theta is formed with. One fp32 buffer for the elements
// that this rank pushes as differences (TRAINED and AVERAGED in delta mode, AVERAGED in gradient mode).
//
// Written by a pull chunk by chunk, so it is invalid from the first chunk until Commit; a broken pull leaves
// no base. Threads: one data call at a time.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "client/cpp/payload_layout.h"
#include "server/base/pool.h"
#include "stepback/definition.h"
#include "stepback/version.h"

namespace stepback::client {

class BaseWeights {
 public:
  // `ranges` as of the rank; empty: all elements.
  BaseWeights(std::span<const Tensor> tensors, Mode mode, std::span<const ElementRange> ranges,
              std::shared_ptr<BufferPool> pool);
  // Every number that a pull brings, frozen ones too.
  BaseWeights(std::span<const Tensor> tensors, std::shared_ptr<BufferPool> pool);
  ~BaseWeights();
  BaseWeights(const BaseWeights&) = delete;
  BaseWeights& operator=(const BaseWeights&) = delete;

  // Takes the memory on first use. RESOURCE_EXHAUSTED when there is none.
  absl::Status BeginWrite();
  void Commit(Version version) { version_ = version; }
  // Version 0: nothing pulled, or the last pull broke.
  Version version() const { return version_; }

  // A piece of one tensor that lies in the base: elements [first, first + count) start at `values`.
  struct Piece {
    uint64_t first = 0;
    uint64_t count = 0;
    float* values = nullptr;
  };
  // Pieces of `tensor` that overlap [first, first + count), cut to it.
  std::vector<Piece> Overlap(uint32_t tensor, uint64_t first, uint64_t count) const;
  // Where element `first` of `tensor` lies, if [first, first + count) lies in one piece; nullptr otherwise.
  const float* Find(uint32_t tensor, uint64_t first, uint64_t count) const;

 private:
  struct Segment {
    uint64_t first = 0;
    uint64_t count = 0;
    uint64_t at = 0;  // in the buffer
  };
  void AddSegment(uint32_t tensor, uint64_t first, uint64_t count);

  std::vector<std::vector<Segment>> segments_;  // by tensor
  uint64_t floats_ = 0;
  std::shared_ptr<BufferPool> pool_;
  float* values_ = nullptr;
  Version version_;
};

}  // namespace stepback::client
