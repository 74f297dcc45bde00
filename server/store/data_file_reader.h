// Reads data files of a snapshot, one after the other, into the arrays' memory and verifies them. The
// caller's thread checksums and copies; the disk reads the next block beside it. Implementation of
// data_reader.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
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

class DataFileReader {
 public:
  // As DataReader's; all arguments outlive the reader.
  DataFileReader(FileSystem* fs, const std::string& directory, const Manifest& manifest,
                 std::span<std::byte* const> arrays);

  // File `index` < manifest.files.size(), whole. DATA_LOSS: it is not what the manifest describes. CANCELLED:
  // `given_up`, asked before every block, said so. After an error the reader is of no use any more.
  absl::Status Read(uint64_t index, const std::function<bool()>& given_up);

 private:
  absl::Status Begin(uint64_t index);
  // The part of a buffer that holds the block at `offset` of the file; neighbours use different buffers.
  std::span<std::byte> BlockAt(uint64_t offset) const;
  absl::Status Fetch(uint64_t offset);
  absl::Status Consume(uint64_t offset, std::span<const std::byte> block);
  void Scatter(std::span<const std::byte> piece);
  std::string Path() const;

  FileSystem* const fs_;
  const std::string& directory_;
  const Manifest& manifest_;
  const std::span<std::byte* const> arrays_;

  uint64_t index_ = 0;  // of the file being read
  StreamCursor cursor_;
  Hash128 hash_;

  std::unique_ptr<ReadableFile> file_;  // the side thread's, between Fetch and the next
  std::vector<DirectBuffer> buffers_;
  SideThread side_;  // last: it uses the others
};

}  // namespace stepback
