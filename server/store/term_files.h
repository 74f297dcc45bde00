// The durable term of one model: a file per term, TERM-<n>, whose name is the value. Creating a name is
// atomic, and damage to contents cannot lower it. The two highest are kept.
//
// Threads: one (the model store's).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "server/store/file_system.h"

namespace stepback {

class TermFiles {
 public:
  // `directory` holds the files; `fs` outlives this.
  TermFiles(FileSystem* fs, std::string directory);

  // Reads the names of the directory and removes all but the two highest.
  absl::Status Recover(const std::vector<std::string>& names);

  // The highest term known to be durable, 0 at first.
  uint64_t term() const { return term_; }
  // Something else durable carries `term`.
  void NoteDurable(uint64_t term);
  // `term` > term(). On failure the term may be raised on disk, but term() is unchanged; *sync_failed says
  // that the disk cannot be trusted any more.
  absl::Status Raise(uint64_t term, bool* sync_failed);

 private:
  absl::Status Create(uint64_t term, bool* sync_failed);
  absl::Status RemoveOld();

  FileSystem* const fs_;
  const std::string directory_;
  uint64_t term_ = 0;
  std::vector<uint64_t> files_;  // ascending
};

}  // namespace stepback
