#include "server/store/log_writer.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/base/crc32c.h"
#include "server/base/failpoint.h"
#include "server/base/status_macros.h"
#include "server/store/log_segments.h"
#include "server/store/store_paths.h"

namespace stepback {
namespace {

constexpr uint64_t kLogBufferBytes = 1ull << 20;
constexpr uint64_t kLogPieceBytes = 1ull << 20;  // of payloads that come without sums

uint64_t ChunkCount(const LogAppend& entry) {
  return entry.sums.empty() ? (entry.payload.size() + kLogPieceBytes - 1) / kLogPieceBytes
                            : entry.sums.size();
}

uint64_t EntryBytes(const LogAppend& entry) {
  uint64_t bytes = LogFrameBytes(entry.record.client.size() + entry.record.body.size());
  if (entry.payload.empty()) return bytes;
  const uint64_t chunks = ChunkCount(entry);
  // Every piece may need padding.
  return bytes + entry.payload.size() + chunks * (kLogFrameHeaderBytes + kLogFrameAlign) + LogFrameBytes(0);
}

absl::Status CheckEntry(const LogAppend& entry) {
  const LogRecord& record = entry.record;
  const uint64_t body = record.client.size() + record.body.size();
  if (record.client.size() > kLogClientBytesMax || body > kLogBodyBytesMax ||
      ChunkCount(entry) > kLogChunksMax) {
    return absl::InvalidArgumentError(absl::StrCat("log record of ", body, " bytes with a client id of ",
                                                   record.client.size(), ", at most ", kLogBodyBytesMax,
                                                   " and ", kLogClientBytesMax));
  }
  uint64_t sum = 0;
  for (const ChunkSum& chunk : entry.sums) {
    if (chunk.bytes == 0 || chunk.bytes > kLogBodyBytesMax)
      return absl::InvalidArgumentError("impossible chunk");
    sum += chunk.bytes;
  }
  if (entry.sums.empty() || sum == entry.payload.size()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("log entry of ", entry.payload.size(), " bytes with sums of ", sum));
}

std::span<const std::byte> BytesOf(const std::string& text) { return std::as_bytes(std::span(text)); }

// Takes consecutive pieces from a payload.
class PayloadCursor {
 public:
  explicit PayloadCursor(const Payload& payload) : spans_(payload.view().spans()) {}

  std::vector<std::span<const std::byte>> Take(uint64_t bytes) {
    std::vector<std::span<const std::byte>> pieces;
    while (bytes > 0) {
      const kernels::ByteSpan& span = spans_[span_];
      const size_t take = std::min<uint64_t>(bytes, span.size - done_);
      pieces.push_back({span.data + done_, take});
      bytes -= take;
      done_ += take;
      if (done_ == span.size) ++span_, done_ = 0;
    }
    return pieces;
  }

