#include "server/store/log_reader.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/base/crc32c.h"
#include "server/base/little_endian.h"
#include "server/base/status_macros.h"
#include "server/store/store_paths.h"

namespace stepback {
namespace {

absl::Status Missing(const std::string& what) { return absl::DataLossError("log: " + what); }
absl::Status BadEntry(const std::string& what) { return absl::OutOfRangeError(what); }

std::shared_ptr<std::byte> AllocateShared(kernels::HostAllocator* allocator, uint64_t bytes) {
  void* const raw = allocator != nullptr ? allocator->Allocate(bytes) : std::malloc(bytes);
  return {static_cast<std::byte*>(raw), [allocator, bytes](std::byte* p) {
            if (allocator != nullptr) {
              allocator->Free(p, bytes);
            } else {
              std::free(p);
            }
          }};
}

}  // namespace

absl::StatusOr<std::unique_ptr<LogReader>> LogReader::Open(FileSystem* fs, std::string directory,
                                                           const std::string& model_name,
                                                           const Options& options) {
  std::unique_ptr<LogReader> reader(new LogReader(fs, std::move(directory), options));
  ASSIGN_OR_RETURN(reader->segments_, ListLogSegments(fs, reader->directory_, model_name));
  RETURN_IF_ERROR(reader->FindStart());
  return reader;
}

LogReader::LogReader(FileSystem* fs, std::string directory, const Options& options)
    : fs_(fs),
      directory_(std::move(directory)),
      options_(options),
      at_(options.from),
      previous_(options.chain),
      end_(options.from),
      synced_(options.from),
      chain_(options.chain.value_or(0)) {}

// The last segment that begins at or before `from`. Older ones are not needed, whatever their state.
absl::Status LogReader::FindStart() {
  if (segments_.empty()) {
    done_ = true;
    return options_.from == 0
               ? absl::OkStatus()
               : Missing(absl::StrCat("there is none, the snapshot goes on at ", options_.from));
  }
  if (options_.from > kLogPositionMax) return Missing(absl::StrCat("no log reaches ", options_.from));
  last_number_ = segments_.back().number;
  std::optional<size_t> start;
  for (size_t i = 0; i < segments_.size(); ++i) {
    const LogSegment& segment = segments_[i];
    if (segment.damage.ok()) salt_ = segment.header.salt;
    if (segment.damage.ok() && segment.header.base <= options_.from) start = i;
  }
  if (start.has_value()) return OpenSegment(*start);
  const auto sound =
      std::find_if(segments_.begin(), segments_.end(), [](const auto& s) { return s.damage.ok(); });
  const absl::Status gap = sound == segments_.end()
                               ? segments_.front().damage
                               : Missing(absl::StrCat("it begins at ", sound->header.base,
                                                      ", the snapshot goes on at ", options_.from));
  if (options_.recovery == LogRecovery::kStrict) return gap;
  report_.damaged.push_back({options_.from, std::string(gap.message())});
  done_ = sound == segments_.end() || options_.recovery == LogRecovery::kPointInTime;
  if (done_) return absl::OkStatus();
  RETURN_IF_ERROR(OpenSegment(static_cast<size_t>(sound - segments_.begin())));
  at_ = end_ = sound->header.base;
  return absl::OkStatus();
}

absl::Status LogReader::OpenSegment(size_t index) {
  index_ = index;
  const LogSegment& segment = segments_[index];
  ASSIGN_OR_RETURN(
      auto file, fs_->OpenForRead(JoinPath(directory_, LogSegmentName(segment.number)), ReadMode::kBuffered));
  ASSIGN_OR_RETURN(LogWindow window, LogWindow::Make(std::move(file), segment.header.base));
  window_.emplace(std::move(window));
  synced_ = std::max(synced_, segment.header.base);
  if (at_ == segment.header.base) {
    previous_ = segment.header.previous;
    chain_ = segment.header.previous;
  }
  return absl::OkStatus();
}

// Positions at or above this do not belong to the present segment.
uint64_t LogReader::limit() const {
  return IsLast() || !segments_[index_ + 1].damage.ok() ? UINT64_MAX : segments_[index_ + 1].header.base;
}

absl::StatusOr<bool> LogReader::Next(LogEntry* entry) {
  while (!done_) {
    ASSIGN_OR_RETURN(const bool at_end, SkipFill());
    if (at_end) {
      RETURN_IF_ERROR(NextSegment());
      continue;
    }
    ASSIGN_OR_RETURN(const bool read, ReadEntry(entry));
    if (read) return true;
  }
  return false;
}

// A batch ends with zeros up to the next block; where the next block has none, the segment's data end.
absl::StatusOr<bool> LogReader::SkipFill() {
  if (at_ >= limit()) return true;
  const uint64_t offset = at_ - segments_[index_].header.base;
  const uint64_t block_end =
      at_ + (kLogSegmentHeaderBytes - offset % kLogSegmentHeaderBytes) % kLogSegmentHeaderBytes;
  const uint64_t fill_end = std::min({block_end, limit(), std::max(window_->end(), at_)});
  ASSIGN_OR_RETURN(const auto fill, window_->Peek(at_, fill_end - at_));
  if (!AllZero(fill)) return false;
  at_ = fill_end;
  if (at_ >= limit()) return true;
  if (at_ >= window_->end()) return IsLast();
  if (!IsLast()) return false;
  ASSIGN_OR_RETURN(const auto header, window_->Peek(at_, kLogFrameHeaderBytes));
  if (!AllZero(header)) return false;
  ASSIGN_OR_RETURN(const uint64_t data_end, window_->EndOfData(at_));
  return data_end == at_;
}

absl::Status LogReader::NextSegment() {
  if (IsLast()) {
    done_ = true;
    if (end_ != options_.from || window_->end() >= options_.from) return absl::OkStatus();
    return Damage(options_.from,
                  absl::StrCat("it ends before ", options_.from, ", where the snapshot goes on"))
        .status();
  }
  LogSegment next = segments_[index_ + 1];
  // A writer may go back behind the end of a segment that got no entry, but never to before an entry's end.
  if (next.damage.ok() && next.header.base < end_) {
    next.damage = absl::DataLossError(absl::StrCat(LogSegmentName(next.number), " begins at ", next.header.base,
                                                   ", the last entry ends at ", end_));
  }
  if (!next.damage.ok()) {
    segments_.erase(segments_.begin() + static_cast<ptrdiff_t>(index_) + 1);
    return Damage(at_, std::string(next.damage.message())).status();
  }
  const bool linked = segments_[index_].number + 1 == next.number &&
                      (!previous_.has_value() || *previous_ == next.header.previous);
  if (!linked) {
    const std::string what = absl::StrCat("segment ", next.number, " does not follow the one before");
    if (options_.recovery == LogRecovery::kStrict) return Damage(at_, what).status();
    Report(at_, what);
    done_ = options_.recovery == LogRecovery::kPointInTime;
    if (done_) return absl::OkStatus();
  }
  at_ = next.header.base;
  return OpenSegment(index_ + 1);
}

absl::StatusOr<bool> LogReader::ReadEntry(LogEntry* entry) {
  const uint64_t began = at_;
  const auto bad = [&](const absl::Status& why) -> absl::StatusOr<bool> {
    if (!absl::IsOutOfRange(why)) return why;
    return Judge(began, at_, why);
  };
  const absl::StatusOr<LogFrame> frame = ReadFrame();
  if (!frame.ok()) return bad(frame.status());
  if (frame->kind == LogFrameKind::kMark) return false;
  if (frame->kind != LogFrameKind::kRecord) {
    at_ = began;
    return bad(BadEntry("it does not begin with a record"));
  }
  *entry = LogEntry();
  std::string body(frame->body_bytes, '\0');
  at_ = began;
  if (absl::Status read = ReadBody(*frame, std::as_writable_bytes(std::span(body))); !read.ok())
    return bad(read);
  entry->record = {.type = frame->type,
                   .term = frame->term,
                   .counter = frame->counter,
                   .client = body.substr(0, frame->client_bytes),
                   .epoch = frame->epoch,
                   .sequence = frame->sequence,
                   .body = body.substr(frame->client_bytes)};
  if (frame->chunks > 0) {
    if (absl::Status read = ReadPayload(*frame, entry); !read.ok()) return bad(read);
  }
  end_ = at_;
  chain_ = *previous_;
  entry->place = {began, end_, chain_};
  return true;
}

// The header at `at_`, which moves behind the whole frame.
absl::StatusOr<LogFrame> LogReader::ReadFrame() {
  bad_frame_end_.reset();
  ASSIGN_OR_RETURN(const auto bytes, window_->Peek(at_, kLogFrameHeaderBytes));
  ASSIGN_OR_RETURN(const LogFrame frame, DecodeLogFrame(salt_, at_, bytes));
  if (previous_.has_value() && frame.previous != *previous_)
    return BadEntry("the chain of checksums is broken");
  const uint64_t end = at_ + LogFrameBytes(frame.body_bytes);
  bad_frame_end_ = end;
  if (end > limit()) return BadEntry("it reaches into the next segment");
  if (end > window_->end()) return BadEntry("it is cut off");
  synced_ = std::max(synced_, frame.synced);
  if (at_ == synced_) synced_chain_ = frame.previous;
  previous_ = frame.chain;
  at_ = end;
  return frame;
}

// Of the frame at `at_`, which moves behind it.
absl::Status LogReader::ReadBody(const LogFrame& frame, std::span<std::byte> to) {
  RETURN_IF_ERROR(window_->Read(at_ + kLogFrameHeaderBytes, to));
  if (Crc32c(to.data(), to.size()) != frame.body_crc) return BadEntry("its checksum differs");
  const uint64_t padding = LogFrameBytes(to.size()) - kLogFrameHeaderBytes - to.size();
  ASSIGN_OR_RETURN(const auto pad, window_->Peek(at_ + kLogFrameHeaderBytes + to.size(), padding));
  if (!AllZero(pad)) return BadEntry("its padding is not zero");
  at_ += LogFrameBytes(to.size());
  return absl::OkStatus();
}

// Headers first, so that memory is taken once and only for a payload that is there.
absl::Status LogReader::ReadPayload(const LogFrame& record, LogEntry* entry) {
  const uint64_t began = at_;
  const auto chain = previous_;
  RETURN_IF_ERROR(CheckChunks(record, &entry->payload_bytes));
  const uint64_t end = at_;
  const auto end_chain = previous_;
  at_ = began;
  previous_ = chain;
  RETURN_IF_ERROR(CopyChunks(record.chunks, entry->payload_bytes, entry));
  at_ = end;
  previous_ = end_chain;
  return absl::OkStatus();
}

absl::Status LogReader::CheckChunks(const LogFrame& record, uint64_t* bytes) {
  for (uint32_t i = 0; i <= record.chunks; ++i) {
    const uint64_t began = at_;
    ASSIGN_OR_RETURN(const LogFrame frame, ReadFrame());
    const LogFrameKind expected = i < record.chunks ? LogFrameKind::kChunk : LogFrameKind::kCommit;
    if (frame.kind == expected && frame.chunks == i && frame.sequence == record.sequence) {
      *bytes += frame.body_bytes;
      continue;
    }
    at_ = began;
    return BadEntry("its chunks are not in order");
  }
  return absl::OkStatus();
}

absl::Status LogReader::CopyChunks(uint32_t chunks, uint64_t bytes, LogEntry* entry) {
  const std::shared_ptr<std::byte> memory =
      AllocateShared(options_.allocator, options_.keep_payloads ? bytes : std::min(bytes, kLogBodyBytesMax));
  if (memory == nullptr) {
    return absl::ResourceExhaustedError(absl::StrCat("no memory for a log entry of ", bytes, " bytes"));
  }
  uint64_t done = 0;
  for (uint32_t i = 0; i < chunks; ++i) {
    const uint64_t began = at_;
    ASSIGN_OR_RETURN(const LogFrame frame, ReadFrame());
    at_ = began;
    std::byte* const to = memory.get() + (options_.keep_payloads ? done : 0);
    RETURN_IF_ERROR(ReadBody(frame, {to, frame.body_bytes}));
    done += frame.body_bytes;
  }
  if (options_.keep_payloads) entry->payload.Append({memory.get(), bytes}, memory);
  return absl::OkStatus();
}

// Leaves the reader at another place, or done. False (no entry was read) or an error.
absl::StatusOr<bool> LogReader::Judge(uint64_t entry_at, uint64_t bad_at, const absl::Status& why) {
  const auto frame_end = bad_frame_end_;
  const std::string what(why.message());
  if (!IsLast()) return Damage(bad_at, what);
  ASSIGN_OR_RETURN(const uint64_t data_end, window_->EndOfData(bad_at));
  ASSIGN_OR_RETURN(const auto proof,
                   FindFrame(bad_at + kLogFrameAlign, data_end, bad_at, /*records_only=*/false));
  if (proof.has_value()) {
    return Damage(bad_at, absl::StrCat(what, "; the frame at ", *proof, " says that it was durable"));
  }
  bool torn = data_end == bad_at || (frame_end.has_value() && *frame_end > window_->end()) ||
              bad_at + kLogFrameHeaderBytes > window_->end();
  if (!torn) {
    const uint64_t extent =
        frame_end.has_value() ? *frame_end : std::max(data_end, bad_at + kLogFrameHeaderBytes);
    ASSIGN_OR_RETURN(torn, IsTorn(bad_at, std::min(extent, window_->end())));
  }
  if (!torn) return Damage(bad_at, what);
  report_.torn_at = entry_at;
  report_.torn_bytes = std::max(data_end, bad_at) - entry_at;
  done_ = true;
  return false;
}

// Whether a sector of [from, to) is still as preallocated.
absl::StatusOr<bool> LogReader::IsTorn(uint64_t from, uint64_t to) {
  const uint64_t base = segments_[index_].header.base;
  for (uint64_t at = from; at < to;) {
    const uint64_t sector_end = std::min(to, at + kLogSector - (at - base) % kLogSector);
    ASSIGN_OR_RETURN(const auto bytes, window_->Peek(at, sector_end - at));
    if (AllZero(bytes)) return true;
    at = sector_end;
  }
  return false;
}

// The first frame in [from, end) that verifies by itself and says that the log was durable beyond
// `synced_above`, or the first record.
absl::StatusOr<std::optional<uint64_t>> LogReader::FindFrame(uint64_t from, uint64_t end,
                                                             uint64_t synced_above, bool records_only) {
  for (uint64_t at = from; at < end && at + kLogFrameHeaderBytes <= window_->end(); at += kLogFrameAlign) {
    ASSIGN_OR_RETURN(const auto bytes, window_->Peek(at, kLogFrameHeaderBytes));
    if (LoadLittle64(bytes.data() + 40) != at) continue;  // most are not: spares the making of an error
    const absl::StatusOr<LogFrame> frame = DecodeLogFrame(salt_, at, bytes);
    if (!frame.ok() || (records_only && frame->kind != LogFrameKind::kRecord)) continue;
    if (records_only || frame->synced > synced_above) return at;
  }
  return std::nullopt;
}

absl::StatusOr<bool> LogReader::Damage(uint64_t position, const std::string& what) {
  if (options_.recovery == LogRecovery::kStrict) {
    return absl::DataLossError(absl::StrCat("log: damaged at position ", position, " (",
                                            LogSegmentName(segments_[index_].number), "): ", what));
  }
  Report(position, what);
  done_ = done_ || options_.recovery == LogRecovery::kPointInTime;
  if (done_) return false;
  ASSIGN_OR_RETURN(const auto next,
                   FindFrame(std::max(at_, position) / kLogFrameAlign * kLogFrameAlign + kLogFrameAlign,
                             std::min(window_->end(), limit()), 0, /*records_only=*/true));
  previous_.reset();
  if (next.has_value()) {
    at_ = *next;
  } else if (IsLast()) {
    done_ = true;
  } else {
    RETURN_IF_ERROR(NextSegment());
  }
  return false;
}

void LogReader::Report(uint64_t position, const std::string& what) {
  report_.damaged.push_back({position, absl::StrCat(LogSegmentName(segments_[index_].number), ": ", what)});
}

absl::StatusOr<LogEnd> LogReader::EndBeyondAll() const {
  LogEnd beyond = end();
  beyond.chain = 0;
  beyond.tail_bytes = 0;
  for (const LogSegment& segment : segments_) {
    if (!segment.damage.ok()) continue;
    ASSIGN_OR_RETURN(auto file, fs_->OpenForRead(JoinPath(directory_, LogSegmentName(segment.number)),
                                                 ReadMode::kBuffered));
    ASSIGN_OR_RETURN(const uint64_t size, file->Size());
    beyond.position = std::max(beyond.position, segment.header.base + size / kLogFrameAlign * kLogFrameAlign);
  }
  return beyond;
}

LogEnd LogReader::end() const {
  return {.position = end_,
          .chain = chain_,
          .last_segment = last_number_,
          .salt = salt_,
          .tail_bytes = end_ - std::min(synced_, end_),
          .tail_chain = synced_chain_};
}

}  // namespace stepback
