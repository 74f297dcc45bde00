// Writes one data file of a snapshot block by block, and says what the manifest has to know about it.
// Threads: one.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/base/hash128.h"
#include "server/store/file_system.h"
#include "server/store/manifest.h"

namespace stepback {

class DataFileWriter {
 public:
  // Creates the file and reserves its whole size.
  static absl::StatusOr<DataFileWriter> Create(FileSystem* fs, const std::string& path, uint64_t bytes);

  // The next part of the current block, in pieces that fit a cache: the checksums read it while it is there.
  void Checksum(std::span<const std::byte> piece);
  // The block whose pieces were checksummed; aligned, kBlockBytes long or the file's rest.
  absl::Status WriteBlock(std::span<const std::byte> block);
  // Makes the bytes durable and closes. What `sync_failed` says decides whether the disk can still be
  // trusted.
  absl::StatusOr<DataFileInfo> Finish(bool* sync_failed);

  bool is_direct() const { return file_->is_direct(); }

 private:
  explicit DataFileWriter(std::unique_ptr<WritableFile> file) : file_(std::move(file)) {}

  std::unique_ptr<WritableFile> file_;
  DataFileInfo info_;
  Hash128 hash_;
  uint32_t block_crc_ = 0;
};

}  // namespace stepback
