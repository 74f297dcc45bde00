// Appends to the log of one model, many entries at a time: one write, one fdatasync (group commit). What
// Write acknowledged is durable; nothing that is durable is ever written again: every batch begins at a fresh
// 4 KiB block.
//
// Writing goes past the page cache where the file system can (decisions 29). Segments are preallocated, so
// that a full disk shows before anything is written, and so that a batch changes no metadata.
//
// Threads: one at a time (the log thread).
//
//   ASSIGN_OR_RETURN(auto log, LogWriter::Open(fs, directory, "lm", reader->end(), {}));
//   RETURN_IF_ERROR(log->Write(entries, &places));
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/backend.h"
#include "server/store/direct_buffer.h"
#include "server/store/file_system.h"
#include "server/store/log_entry.h"
#include "server/store/log_format.h"

namespace stepback {

class LogWriter {
 public:
  struct Options {
    uint64_t segment_bytes = 64ull << 20;         // of frames; a larger batch gets a larger segment
    uint32_t salt = 1;                            // of a new log; unknown to clients, not 0
    kernels::HostAllocator* allocator = nullptr;  // of one 1 MiB buffer; default: the C library
  };

  // Goes on at `end` in a new segment, which takes the tail with it; what an older one has beyond the new
  // one's base does not count any more. RESOURCE_EXHAUSTED (disk full, no memory): a later call may succeed.
  static absl::StatusOr<std::unique_ptr<LogWriter>> Open(FileSystem* fs, std::string directory,
                                                         const std::string& model_name, const LogEnd& end,
                                                         const Options& options);

  // All entries or none; durable on return, places in order. RESOURCE_EXHAUSTED: the disk is full, nothing
  // was appended, and a later call may succeed. INVALID_ARGUMENT: an entry is impossible. Anything else is
  // final (DATA_LOSS): see writable(); then the entries may or may not be there after a restart.
  absl::Status Write(std::span<const LogAppend* const> entries, std::vector<LogPlace>* places);
  // Proves to later readers that everything before was durable, which tells damage of the last batch from a
  // torn write. Worth a write when no batch follows soon.
  absl::Status Mark();

  // Removes the segments that lie wholly before `position`.
  absl::Status Release(uint64_t position);

  // OK, or why nothing is written until the log is opened again.
  const absl::Status& writable() const { return writable_; }
  // Everything before is durable; an empty place.
  LogPlace end() const { return {end_, end_, chain_}; }
  bool is_marked() const { return marked_; }  // nothing came after the last mark
  bool is_direct() const { return direct_; }
  uint64_t segment_number() const { return number_; }

 private:
  LogWriter(FileSystem* fs, std::string directory, const std::string& model_name, const LogEnd& end,
            const Options& options);

  using Fill = std::function<absl::Status(WritableFile*)>;

  absl::Status GoOn(const LogEnd& end);
  absl::Status Rotate(uint64_t bytes, const Fill& fill);
  absl::Status WriteBatch(std::span<const LogAppend* const> entries, std::vector<LogPlace>* places);
  absl::Status PutEntry(const LogAppend& entry);
  absl::Status PutPayload(const LogAppend& entry);
  absl::Status PutFrame(LogFrame frame, std::span<const std::span<const std::byte>> body);
  absl::Status PutBytes(std::span<const std::byte> bytes);
  absl::Status PutZeros(uint64_t bytes);
  absl::Status FlushBuffer();
  absl::Status Sync();
  absl::Status Failed(const absl::Status& status);
  uint64_t OffsetOf(uint64_t position) const { return position - base_ + kLogSegmentHeaderBytes; }

  FileSystem* const fs_;
  const std::string directory_;
  const std::string model_name_;
  const Options options_;
  const uint32_t salt_;

  std::unique_ptr<WritableFile> file_;  // null: the next batch begins a new segment
  uint64_t number_ = 0;                 // of the segment
  uint64_t base_ = 0;                   // its first position
  uint64_t capacity_ = 0;               // frame bytes that it has room for
  uint64_t end_ = 0;                    // durable up to here
  uint32_t chain_ = 0;                  // of the last durable frame
  bool marked_ = true;
  bool direct_ = true;
  bool sync_failed_ = false;
  absl::Status writable_;

  // A batch on its way.
  std::unique_ptr<DirectBuffer> buffer_;
  size_t buffered_ = 0;
  uint64_t buffer_at_ = 0;  // position of the buffer's first byte
  uint32_t batch_chain_ = 0;
};

}  // namespace stepback
