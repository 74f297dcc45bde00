// Reads the log of one model from a position to its end, entry by entry; every byte is verified before an
// entry is given out. Nothing is written.
//
// Where a frame does not verify, that is
//   - the end, when nothing follows but zeros;
//   - a torn tail, when a write could have been interrupted there: the file ends, or a sector is still as
//     preallocated, and nothing behind it proves that it was durable. It was never acknowledged: dropped;
//   - damage otherwise, in particular when a later frame says that the log had been durable beyond it.
//   DATA_LOSS,
//     unless the caller asks for the part before (kPointInTime) or for all that is whole (kSalvage).
//
// Threads: one at a time.
//
//   ASSIGN_OR_RETURN(auto reader, LogReader::Open(fs, directory, "lm", {.from = snapshot_position}));
//   for (;;) { ASSIGN_OR_RETURN(bool more, reader->Next(&entry)); if (!more) break; ... }
//   LogWriter::Open(fs, directory, "lm", reader->end(), {});
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/backend.h"
#include "server/store/file_system.h"
#include "server/store/log_entry.h"
#include "server/store/log_segments.h"
#include "server/store/log_window.h"

namespace stepback {

class LogReader {
 public:
  struct Options {
    uint64_t from = 0;              // the beginning of an entry, or the end of one
    std::optional<uint32_t> chain;  // of checksums, there; unknown: not checked
    LogRecovery recovery = LogRecovery::kStrict;
    bool keep_payloads = true;                    // otherwise they are verified only
    kernels::HostAllocator* allocator = nullptr;  // of payloads; outlives them. Default: the C library
  };

  // DATA_LOSS when `from` is not in the log; FAILED_PRECONDITION for a newer format. No file at all is an
  // empty log.
  static absl::StatusOr<std::unique_ptr<LogReader>> Open(FileSystem* fs, std::string directory,
                                                         const std::string& model_name,
                                                         const Options& options);

  // False at the end. DATA_LOSS: damage. RESOURCE_EXHAUSTED: no memory for a payload.
  absl::StatusOr<bool> Next(LogEntry* entry);

  // Once Next has said false: behind the last whole entry.
  LogEnd end() const;
  // Behind everything that any segment holds, for a log that begins anew after damage.
  absl::StatusOr<LogEnd> EndBeyondAll() const;
  const LogReport& report() const { return report_; }

 private:
  LogReader(FileSystem* fs, std::string directory, const Options& options);

  absl::Status FindStart();
  absl::Status OpenSegment(size_t index);
  // Whether the present segment ends where it is.
  absl::StatusOr<bool> SkipFill();
  absl::Status NextSegment();
  absl::StatusOr<bool> ReadEntry(LogEntry* entry);
  absl::StatusOr<LogFrame> ReadFrame();
  absl::Status ReadBody(const LogFrame& frame, std::span<std::byte> to);
  absl::Status ReadPayload(const LogFrame& record, LogEntry* entry);
  absl::Status CheckChunks(const LogFrame& record, uint64_t* bytes);
  absl::Status CopyChunks(uint32_t chunks, uint64_t bytes, LogEntry* entry);

  // What a frame that does not verify means.
  absl::StatusOr<bool> Judge(uint64_t entry_at, uint64_t bad_at, const absl::Status& why);
  absl::StatusOr<bool> IsTorn(uint64_t bad_at, uint64_t data_end);
  absl::StatusOr<std::optional<uint64_t>> FindFrame(uint64_t from, uint64_t end, uint64_t synced_above,
                                                    bool records_only);
  absl::StatusOr<bool> Damage(uint64_t position, const std::string& what);
  bool IsLast() const { return index_ + 1 == segments_.size(); }
  uint64_t limit() const;
  void Report(uint64_t position, const std::string& what);

  FileSystem* const fs_;
  const std::string directory_;
  const Options options_;
  std::vector<LogSegment> segments_;
  uint64_t last_number_ = 0;
  size_t index_ = 0;
  std::optional<LogWindow> window_;
  uint32_t salt_ = 0;
  uint64_t at_ = 0;                   // of the next frame
  std::optional<uint32_t> previous_;  // its predecessor's chain; unknown at the start and after a gap
  uint64_t end_ = 0;                  // behind the last whole entry
  uint64_t synced_ = 0;               // what was read proves that everything before is durable
  uint32_t synced_chain_ = 0;         // of checksums, there
  uint32_t chain_ = 0;
  std::optional<uint64_t> bad_frame_end_;  // the header that was read last said so
  bool done_ = false;
  LogReport report_;
};

}  // namespace stepback