 private:
  const std::span<const kernels::ByteSpan> spans_;
  size_t span_ = 0;
  size_t done_ = 0;
};

uint32_t SumOf(std::span<const std::span<const std::byte>> pieces) {
  uint32_t crc = 0;
  for (const auto& piece : pieces) crc = ExtendCrc32c(crc, piece.data(), piece.size());
  return crc;
}

}  // namespace

absl::StatusOr<std::unique_ptr<LogWriter>> LogWriter::Open(FileSystem* fs, std::string directory,
                                                           const std::string& model_name, const LogEnd& end,
                                                           const Options& options) {
  std::unique_ptr<LogWriter> writer(new LogWriter(fs, std::move(directory), model_name, end, options));
  ASSIGN_OR_RETURN(DirectBuffer buffer, DirectBuffer::Make(options.allocator, kLogBufferBytes));
  writer->buffer_ = std::make_unique<DirectBuffer>(std::move(buffer));
  RETURN_IF_ERROR(writer->GoOn(end));
  return writer;
}

LogWriter::LogWriter(FileSystem* fs, std::string directory, const std::string& model_name, const LogEnd& end,
                     const Options& options)
    : fs_(fs),
      directory_(std::move(directory)),
      model_name_(model_name),
      options_(options),
      salt_(end.salt != 0 ? end.salt : options.salt),
      number_(end.last_segment) {}

// The tail comes into the new segment before that has its name: nothing is built upon bytes that may not be
// on disk, and no block is written twice.
absl::Status LogWriter::GoOn(const LogEnd& end) {
  end_ = end.position - end.tail_bytes;
  chain_ = end.tail_bytes > 0 ? end.tail_chain : end.chain;
  RETURN_IF_ERROR(Rotate(end.tail_bytes, [&](WritableFile* file) {
    return CopyLogTail(fs_, directory_, model_name_, end, buffer_->bytes(), file);
  }));
  end_ += LogBlockBytes(end.tail_bytes);
  chain_ = end.chain;
  return absl::OkStatus();
}

// The old segment keeps what is durable in it; its unused room goes back.
absl::Status LogWriter::Rotate(uint64_t bytes, const Fill& fill) {
  FAILPOINT("log.before_rotate");
  const std::unique_ptr<WritableFile> old = std::move(file_);
  const uint64_t used = OffsetOf(end_);
  const uint64_t capacity = LogBlockBytes(std::max(options_.segment_bytes, bytes));
  bool sync_failed = false;
  absl::StatusOr<std::unique_ptr<WritableFile>> made =
      CreateLogSegment(fs_, directory_,
                       {.salt = salt_,
                        .number = number_ + 1,
                        .base = end_,
                        .previous = chain_,
                        .model_crc = LogModelCrc(model_name_)},
                       capacity, fill, &sync_failed);
  sync_failed_ = sync_failed_ || sync_failed;
  RETURN_IF_ERROR(made.status());
  FAILPOINT("log.after_rotate");
  if (old != nullptr) {
    // Only room: whatever becomes of it, the next segment's base says where this one ends.
    old->Truncate(used).IgnoreError();
    old->Close().IgnoreError();
  }
  file_ = *std::move(made);
  ++number_;
  base_ = end_;
  capacity_ = capacity;
  direct_ = file_->is_direct();
  return absl::OkStatus();
}

absl::Status LogWriter::Write(std::span<const LogAppend* const> entries, std::vector<LogPlace>* places) {
  RETURN_IF_ERROR(writable_);
  for (const LogAppend* entry : entries) RETURN_IF_ERROR(CheckEntry(*entry));
  const absl::Status written = WriteBatch(entries, places);
  if (!written.ok()) return Failed(written);
  marked_ = false;
  return absl::OkStatus();
}

absl::Status LogWriter::Mark() {
  RETURN_IF_ERROR(writable_);
  if (marked_) return absl::OkStatus();
  std::vector<LogPlace> none;
  const absl::Status written = WriteBatch({}, &none);
  if (!written.ok()) return Failed(written);
  marked_ = true;
  return absl::OkStatus();
}

absl::Status LogWriter::WriteBatch(std::span<const LogAppend* const> entries, std::vector<LogPlace>* places) {
  uint64_t bytes = LogFrameBytes(0);
  for (const LogAppend* entry : entries) bytes += EntryBytes(*entry);
  const bool fits = file_ != nullptr && end_ - base_ + LogBlockBytes(bytes) <= capacity_;
  if (!fits) RETURN_IF_ERROR(Rotate(bytes, [](WritableFile*) { return absl::OkStatus(); }));
  buffered_ = 0;
  buffer_at_ = end_;
  batch_chain_ = chain_;
  places->clear();
  for (const LogAppend* entry : entries) {
    const uint64_t position = buffer_at_ + buffered_;
    RETURN_IF_ERROR(PutEntry(*entry));
    places->push_back({position, buffer_at_ + buffered_, batch_chain_});
  }
  if (entries.empty()) RETURN_IF_ERROR(PutFrame({.kind = LogFrameKind::kMark}, {}));
  const uint64_t end = buffer_at_ + buffered_;
  RETURN_IF_ERROR(PutZeros(LogBlockBytes(OffsetOf(end)) - OffsetOf(end)));
  RETURN_IF_ERROR(FlushBuffer());
  return Sync();
}

absl::Status LogWriter::PutEntry(const LogAppend& entry) {
  const LogRecord& record = entry.record;
  const std::array<std::span<const std::byte>, 2> body = {BytesOf(record.client), BytesOf(record.body)};
  LogFrame frame{.body_bytes = static_cast<uint32_t>(record.client.size() + record.body.size()),
                 .kind = LogFrameKind::kRecord,
                 .type = record.type,
                 .client_bytes = static_cast<uint16_t>(record.client.size()),
                 .term = record.term,
                 .counter = record.counter,
                 .epoch = record.epoch,
                 .sequence = record.sequence,
                 .chunks = static_cast<uint32_t>(ChunkCount(entry)),
                 .body_crc = SumOf(body)};
  RETURN_IF_ERROR(PutFrame(frame, body));
  if (entry.payload.empty()) return absl::OkStatus();
  RETURN_IF_ERROR(PutPayload(entry));
  frame.kind = LogFrameKind::kCommit;
  frame.body_bytes = frame.client_bytes = frame.type = 0;
  frame.body_crc = 0;
  return PutFrame(frame, {});
}

absl::Status LogWriter::PutPayload(const LogAppend& entry) {
  PayloadCursor cursor(entry.payload);
  const uint64_t chunks = ChunkCount(entry);
  uint64_t left = entry.payload.size();
  for (uint64_t i = 0; i < chunks; ++i) {
    const uint64_t bytes = entry.sums.empty() ? std::min(left, kLogPieceBytes) : entry.sums[i].bytes;
    const auto pieces = cursor.Take(bytes);
    left -= bytes;
    RETURN_IF_ERROR(PutFrame({.body_bytes = static_cast<uint32_t>(bytes),
                              .kind = LogFrameKind::kChunk,
                              .term = entry.record.term,
                              .counter = entry.record.counter,
                              .epoch = entry.record.epoch,
                              .sequence = entry.record.sequence,
                              .chunks = static_cast<uint32_t>(i),
                              .body_crc = entry.sums.empty() ? SumOf(pieces) : entry.sums[i].crc32c},
                             pieces));
  }
  return absl::OkStatus();
}

absl::Status LogWriter::PutFrame(LogFrame frame, std::span<const std::span<const std::byte>> body) {
  frame.position = buffer_at_ + buffered_;
  frame.synced = end_;
  frame.previous = batch_chain_;
  std::array<std::byte, kLogFrameHeaderBytes> header;
  EncodeLogFrame(salt_, &frame, header.data());
  batch_chain_ = frame.chain;
  RETURN_IF_ERROR(PutBytes(header));
  for (const auto& piece : body) RETURN_IF_ERROR(PutBytes(piece));
  return PutZeros(LogFrameBytes(frame.body_bytes) - kLogFrameHeaderBytes - frame.body_bytes);
}

absl::Status LogWriter::PutBytes(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const size_t take = std::min(bytes.size(), buffer_->bytes().size() - buffered_);
    std::memcpy(buffer_->bytes().data() + buffered_, bytes.data(), take);
    buffered_ += take;
    bytes = bytes.subspan(take);
    if (buffered_ == buffer_->bytes().size()) RETURN_IF_ERROR(FlushBuffer());
  }
  return absl::OkStatus();
}

