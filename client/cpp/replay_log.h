// Pushes that were acknowledged but are not on disk yet (durability ROUND, decisions 8): if the server dies,
// they are sent again. Bounded by bytes and by count.
//
// Threads: one data call at a time.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "client/cpp/push_job.h"

namespace stepback::client {

class ReplayLog {
 public:
  static constexpr size_t kPushesMax = 1024;

  explicit ReplayLog(uint64_t bytes_max) : bytes_max_(bytes_max) {}

  // Whether `pushes` of together `bytes` may be added.
  bool HasRoom(uint64_t bytes, size_t pushes = 1) const {
    return jobs_.size() + pushes <= kPushesMax && bytes_ + bytes <= bytes_max_;
  }
  bool empty() const { return jobs_.empty(); }
  uint64_t bytes() const { return bytes_; }
  uint64_t bytes_max() const { return bytes_max_; }

  // `job`'s source keeps its bytes (KeptSource, completed).
  void Add(PushJob job);
  void DropThrough(uint64_t durable_sequence);
  // Returns the id of the newest of them; 0: none was lost.
  uint64_t DropLost();
  void Clear();
  // In order; valid until the next change.
  std::vector<PushJob*> All();
  // nullptr when it is not (or no longer) kept.
  const PushJob* Find(uint64_t id) const;

 private:
  const uint64_t bytes_max_;
  std::deque<PushJob> jobs_;  // ascending sequence
  uint64_t bytes_ = 0;
};

}  // namespace stepback::client
