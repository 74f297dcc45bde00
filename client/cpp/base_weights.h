// The weights that a worker started from: what base - theta is formed with. One fp32 buffer for the elements
// that this rank pushes as differences (TRAINED and AVERAGED in delta mode, AVERAGED in gradient mode).
//
// Written by a pull chunk by chunk, so it is invalid from the first chunk until Commit; a broken pull leaves
// no base. Every fragment has a base of its own. Threads: one data call at a time.
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
  // `ranges` as of the rank; empty: all elements. `fragments`: of the model, 0: it has none.
  BaseWeights(std::span<const Tensor> tensors, Mode mode, std::span<const ElementRange> ranges,
              std::shared_ptr<BufferPool> pool, size_t fragments = 0);
  // Every number that a pull brings, frozen ones too.
  BaseWeights(std::span<const Tensor> tensors, std::shared_ptr<BufferPool> pool);
  ~BaseWeights();
  BaseWeights(const BaseWeights&) = delete;
  BaseWeights& operator=(const BaseWeights&) = delete;

  using Fragment = std::optional<uint32_t>;  // nullopt: the whole model

  // Takes the memory on first use. RESOURCE_EXHAUSTED when there is none.
  absl::Status BeginWrite(Fragment fragment = {});
  // `steps`: outer steps of each fragment at `version`.
  void Commit(Version version, Fragment fragment = {}, std::span<const uint64_t> steps = {});
  // Version 0: nothing pulled, or the last pull broke. The whole of a model of fragments: their newest.
  Version version(Fragment fragment = {}) const;
  // Of a fragment, at its version.
  uint64_t step(uint32_t fragment) const { return bases_[fragment].step; }

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
  struct Base {
    Version version;
    uint64_t step = 0;
  };
  std::vector<Base> bases_;  // one, or one per fragment
};

}  // namespace stepback::client
