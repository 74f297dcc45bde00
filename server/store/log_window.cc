#include "server/store/log_window.h"

#include <algorithm>

#include "server/base/status_macros.h"

namespace stepback {
namespace {

constexpr uint64_t kWindowBytes = LogWindow::kPeekBytesMax;

}  // namespace

absl::StatusOr<LogWindow> LogWindow::Make(std::unique_ptr<ReadableFile> file, uint64_t base) {
  ASSIGN_OR_RETURN(const uint64_t size, file->Size());
  const uint64_t frames = size < kLogSegmentHeaderBytes ? 0 : size - kLogSegmentHeaderBytes;
  return LogWindow(std::move(file), base, base + frames);
}

absl::Status LogWindow::Read(uint64_t position, std::span<std::byte> to) {
  return file_->ReadAt(position - base_ + kLogSegmentHeaderBytes, to);
}

absl::StatusOr<std::span<const std::byte>> LogWindow::Peek(uint64_t position, uint64_t bytes) {
  const uint64_t count = position >= end_ ? 0 : std::min(bytes, end_ - position);
  if (count == 0) return std::span<const std::byte>();
  if (position < at_ || position + count > at_ + bytes_.size()) {
    bytes_.clear();
    std::vector<std::byte> fresh(std::min(kWindowBytes, end_ - position));
    RETURN_IF_ERROR(Read(position, fresh));
    bytes_ = std::move(fresh);
    at_ = position;
  }
  return std::span<const std::byte>(bytes_).subspan(position - at_, count);
}

absl::StatusOr<uint64_t> LogWindow::EndOfData(uint64_t from) {
  uint64_t end = from;
  for (uint64_t at = from; at < end_; at += kWindowBytes) {
    ASSIGN_OR_RETURN(const auto bytes, Peek(at, kWindowBytes));
    if (AllZero(bytes)) continue;  // most of a preallocated segment
    const auto last =
        std::find_if(bytes.rbegin(), bytes.rend(), [](std::byte b) { return b != std::byte{0}; });
    if (last != bytes.rend()) end = at + static_cast<uint64_t>(bytes.rend() - last);
  }
  return end;
}

}  // namespace stepback
