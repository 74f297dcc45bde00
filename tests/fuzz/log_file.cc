// The log of a model: segments of frames with right sums around any contents, in right and wrong order, loose
// bytes between them, bytes that changed afterwards. All recovery modes read it; what one of them gives out the
// more tolerant ones give out too, and a log goes on behind what was read.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "server/base/crc32c.h"
#include "server/engine/logged_call.h"
#include "server/store/log_reader.h"
#include "server/store/log_writer.h"
#include "tests/fakes/file_system.h"
#include "tests/fuzz/input.h"

using namespace stepback;  // NOLINT

namespace {

constexpr uint32_t kSalt = 7;
constexpr char kModel[] = "m";

std::string PathOf(uint64_t number) { return fmt::format("/log/wal-{:06}.log", number); }

// Writes what the input says, as a writer would or nearly so.
class LogMaker {
 public:
  LogMaker(fuzz::Input* input, FakeFileSystem* fs) : input_(input), fs_(fs) {}

  void Make() {
    Begin(0);
    while (!input_->empty()) Do(input_->Byte() % 8);
    End();
  }
  // Some frame says of a place where no batch began that everything before was durable: no writer does.
  bool lied() const { return lied_; }

 private:
  void Do(int what) {
    switch (what) {
      case 0:
      case 1:
        return Frame(static_cast<LogFrameKind>(input_->Byte() % 6), input_->Byte() % 4, input_->Bytes(input_->Byte()));
      case 2:
      case 3:
        return Entry();
      case 4:
        return Batch();
      case 5:
        frames_ += input_->Bytes(input_->Byte() % 64);
        return;
      case 6:
        if (number_ == 4) return;
        End();
        return Begin(input_->Byte());
      case 7:
        if (!frames_.empty()) frames_[input_->Word() % frames_.size()] ^= static_cast<char>(1 << input_->Byte() % 8);
        return;
    }
  }

  void Entry() {
    const uint32_t chunks = input_->Byte() % 4;
    Frame(LogFrameKind::kRecord, chunks, input_->Bytes(input_->Byte() % 32));
    for (uint32_t i = 0; i < chunks; ++i) Frame(LogFrameKind::kChunk, i, input_->Bytes(input_->Byte() % 64));
    if (chunks > 0) Frame(LogFrameKind::kCommit, chunks, "");
  }

  // The low bits of `odd` make it one that no writer writes.
  void Frame(LogFrameKind kind, uint32_t chunks, const std::string& body) {
    const uint8_t odd = input_->Byte();
    LogFrame frame{.body_bytes = static_cast<uint32_t>(body.size()),
                   .kind = kind,
                   .type = static_cast<uint8_t>(odd / 16),
                   .client_bytes = static_cast<uint16_t>(std::min<size_t>(body.size(), odd / 8 % 2)),
                   .term = 1,
                   .sequence = 1,
                   .position = base_ + frames_.size(),
                   .synced = batch_,
                   .chunks = chunks,
                   .body_crc = Crc32c(body.data(), body.size()),
                   .previous = chain_};
    if (odd % 8 == 1) ++frame.body_crc;
    if (odd % 8 == 2) ++frame.previous;
    if (odd % 8 == 3) lied_ = true, frame.synced = std::min<uint64_t>(frame.position, input_->Word());
    if (odd % 8 == 4) frame.body_bytes = input_->Word();
    if (odd % 8 == 5) frame.position += 8;
    std::array<std::byte, kLogFrameHeaderBytes> header;
    EncodeLogFrame(kSalt, &frame, header.data());
    chain_ = frame.chain;
    frames_.append(reinterpret_cast<const char*>(header.data()), header.size());
    frames_ += body;
    frames_.append((8 - frames_.size() % 8) % 8, '\0');
  }

  void Batch() {
    frames_.append(LogBlockBytes(frames_.size()) - frames_.size(), '\0');
    batch_ = base_ + frames_.size();
  }

  void Begin(uint8_t odd) {
    LogSegmentHeader header{.salt = kSalt,
                            .number = ++number_,
                            .base = base_,
                            .previous = chain_,
                            .model_crc = LogModelCrc(kModel)};
    if (odd % 8 == 1) ++header.previous;
    if (odd % 8 == 2) header.base = base_ = input_->Number() / 8 * 8;
    if (odd % 8 == 3) ++header.number;
    header_.assign(kLogSegmentHeaderBytes, '\0');
    EncodeLogSegment(header, reinterpret_cast<std::byte*>(header_.data()));
    if (odd % 8 == 4) header_.resize(input_->Word() % kLogSegmentHeaderBytes);
    batch_ = base_;
  }

  void End() {
    FUZZ_CHECK(fs_->OpenForWrite(PathOf(number_), WriteMode::kCreate).ok(), "no disk");
    fs_->SetContents(PathOf(number_), header_ + frames_);
    base_ += frames_.size();
    frames_.clear();
  }

