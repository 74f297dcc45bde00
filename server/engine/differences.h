// The chains of differences that one model keeps for its readers: at most kChainsMax, each of one view and
// form. The one that was read longest ago makes way for another, and a chain that nobody has read for
// kIdleVersions goes.
//
// Threads: any.
#pragma once

#include <list>
#include <memory>

#include "server/base/mutex.h"
#include "server/engine/difference_chain.h"

namespace stepback {

class Differences {
 public:
  static constexpr size_t kChainsMax = 2;
  static constexpr uint32_t kIdleVersions = 256;

  explicit Differences(FormMemory memory) : memory_(std::move(memory)) {}

  // As DifferenceChain::Read.
  absl::StatusOr<std::optional<DifferenceChain::Answer>> Read(const std::shared_ptr<LiveVersion>& live,
                                                              const View& view, const DifferenceSpec& has);
  // A version has been published.
  void Age();
  // Of all chains: part of the model's state.
  uint64_t held_bytes() const;

 private:
  struct Entry {
    std::shared_ptr<DifferenceChain> chain;
    uint32_t idle_versions = 0;
  };
  std::shared_ptr<DifferenceChain> ChainOf(const View& view, int codec);

  const FormMemory memory_;
  mutable Mutex mu_;
  std::list<Entry> chains_ GUARDED_BY(mu_);  // last read first
  uint64_t next_id_ GUARDED_BY(mu_) = 1;
};

}  // namespace stepback
