// Reads the data files of a snapshot into the arrays' memory and verifies them. One thread checksums and
// copies; the disk reads the next block beside it. Implementation of snapshot_reader.h. Use once.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "server/base/hash128.h"
#include "server/store/direct_buffer.h"
#include "server/store/file_system.h"
#include "server/store/manifest.h"
#include "server/store/side_thread.h"
#include "server/store/stream_cursor.h"

namespace stepback {

class DataReader {
 public:
  // `arrays[i]` takes manifest.meta.arrays[i]; nullptr: it is verified only. All arguments outlive the reader.
  DataReader(FileSystem* fs, std::string directory, const Manifest& manifest, std::vector<std::byte*> arrays);

  // DATA_LOSS: the files are not what the manifest describes.
  absl::Status Read();

 private:
  std::span<std::byte> BlockAt(uint64_t start) const;
  absl::Status Consume(uint64_t start, std::span<const std::byte> block);
  void Scatter(std::span<const std::byte> piece);
  // On the side thread.
  absl::Status Fetch(uint64_t start);

  FileSystem* const fs_;
  const std::string directory_;
  const Manifest& manifest_;
  const std::vector<std::byte*> arrays_;
  const uint64_t stream_bytes_;

  StreamCursor cursor_;
  Hash128 file_hash_;

  std::unique_ptr<ReadableFile> file_;  // the side thread's
  std::vector<DirectBuffer> buffers_;
  SideThread side_;  // last: it uses the others
};

}  // namespace stepback
