#include "server/store/log_segments.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/base/crc32c.h"
#include "server/base/failpoint.h"
#include "server/base/status_macros.h"
#include "server/store/direct_buffer.h"
#include "server/store/store_paths.h"

namespace stepback {
namespace {

absl::StatusOr<LogSegmentHeader> ReadSegmentHeader(FileSystem* fs, const std::string& path) {
  ASSIGN_OR_RETURN(auto file, fs->OpenForRead(path, ReadMode::kBuffered));
  std::vector<std::byte> bytes(kLogSegmentHeaderBytes);
  RETURN_IF_ERROR(file->ReadAt(0, bytes));
  return DecodeLogSegment(bytes);
}

absl::StatusOr<LogSegment> ReadSegment(FileSystem* fs, const std::string& directory, uint64_t number,
                                       const std::string& model_name) {
  LogSegment segment{.number = number};
  const absl::StatusOr<LogSegmentHeader> header =
      ReadSegmentHeader(fs, JoinPath(directory, LogSegmentName(number)));
  if (!header.ok() && !absl::IsDataLoss(header.status())) return header.status();
  segment.damage = header.status();
  if (!header.ok()) return segment;
  segment.header = *header;
  if (header->number != number) {
    segment.damage =
        absl::DataLossError(absl::StrCat(LogSegmentName(number), " says it is number ", header->number));
  } else if (header->model_crc != LogModelCrc(model_name)) {
    return absl::FailedPreconditionError(
        absl::StrCat(LogSegmentName(number), " is not of model '", model_name, "': someone moved it"));
  }
  return segment;
}

// The rest of the way after the file has its size and header: bytes, then the name.
absl::Status MakeDurable(FileSystem* fs, const std::string& directory, const std::string& name,
                         WritableFile* file, bool* sync_failed) {
  *sync_failed = true;
  FAILPOINT("log.before_segment_sync");
  RETURN_IF_ERROR(file->Sync());
  const std::string path = JoinPath(directory, name);
  FAILPOINT("log.before_segment_rename");
  const absl::Status renamed = fs->Rename(path + kTemporarySuffix, path);
  FAILPOINT("log.after_segment_rename");
  *sync_failed = !absl::IsResourceExhausted(renamed);
  RETURN_IF_ERROR(renamed);
  RETURN_IF_ERROR(fs->SyncDirectory(directory));
  *sync_failed = false;
  return absl::OkStatus();
}

}  // namespace

uint32_t LogModelCrc(const std::string& model_name) { return Crc32c(model_name.data(), model_name.size()); }

absl::StatusOr<std::vector<LogSegment>> ListLogSegments(FileSystem* fs, const std::string& directory,
                                                        const std::string& model_name) {
  ASSIGN_OR_RETURN(const std::vector<std::string> names, fs->List(directory));
  std::vector<uint64_t> numbers;
  for (const std::string& name : names) {
    if (const auto number = ParseLogSegmentName(name)) numbers.push_back(*number);
  }
  std::sort(numbers.begin(), numbers.end());
  std::vector<LogSegment> segments;
  for (const uint64_t number : numbers) {
    ASSIGN_OR_RETURN(segments.emplace_back(), ReadSegment(fs, directory, number, model_name));
  }
  return segments;
}

absl::StatusOr<std::unique_ptr<WritableFile>> CreateLogSegment(
    FileSystem* fs, const std::string& directory, const LogSegmentHeader& header, uint64_t bytes,
    const std::function<absl::Status(WritableFile*)>& fill, bool* sync_failed) {
  *sync_failed = false;
  const std::string name = LogSegmentName(header.number);
  const std::string temporary = JoinPath(directory, name + kTemporarySuffix);
  // What an attempt that failed left behind would be in the way.
  if (absl::Status gone = fs->RemoveFile(temporary); !gone.ok() && !absl::IsNotFound(gone)) return gone;
  ASSIGN_OR_RETURN(auto file, fs->OpenForWrite(temporary, WriteMode::kCreateDirect));
  ASSIGN_OR_RETURN(const DirectBuffer page, DirectBuffer::Make(nullptr, kLogSegmentHeaderBytes));
  EncodeLogSegment(header, page.bytes().data());
  absl::Status made = file->Allocate(kLogSegmentHeaderBytes + bytes);
  if (made.ok()) made = file->WriteAt(0, page.bytes());
  if (made.ok()) made = fill(file.get());
  if (made.ok()) made = MakeDurable(fs, directory, name, file.get(), sync_failed);
  if (made.ok()) return file;
  if (!*sync_failed) fs->RemoveFile(temporary).IgnoreError();
  return made;
}

absl::Status CopyLogTail(FileSystem* fs, const std::string& directory, const std::string& model_name,
                         const LogEnd& end, std::span<std::byte> buffer, WritableFile* to) {
  if (end.tail_bytes == 0) return absl::OkStatus();
  ASSIGN_OR_RETURN(const LogSegment segment, ReadSegment(fs, directory, end.last_segment, model_name));
  RETURN_IF_ERROR(segment.damage);
  ASSIGN_OR_RETURN(const auto from, fs->OpenForRead(JoinPath(directory, LogSegmentName(end.last_segment)),
                                                    ReadMode::kBuffered));
  const uint64_t begin = end.position - end.tail_bytes - segment.header.base + kLogSegmentHeaderBytes;
  for (uint64_t done = 0; done < end.tail_bytes; done += buffer.size()) {
    const uint64_t take = std::min<uint64_t>(buffer.size(), end.tail_bytes - done);
    RETURN_IF_ERROR(from->ReadAt(begin + done, buffer.first(take)));
    const uint64_t blocks = LogBlockBytes(take);
    std::fill_n(buffer.begin() + static_cast<ptrdiff_t>(take), blocks - take, std::byte{0});
    RETURN_IF_ERROR(to->WriteAt(kLogSegmentHeaderBytes + done, buffer.first(blocks)));
  }
  FAILPOINT("log.after_tail_copy");
  return absl::OkStatus();
}

void TrimLogSegment(FileSystem* fs, const std::string& directory, const std::string& model_name,
                    uint64_t number, uint64_t end) {
  const absl::StatusOr<LogSegment> segment = ReadSegment(fs, directory, number, model_name);
  if (!segment.ok() || !segment->damage.ok() || segment->header.base > end) return;
  const std::string path = JoinPath(directory, LogSegmentName(number));
  const absl::StatusOr<std::unique_ptr<WritableFile>> file = fs->OpenForWrite(path, WriteMode::kAppend);
  if (!file.ok()) return;
  (*file)->Truncate(end - segment->header.base + kLogSegmentHeaderBytes).IgnoreError();
  (*file)->Close().IgnoreError();
}

absl::Status RemoveLogSegments(FileSystem* fs, const std::string& directory) {
  ASSIGN_OR_RETURN(const std::vector<std::string> names, fs->List(directory));
  bool any = false;
  for (const std::string& name : names) {
    if (!ParseLogSegmentName(name)) continue;
    RETURN_IF_ERROR(fs->RemoveFile(JoinPath(directory, name)));
    any = true;
  }
  return any ? fs->SyncDirectory(directory) : absl::OkStatus();
}

absl::Status SetLogSegmentsAside(FileSystem* fs, const std::string& directory, uint64_t last) {
  ASSIGN_OR_RETURN(const std::vector<std::string> names, fs->List(directory));
  for (const std::string& name : names) {
    const auto number = ParseLogSegmentName(name);
    if (!number.has_value() || *number > last) continue;
    const std::string path = JoinPath(directory, name);
    RETURN_IF_ERROR(fs->Rename(path, path + kDamagedSuffix));
  }
  return fs->SyncDirectory(directory);
}

}  // namespace stepback
