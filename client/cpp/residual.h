// What a lossy codec has kept back so far (error feedback): the worker sends Q(e + delta), not Q(delta), and
// the part that Q lost is added to the next push, so the sum of what arrives stays within one residual of the
// sum of what was meant (algorithms.md 10.5, invariant 33):
//
//   x = beta e + delta,  send Q(x),  e' = x - decode(Q(x))
//
// One fp32 value per element that this rank pushes, twice: a push reads e and writes e', and only Commit
// makes e' the residual. Until then the push can be formed again, bit for bit, however often it takes; a push
// that is refused or skipped leaves e as it was.
//
// Threads: one data call at a time.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "client/cpp/payload_layout.h"
#include "server/base/pool.h"
#include "stepback/definition.h"

namespace stepback::client {

class Residual {
 public:
  // `ranges` as of the rank, checked with its push layout; empty: all elements. `beta` in [0, 1].
  Residual(std::span<const Tensor> tensors, const kernels::CodecInfo& codec,
           std::span<const ElementRange> ranges, double beta, std::shared_ptr<BufferPool> pool);
  ~Residual();
  Residual(const Residual&) = delete;
  Residual& operator=(const Residual&) = delete;

  // Takes the memory on first use, zeros. RESOURCE_EXHAUSTED when there is none.
  absl::Status Begin();
  float beta() const { return beta_; }

  // Elements [first, first + count) of `tensor`, which lie in one run of the rank's push: what is left of
  // earlier pushes, and where this push's rest goes.
  const float* Now(uint32_t tensor, uint64_t first) const { return At(tensor, first, false); }
  float* Next(uint32_t tensor, uint64_t first) { return At(tensor, first, true); }

  // The push with these tensors has been accepted: its rest is the residual of its tensors from now on.
  void Commit(const PayloadLayout& pushed);
  // The server has lost what was sent: a residual of it would correct a push that nobody has. Of these
  // tensors.
  void Reset(const PayloadLayout& pushed);
  // Of all.
  void Reset();

 private:
  struct Segment {
    uint64_t first = 0;
    uint64_t count = 0;
    uint64_t at = 0;      // in either half
    bool second = false;  // which half holds the residual now
  };
  float* At(uint32_t tensor, uint64_t first, bool next) const;
  Segment* Find(uint32_t tensor, uint64_t first);

  std::vector<std::vector<Segment>> segments_;  // by tensor
  uint64_t floats_ = 0;
  const float beta_;
  const std::shared_ptr<BufferPool> pool_;
  float* halves_ = nullptr;  // 2 x floats_
};

}  // namespace stepback::client
