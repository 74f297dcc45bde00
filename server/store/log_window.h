// Reads one segment of a log by position: headers through a small buffer, bodies straight to where they go.
// Owned by a LogReader.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "server/store/file_system.h"
#include "server/store/log_format.h"

namespace stepback {

class LogWindow {
 public:
  static constexpr uint64_t kPeekBytesMax = 64 << 10;

  // `file` is the segment whose first frame is at `base`.
  static absl::StatusOr<LogWindow> Make(std::unique_ptr<ReadableFile> file, uint64_t base);

  // Where the file ends.
  uint64_t end() const { return end_; }
  // The bytes at `position`, fewer than `bytes` at the end of the file; valid until the next call. At most
  // kPeekBytesMax.
  absl::StatusOr<std::span<const std::byte>> Peek(uint64_t position, uint64_t bytes);
  // Exactly; the caller has checked that the file is long enough.
  absl::Status Read(uint64_t position, std::span<std::byte> to);
  // Behind the last byte in [from, end()) that is not zero; `from` when all are.
  absl::StatusOr<uint64_t> EndOfData(uint64_t from);

 private:
  LogWindow(std::unique_ptr<ReadableFile> file, uint64_t base, uint64_t end)
      : file_(std::move(file)), base_(base), end_(end) {}

  std::unique_ptr<ReadableFile> file_;
  uint64_t base_ = 0, end_ = 0;
  uint64_t at_ = 0;  // position of bytes_
  std::vector<std::byte> bytes_;
};

}  // namespace stepback
