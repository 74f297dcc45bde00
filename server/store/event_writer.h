// Writes the event log of one model: bounded files of records (event_format.h), the oldest removed. Nothing
// else depends on these files, so a failure here stops nothing: what was not written is the caller's to
// count, and the next call tries again, in a new file if need be.
//
// After a restart the newest file is gone on with, behind its last whole record.
//
// Threads: one at a time.
//
//   ASSIGN_OR_RETURN(auto writer, EventWriter::Open(fs, directory, "lm", {}));
//   size_t written = 0;
//   writer->Append(frames, &written);
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "absl/status/statusor.h"
#include "server/store/event_format.h"
#include "server/store/file_system.h"

namespace stepback {

class EventReader;

class EventWriter {
 public:
  struct Options {
    uint64_t file_bytes = 64ull << 20;  // a file that is longer is followed by the next one
    uint32_t files_kept = 4;            // the present one included
    uint32_t salt = 0;                  // of files that are begun
  };

  static absl::StatusOr<std::unique_ptr<EventWriter>> Open(FileSystem* fs, std::string directory,
                                                           const std::string& model, const Options& options);

  // One above the number of the last record.
  uint64_t next_number() const { return next_number_; }
  // The first record of every file that is begun from here on, under number 0.
  void SetPreface(std::string body) { preface_ = std::move(body); }

  // Whole frames in order, of which the first `written` are in the file. RESOURCE_EXHAUSTED, DATA_LOSS.
  // Bodies have at most kEventBodyBytesMax bytes.
  absl::Status Append(std::span<const EventFrame> frames, size_t* written);
  // What was appended is on the disk. On failure the file is given up, as after any failed sync.
  absl::Status Sync();

 private:
  EventWriter(FileSystem* fs, std::string directory, const std::string& model, const Options& options);

  absl::Status GoOnBehind(const EventReader& newest);
  absl::Status BeginFile();
  absl::Status Create(const std::string& path, std::string* head);
  void RemoveOld();
  absl::Status Flush(std::string* bytes);

  FileSystem* const fs_;
  const std::string directory_;
  const Options options_;
  const uint32_t model_crc_;
  std::string preface_;
  uint64_t next_number_ = 1;
  uint64_t last_file_ = 0;
  std::unique_ptr<WritableFile> file_;  // null: the next append begins one
  EventFileHeader header_;
  uint64_t size_ = 0;  // of it
  bool unsynced_ = false;
};

}  // namespace stepback
