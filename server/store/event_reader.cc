#include "server/store/event_reader.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/base/crc32c.h"
#include "server/base/status_macros.h"
#include "server/store/store_paths.h"

namespace stepback {
namespace {

constexpr uint64_t kEventWindowBytes = 1 << 20;

}  // namespace

absl::StatusOr<std::vector<uint64_t>> ListEventFiles(FileSystem* fs, const std::string& directory) {
  ASSIGN_OR_RETURN(const std::vector<std::string> names, fs->List(directory));
  std::vector<uint64_t> numbers;
  for (const std::string& name : names) {
    if (const auto number = ParseEventFileName(name)) numbers.push_back(*number);
  }
  std::sort(numbers.begin(), numbers.end());
  return numbers;
}

EventReader::EventReader(FileSystem* fs, std::string directory, uint32_t model_crc, uint64_t from)
    : fs_(fs), directory_(std::move(directory)), model_crc_(model_crc), next_from_(from) {}

absl::StatusOr<std::unique_ptr<EventReader>> EventReader::Open(FileSystem* fs, std::string directory,
                                                               const std::string& model, uint64_t from) {
  RETURN_IF_ERROR(fs->List(directory).status());
  return std::unique_ptr<EventReader>(
      new EventReader(fs, std::move(directory), Crc32c(model.data(), model.size()), from));
}

absl::StatusOr<bool> EventReader::Next(EventFrame* frame) {
  for (;;) {
    if (file_ == nullptr) {
      ASSIGN_OR_RETURN(const bool there, NextFile());
      if (!there) return false;
    }
    ASSIGN_OR_RETURN(const bool opened, ReadHeader());
    if (opened) {
      uint64_t end = 0;
      ASSIGN_OR_RETURN(const bool whole, ReadFrame(offset_, frame, &end));
      if (whole) {
        offset_ = end;
        torn_bytes_ = 0;
        return true;
      }
      ASSIGN_OR_RETURN(const bool beyond, StepOver());
      if (beyond) continue;
    }
    ASSIGN_OR_RETURN(const bool more, AtEnd());
    if (!more) return false;
  }
}

absl::StatusOr<bool> EventReader::NextFile() {
  ASSIGN_OR_RETURN(const std::vector<uint64_t> numbers, ListEventFiles(fs_, directory_));
  const auto next = std::lower_bound(numbers.begin(), numbers.end(), next_from_);
  if (next == numbers.end()) return false;
  ASSIGN_OR_RETURN(file_, fs_->OpenForRead(JoinPath(directory_, EventFileName(*next)), ReadMode::kBuffered));
  number_ = *next;
  next_from_ = number_ + 1;
  opened_ = rejected_ = followed_ = false;
  offset_ = torn_bytes_ = 0;
  RETURN_IF_ERROR(Refresh());
  return true;
}

absl::Status EventReader::Refresh() {
  window_.clear();
  ASSIGN_OR_RETURN(size_, file_->Size());
  return absl::OkStatus();
}

absl::StatusOr<bool> EventReader::ReadHeader() {
  if (opened_ || rejected_) return opened_;
  ASSIGN_OR_RETURN(const std::span<const std::byte> bytes, Bytes(0, kEventFileHeaderBytes));
  if (bytes.empty()) return false;
  const absl::StatusOr<EventFileHeader> header = DecodeEventFileHeader(bytes);
  if (absl::IsFailedPrecondition(header.status())) return header.status();
  if (!header.ok() || header->number != number_ || header->model_crc != model_crc_) {
    damaged_.push_back(
        {number_, 0, size_,
         header.ok() ? "is of another model, or was renamed" : std::string(header.status().message())});
    offset_ = size_;
    rejected_ = true;
    return false;
  }
  header_ = *header;
  offset_ = kEventFileHeaderBytes;
  return opened_ = true;
}

absl::StatusOr<bool> EventReader::ReadFrame(uint64_t offset, EventFrame* frame, uint64_t* end) {
  ASSIGN_OR_RETURN(const std::span<const std::byte> head, Bytes(offset, kEventFrameHeaderBytes));
  if (head.empty()) return false;
  const std::optional<uint32_t> body_bytes = EventBodyBytes(head);
  if (!body_bytes.has_value()) return false;
  ASSIGN_OR_RETURN(const std::span<const std::byte> whole, Bytes(offset, EventFrameBytes(*body_bytes)));
  if (whole.empty()) return false;
  std::optional<EventFrame> decoded = DecodeEventFrame(header_, offset, whole);
  if (!decoded.has_value()) return false;
  *frame = *std::move(decoded);
  *end = offset + whole.size();
  return true;
}

// To the next whole record of the file, when there is one: what lies before it is damage.
absl::StatusOr<bool> EventReader::StepOver() {
  EventFrame frame;
  uint64_t end = 0;
  for (uint64_t at = offset_ + kEventFrameAlign; at + kEventFrameHeaderBytes <= size_;
       at += kEventFrameAlign) {
    ASSIGN_OR_RETURN(const bool whole, ReadFrame(at, &frame, &end));
    if (!whole) continue;
    damaged_.push_back({number_, offset_, at - offset_, "does not verify"});
    offset_ = at;
    return true;
  }
  return false;
}

// A file that is followed by another grows no more, once it has been looked at after the other was seen.
absl::StatusOr<bool> EventReader::AtEnd() {
  torn_bytes_ = size_ > offset_ ? size_ - offset_ : 0;
  if (followed_) {
    if (opened_ && torn_bytes_ > 0) damaged_.push_back({number_, offset_, torn_bytes_, "is cut off"});
    file_.reset();
    return true;
  }
  ASSIGN_OR_RETURN(const std::vector<uint64_t> numbers, ListEventFiles(fs_, directory_));
  followed_ = !numbers.empty() && numbers.back() > number_;
  const uint64_t seen = size_;
  RETURN_IF_ERROR(Refresh());
  return followed_ || size_ != seen;
}

// A view of that part of the file; empty when the file ends before.
absl::StatusOr<std::span<const std::byte>> EventReader::Bytes(uint64_t offset, uint64_t count) {
  if (offset > size_ || count > size_ - offset) return std::span<const std::byte>();
  if (offset < window_at_ || offset + count > window_at_ + window_.size()) {
    window_.resize(std::min(std::max(count, kEventWindowBytes), size_ - offset));
    window_at_ = offset;
    if (absl::Status read = file_->ReadAt(offset, window_); !read.ok()) {
      window_.clear();
      return read;
    }
  }
  return std::span<const std::byte>(window_).subspan(offset - window_at_, count);
}

}  // namespace stepback
