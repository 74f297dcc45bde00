// The segment files of one log: which there are, and how a new one comes to be. A segment's name appears only
// after its header is durable, so one that does not read is damaged and never half made.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "server/store/file_system.h"
#include "server/store/log_entry.h"
#include "server/store/log_format.h"

namespace stepback {

struct LogSegment {
  uint64_t number = 0;
  LogSegmentHeader header;
  absl::Status damage;  // its header does not read; `header` means nothing
};

// Ascending numbers. FAILED_PRECONDITION for a newer format or another model's file.
absl::StatusOr<std::vector<LogSegment>> ListLogSegments(FileSystem* fs, const std::string& directory,
                                                        const std::string& model_name);

// Creates it with room for `bytes` of frames, the first of them written by `fill`, durable on return.
// *sync_failed: nobody knows what the disk holds.
absl::StatusOr<std::unique_ptr<WritableFile>> CreateLogSegment(
    FileSystem* fs, const std::string& directory, const LogSegmentHeader& header, uint64_t bytes,
    const std::function<absl::Status(WritableFile*)>& fill, bool* sync_failed);

// The tail of the log that ends at `end`, copied to the beginning of the next segment through `buffer`.
absl::Status CopyLogTail(FileSystem* fs, const std::string& directory, const std::string& model_name,
                         const LogEnd& end, std::span<std::byte> buffer, WritableFile* to);

// Gives back the room of the segment `number` behind `end`, where the next one begins. Only room: a failure
// is no harm.
void TrimLogSegment(FileSystem* fs, const std::string& directory, const std::string& model_name,
                    uint64_t number, uint64_t end);

// Removes every segment: leftovers of a model that was never finished.
absl::Status RemoveLogSegments(FileSystem* fs, const std::string& directory);

uint32_t LogModelCrc(const std::string& model_name);

// Puts every segment up to `last` aside (name + ".damaged"), durably: a recovery has used what it could of
// them.
absl::Status SetLogSegmentsAside(FileSystem* fs, const std::string& directory, uint64_t last);

}  // namespace stepback
