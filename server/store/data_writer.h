// Writes the data files of a snapshot. One thread copies arrays into blocks and checksums them; beside it one
// writes the blocks, and one waits for the file before to be on the disk, which takes as long as writing it.
// Implementation of snapshot_writer.h. Use once.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/base/hash128.h"
#include "server/store/direct_buffer.h"
#include "server/store/file_system.h"
#include "server/store/manifest.h"
#include "server/store/side_thread.h"
#include "server/store/snapshot.h"
#include "server/store/stream_cursor.h"

namespace stepback {

class DataWriter {
 public:
  // `infos` describes `arrays`; all arguments outlive the writer.
  DataWriter(FileSystem* fs, std::string directory, const std::vector<ArrayInfo>& infos,
             std::span<const ArrayView> arrays, const WriteOptions& options);

  // On return the files' bytes are durable, their names are not yet.
  absl::StatusOr<std::vector<DataFileInfo>> Write();

  bool is_direct() const { return direct_; }
  // Write failed in a sync, for another reason than a full disk: what the disk holds is not known.
  bool sync_failed() const { return sync_failed_; }

 private:
  absl::Status WriteBlocks();
  absl::Status Fill(std::span<std::byte> block);
  absl::Status CopyPiece(std::span<std::byte> piece);
  void EndBlock(uint64_t end);
  // On the side thread.
  absl::Status Put(uint64_t start, std::span<const std::byte> block);
  absl::Status OpenFile(uint64_t start);
  // On the finisher.
  absl::Status FinishFile(WritableFile* file);

  FileSystem* const fs_;
  const std::string directory_;
  const std::span<const ArrayView> arrays_;
  const WriteOptions& options_;
  const uint64_t stream_bytes_;

  StreamCursor cursor_;
  std::vector<DataFileInfo> files_;
  Hash128 file_hash_;
  uint32_t block_crc_ = 0;

  std::unique_ptr<WritableFile> file_;  // the side thread's
  bool direct_ = true;                  // the finisher's, like sync_failed_
  bool sync_failed_ = false;
  std::vector<DirectBuffer> buffers_;
  SideThread finisher_;  // started by the side thread
  SideThread side_;      // last: it uses the others
};

}  // namespace stepback