absl::Status LogWriter::PutZeros(uint64_t bytes) {
  static constexpr std::array<std::byte, 4096> kZeros = {};
  while (bytes > 0) {
    const size_t take = std::min<uint64_t>(bytes, kZeros.size());
    RETURN_IF_ERROR(PutBytes(std::span(kZeros).first(take)));
    bytes -= take;
  }
  return absl::OkStatus();
}

// Always whole blocks: a batch begins at one, the buffer is a multiple, and the batch ends with fill.
absl::Status LogWriter::FlushBuffer() {
  if (buffered_ == 0) return absl::OkStatus();
  FAILPOINT("log.before_write");
  RETURN_IF_ERROR(file_->WriteAt(OffsetOf(buffer_at_), buffer_->bytes().first(buffered_)));
  FAILPOINT("log.after_write");
  buffer_at_ += std::exchange(buffered_, 0);
  return absl::OkStatus();
}

absl::Status LogWriter::Sync() {
  sync_failed_ = true;
  FAILPOINT("log.before_sync");
  RETURN_IF_ERROR(file_->SyncData());
  FAILPOINT("log.after_sync");
  sync_failed_ = false;
  end_ = buffer_at_;
  chain_ = batch_chain_;
  return absl::OkStatus();
}

// A batch that met a full disk may have left a part of itself, which a start must not take for a call that
// was accepted: its beginning is wiped out, as far as the disk goes along. And the next one goes into a new
// segment, whose base says that the part does not count.
absl::Status LogWriter::Failed(const absl::Status& status) {
  if (!sync_failed_ && absl::IsResourceExhausted(status)) {
    // No room is needed for its first block, and without that header the rest is nothing.
    const std::span<std::byte> block = buffer_->bytes().first(kLogSegmentHeaderBytes);
    std::fill(block.begin(), block.end(), std::byte{0});
    if (file_ != nullptr && file_->WriteAt(OffsetOf(end_), block).ok())
      sync_failed_ = !file_->SyncData().ok();
    file_.reset();
    if (!sync_failed_) return status;
  }
  writable_ = absl::DataLossError(absl::StrCat(
      "model '", model_name_, "': no more is logged until a restart, because: ", status.message()));
  return writable_;
}

absl::Status LogWriter::Release(uint64_t position) {
  RETURN_IF_ERROR(writable_);
  ASSIGN_OR_RETURN(const std::vector<LogSegment> segments, ListLogSegments(fs_, directory_, model_name_));
  for (size_t i = 0; i + 1 < segments.size(); ++i) {
    const LogSegment& next = segments[i + 1];
    if (!next.damage.ok() || next.header.base > position || segments[i].number >= number_) break;
    FAILPOINT("log.before_release");
    RETURN_IF_ERROR(fs_->RemoveFile(JoinPath(directory_, LogSegmentName(segments[i].number))));
    FAILPOINT("log.after_release");
  }
  return absl::OkStatus();
}

}  // namespace stepback
