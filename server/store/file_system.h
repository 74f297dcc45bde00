// The one seam to the operating system's files. Everything below it may fail at any call, and tests make it
// fail at every call; nothing above it calls the OS.
//
// Durability: bytes are durable after Sync/SyncData of their file, names after SyncDirectory of their
// directory. A failed sync is final for that file: the kernel may have dropped the pages, so it is never
// tried again.
//
// Errors: NOT_FOUND, ALREADY_EXISTS, RESOURCE_EXHAUSTED (disk full, quota, out of handles), DATA_LOSS (I/O
// error, short read), PERMISSION_DENIED, FAILED_PRECONDITION (locked by another process), INTERNAL (the
// rest). Messages name the path.
//
// Threads: FileSystem is thread-safe; a file belongs to one thread at a time. Files close when dropped.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace stepback {

// Offsets, lengths and addresses of direct I/O are multiples of this.
inline constexpr size_t kDirectIoAlign = 4096;

class ReadableFile {
 public:
  virtual ~ReadableFile() = default;
  virtual absl::StatusOr<uint64_t> Size() = 0;
  // Fills `to` whole or fails: DATA_LOSS when the file ends before.
  virtual absl::Status ReadAt(uint64_t offset, std::span<std::byte> to) = 0;
};

class WritableFile {
 public:
  virtual ~WritableFile() = default;
  // At the end of what was written so far.
  virtual absl::Status Append(std::span<const std::byte> bytes) = 0;
  virtual absl::Status WriteAt(uint64_t offset, std::span<const std::byte> bytes) = 0;
  // Reserves space for the first `bytes` bytes, so that a full disk shows now; the size becomes at least
  // `bytes`. A file system that cannot reserve does nothing.
  virtual absl::Status Allocate(uint64_t bytes) = 0;
  virtual absl::Status Truncate(uint64_t bytes) = 0;
  virtual absl::Status SyncData() = 0;  // the bytes, and the size needed to read them (fdatasync)
  virtual absl::Status Sync() = 0;      // times and modes too (fsync)
  virtual absl::Status Close() = 0;     // reports what a drop would swallow
  // Whether writes by-pass the page cache; then they must be aligned (kDirectIoAlign).
  virtual bool is_direct() const = 0;
};

enum class ReadMode : uint8_t {
  kBuffered,
  kDirect,  // by-passing the page cache where the file system can; offsets, lengths and addresses must be
            // aligned
};

enum class WriteMode : uint8_t {
  kCreate,        // a new file; ALREADY_EXISTS otherwise
  kCreateDirect,  // the same, by-passing the page cache where the file system can (see is_direct)
  kAppend,        // an existing or new file, appending at its end
  kTruncate,      // an existing or new file, emptied
};

// Held while alive; the process's end releases it too.
class FileLock {
 public:
  virtual ~FileLock() = default;
};

class FileSystem {
 public:
  virtual ~FileSystem() = default;
  virtual absl::StatusOr<std::unique_ptr<ReadableFile>> OpenForRead(const std::string& path,
                                                                    ReadMode mode) = 0;
  virtual absl::StatusOr<std::unique_ptr<WritableFile>> OpenForWrite(const std::string& path,
                                                                     WriteMode mode) = 0;
  // Replaces `to` atomically. Both in one directory.
  virtual absl::Status Rename(const std::string& from, const std::string& to) = 0;
  virtual absl::Status RemoveFile(const std::string& path) = 0;
  virtual absl::Status RemoveDirectory(const std::string& path) = 0;  // empty ones only
  virtual absl::Status CreateDirectory(const std::string& path) = 0;  // ALREADY_EXISTS when there
  virtual absl::StatusOr<std::vector<std::string>> List(
      const std::string& path) = 0;  // names, sorted; no . and ..
  virtual absl::Status SyncDirectory(const std::string& path) = 0;
  // Creates the file if needed. FAILED_PRECONDITION when this or another process holds it.
  virtual absl::StatusOr<std::unique_ptr<FileLock>> Lock(const std::string& path) = 0;
  // Bytes that an ordinary user may still write on the file system of `path`.
  virtual absl::StatusOr<uint64_t> FreeBytes(const std::string& path) = 0;

  static FileSystem* Posix();  // never destroyed
};

}  // namespace stepback
