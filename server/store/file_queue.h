// Gives out the files of a snapshot, in order, to those who read them at the same time, and keeps the error
// that one reader alone would have met: that of the first file that fails. Files behind it are given up.
//
// Threads: any.
//
//   while (const std::optional<uint64_t> index = queue.Take()) queue.Finish(*index, Read(*index));
//   return queue.status();
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "server/base/mutex.h"

namespace stepback {

class FileQueue {
 public:
  explicit FileQueue(uint64_t files) : files_(files) {}

  // The next file; nothing when all are taken, or when one failed: every file before that one is taken then.
  std::optional<uint64_t> Take() {
    MutexLock lock(&mu_);
    if (next_ >= std::min(files_, failed_)) return std::nullopt;
    return next_++;
  }

  // How the reading of a file that was taken ended.
  void Finish(uint64_t index, absl::Status status) {
    MutexLock lock(&mu_);
    if (status.ok() || index >= failed_) return;
    failed_ = index;
    status_ = std::move(status);
  }

  // Whether a file before `index` failed, so that this one matters no more.
  bool GivenUp(uint64_t index) const {
    MutexLock lock(&mu_);
    return failed_ < index;
  }

  // Of all files finished so far.
  absl::Status status() const {
    MutexLock lock(&mu_);
    return status_;
  }

 private:
  const uint64_t files_;
  mutable Mutex mu_;
  uint64_t next_ GUARDED_BY(mu_) = 0;
  uint64_t failed_ GUARDED_BY(mu_) = std::numeric_limits<uint64_t>::max();
  absl::Status status_ GUARDED_BY(mu_);
};

}  // namespace stepback