  fuzz::Input* const input_;
  FakeFileSystem* const fs_;
  uint64_t number_ = 0, base_ = 0, batch_ = 0;
  uint32_t chain_ = 0;
  std::string header_, frames_;
  bool lied_ = false;
};

struct Found {
  absl::Status status;
  std::vector<std::string> entries;
  LogEnd end, beyond;
};

std::string TextOf(const LogEntry& entry) {
  std::string payload;
  for (const kernels::ByteSpan& span : entry.payload.view().spans())
    payload.append(reinterpret_cast<const char*>(span.data), span.size);
  return fmt::format("{}..{} {:x} {}:{}:{} {}", entry.place.position, entry.place.end, entry.place.chain,
                     entry.record.type, entry.record.client, entry.record.body, payload);
}

Found Read(FileSystem* fs, const LogReader::Options& options) {
  Found found;
  const auto reader = LogReader::Open(fs, "/log", kModel, options);
  if (!reader.ok()) return {.status = reader.status()};
  LogEntry entry;
  for (uint64_t behind = options.from;;) {
    const absl::StatusOr<bool> more = (*reader)->Next(&entry);
    found.status = more.status();
    if (!more.ok() || !*more) break;
    FUZZ_CHECK(entry.place.position >= behind && entry.place.end > entry.place.position,
               fmt::format("an entry at {}..{} after {}", entry.place.position, entry.place.end, behind));
    FUZZ_CHECK(!options.keep_payloads || entry.payload.size() == entry.payload_bytes, "a payload in part");
    behind = entry.place.end;
    found.entries.push_back(TextOf(entry));
    ParseCall(entry.record).status().IgnoreError();
  }
  if (!found.status.ok()) return found;
  found.end = (*reader)->end();
  const auto beyond = (*reader)->EndBeyondAll();
  FUZZ_CHECK(beyond.ok(), beyond.status().ToString());
  found.beyond = *beyond;
  return found;
}

void CheckBeginsWith(const Found& more, const Found& less, const char* what) {
  FUZZ_CHECK(more.entries.size() >= less.entries.size() &&
                 std::equal(less.entries.begin(), less.entries.end(), more.entries.begin()),
             fmt::format("{}: {} against {}", what, fmt::join(more.entries, "; "), fmt::join(less.entries, "; ")));
}

// One block for all writers; their buffer of 1 MiB is the most of their time otherwise.
class OneBlock : public kernels::HostAllocator {
 public:
  std::byte* Allocate(size_t bytes) noexcept override { return bytes <= block_.size() ? block_.data() : nullptr; }
  void Free(std::byte*, size_t) noexcept override {}

 private:
  std::vector<std::byte> block_ = std::vector<std::byte>((1 << 20) + 4096);
};

// True: an entry was appended at `end`.
bool AppendAt(FileSystem* fs, const LogEnd& end) {
  static OneBlock block;
  const auto writer = LogWriter::Open(fs, "/log", kModel, end,
                                      {.segment_bytes = 8192, .salt = kSalt, .allocator = &block});
  if (!writer.ok()) return false;
  const LogAppend one{.record = {.type = 1, .body = "one more"}};
  const LogAppend* const batch[] = {&one};
  std::vector<LogPlace> places;
  return (*writer)->Write(batch, &places).ok();
}

void CheckGoesOn(FakeFileSystem* fs, const Found& read) {
  FUZZ_CHECK(AppendAt(fs, read.end), "nothing can be appended to a sound log");
  const Found again = Read(fs, {});
  FUZZ_CHECK(again.status.ok(), again.status.ToString());
  CheckBeginsWith(again, read, "after another one was appended");
  FUZZ_CHECK(again.entries.size() == read.entries.size() + 1, "the appended one is not read");
}

// As a recovery does that had to leave something out.
void CheckBeginsAnew(FakeFileSystem* fs, const Found& salvaged) {
  if (salvaged.beyond.position > kLogPositionMax) return;
  FUZZ_CHECK(AppendAt(fs, salvaged.beyond), "nothing can be appended behind a damaged log");
  FUZZ_CHECK(SetLogSegmentsAside(fs, "/log", salvaged.beyond.last_segment).ok(), "not set aside");
  const Found again = Read(fs, {.from = salvaged.beyond.position});
  FUZZ_CHECK(again.status.ok() && again.entries.size() == 1, again.status.ToString());
}

// One of them an input: each costs as much as everything before.
void CheckRecovery(FakeFileSystem* fs, const Found& strict, size_t which) {
  if (which % 3 == 0) {
    const Found verified = Read(fs, {.keep_payloads = false});
    FUZZ_CHECK(verified.status == strict.status && verified.entries.size() == strict.entries.size(),
               "payloads that are only verified are read otherwise");
  } else if (which % 3 == 1) {
    CheckBeginsWith(Read(fs, {.recovery = LogRecovery::kPointInTime}), strict, "up to the first damage");
  } else {
    const Found all = Read(fs, {.recovery = LogRecovery::kSalvage});
    CheckBeginsWith(all, strict, "salvaged");
    if (!strict.status.ok() && all.status.ok()) CheckBeginsAnew(fs, all);
  }
}

}  // namespace

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fuzz::Input input(data, size);
  FakeFileSystem fs;
  FUZZ_CHECK(fs.CreateDirectory("/log").ok(), "no disk");
  LogMaker maker(&input, &fs);
  maker.Make();
  const Found strict = Read(&fs, {});
  if (strict.status.ok() && !maker.lied()) {
    CheckGoesOn(&fs, strict);
  } else {
    CheckRecovery(&fs, strict, size);
  }
  return 0;
}
