// Reads the data files of a snapshot into the arrays' memory and verifies them: several files at a time, so
// that the disk has work while processors checksum, copy, and touch fresh memory (decisions 121).
// Implementation of snapshot_reader.h. Use once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "server/store/file_queue.h"
#include "server/store/file_system.h"
#include "server/store/manifest.h"

namespace stepback {

// Files read at a time. Each takes two threads and two blocks of memory.
inline constexpr uint64_t kReadersMax = 4;

class DataReader {
 public:
  // `arrays[i]` takes manifest.meta.arrays[i]; nullptr: it is verified only. All arguments outlive the
  // reader.
  DataReader(FileSystem* fs, std::string directory, const Manifest& manifest, std::vector<std::byte*> arrays);

  // DATA_LOSS: the files are not what the manifest describes. The error is that of the first block in order
  // that differs, however many threads there are.
  absl::Status Read();

 private:
  // On each of the threads: file after file.
  void ReadFiles();

  FileSystem* const fs_;
  const std::string directory_;
  const Manifest& manifest_;
  const std::vector<std::byte*> arrays_;
  FileQueue queue_;
};

}  // namespace stepback
