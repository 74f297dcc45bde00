// Reads the event log of one model, record by record; every byte is verified before a record is given out,
// and what does not verify is stepped over and reported. Takes no lock and writes nothing, so it may look on
// while a server writes: at the end Next says false, and a later call goes on from there.
//
// Threads: one at a time.
//
//   ASSIGN_OR_RETURN(auto reader, EventReader::Open(fs, directory, "lm"));
//   for (;;) { ASSIGN_OR_RETURN(bool more, reader->Next(&frame)); if (!more) break; ... }
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "server/store/event_format.h"
#include "server/store/file_system.h"

namespace stepback {

// Numbers of the event files in a model's directory, ascending.
absl::StatusOr<std::vector<uint64_t>> ListEventFiles(FileSystem* fs, const std::string& directory);

class EventReader {
 public:
  struct Damage {
    uint64_t file = 0;    // its number
    uint64_t offset = 0;  // in it
    uint64_t bytes = 0;
    std::string what;
  };

  // From file number `from` on. NOT_FOUND when there is no such directory; no event file at all is an empty
  // log.
  static absl::StatusOr<std::unique_ptr<EventReader>> Open(FileSystem* fs, std::string directory,
                                                           const std::string& model, uint64_t from = 0);

  // False: no whole record any more, for now. FAILED_PRECONDITION: a file of a newer format.
  absl::StatusOr<bool> Next(EventFrame* frame);

  const std::vector<Damage>& damaged() const { return damaged_; }
  // Once Next has said false: what lies behind the last whole record.
  uint64_t torn_bytes() const { return torn_bytes_; }
  // The file that was read last, and where its last whole record ends; without a file: 0.
  uint64_t file() const { return number_; }
  uint64_t offset() const { return offset_; }
  const EventFileHeader& header() const { return header_; }
  // Whether its header verified.
  bool opened() const { return opened_; }

 private:
  EventReader(FileSystem* fs, std::string directory, uint32_t model_crc, uint64_t from);

  absl::StatusOr<bool> NextFile();
  // False: not there yet.
  absl::StatusOr<bool> ReadHeader();
  absl::StatusOr<bool> ReadFrame(uint64_t offset, EventFrame* frame, uint64_t* end);
  absl::StatusOr<bool> StepOver();
  // What to do where no whole record is: true when there may be more now.
  absl::StatusOr<bool> AtEnd();
  absl::StatusOr<std::span<const std::byte>> Bytes(uint64_t offset, uint64_t count);
  absl::Status Refresh();

  FileSystem* const fs_;
  const std::string directory_;
  const uint32_t model_crc_;
  uint64_t next_from_;                  // the least number of the next file
  std::unique_ptr<ReadableFile> file_;  // null: before the first, and between two
  uint64_t number_ = 0;
  EventFileHeader header_;
  bool opened_ = false;
  bool rejected_ = false;
  bool followed_ = false;  // there is a later file: this one grows no more
  uint64_t size_ = 0;
  uint64_t offset_ = 0;
  std::vector<std::byte> window_;
  uint64_t window_at_ = 0;
  uint64_t torn_bytes_ = 0;
  std::vector<Damage> damaged_;
};

}  // namespace stepback
