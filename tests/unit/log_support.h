// What the log's tests share: entries that follow from a seed, and reading a whole log.
#pragma once

#include <cstddef>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "server/base/status_macros.h"
#include "server/store/log_reader.h"
#include "server/store/log_writer.h"
#include "tests/fakes/file_system.h"

namespace stepback {

inline constexpr char kLogDir[] = "/log";
inline constexpr char kLogModel[] = "lm";

inline std::vector<std::byte> BytesFromSeed(uint64_t seed, size_t size) {
  std::mt19937_64 random(seed);
  std::vector<std::byte> bytes(size);
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random() % 255 + 1);
  return bytes;
}

inline Payload PayloadOfBytes(std::vector<std::byte> bytes) {
  auto owner = std::make_shared<const std::vector<std::byte>>(std::move(bytes));
  Payload payload;
  payload.Append({owner->data(), owner->size()}, owner);
  return payload;
}

inline std::vector<std::byte> BytesOfPayload(const Payload& payload) {
  std::vector<std::byte> bytes;
  for (const kernels::ByteSpan& span : payload.view().spans())
    bytes.insert(bytes.end(), span.data, span.data + span.size);
  return bytes;
}

inline LogAppend TestAppend(uint64_t seed, size_t payload_bytes) {
  return {.record = {.type = static_cast<uint8_t>(seed % 7 + 1),
                     .term = 3,
                     .counter = seed,
                     .client = "worker-" + std::to_string(seed),
                     .epoch = seed + 100,
                     .sequence = seed + 1,
                     .body = "body of " + std::to_string(seed)},
          .payload = PayloadOfBytes(BytesFromSeed(seed, payload_bytes))};
}

inline std::unique_ptr<FakeFileSystem> LogDisk(uint64_t seed = 1) {
  auto fs = std::make_unique<FakeFileSystem>(seed);
  if (!fs->CreateDirectory(kLogDir).ok() || !fs->SyncDirectory("/").ok()) return nullptr;
  return fs;
}

// What a reader finds, and where it ends.
struct ReadLog {
  std::vector<LogEntry> entries;
  LogEnd end;
  LogReport report;
};

inline absl::StatusOr<ReadLog> ReadWholeLog(FileSystem* fs, LogReader::Options options = {}) {
  ASSIGN_OR_RETURN(auto reader, LogReader::Open(fs, kLogDir, kLogModel, options));
  ReadLog log;
  for (;;) {
    LogEntry entry;
    ASSIGN_OR_RETURN(const bool more, reader->Next(&entry));
    if (!more) break;
    log.entries.push_back(std::move(entry));
  }
  log.end = reader->end();
  log.report = reader->report();
  return log;
}

// Small segments: the fake disk keeps preallocated room in memory.
inline absl::StatusOr<std::unique_ptr<LogWriter>> ContinueLog(FileSystem* fs, LogWriter::Options options = {
                                                                                  .segment_bytes = 16'384}) {
  ASSIGN_OR_RETURN(const ReadLog log, ReadWholeLog(fs));
  return LogWriter::Open(fs, kLogDir, kLogModel, log.end, options);
}

inline absl::Status AppendOne(LogWriter* log, const LogAppend& append) {
  const LogAppend* const one = &append;
  std::vector<LogPlace> places;
  return log->Write({&one, 1}, &places);
}

inline bool SameEntry(const LogEntry& entry, const LogAppend& append) {
  return entry.record == append.record && BytesOfPayload(entry.payload) == BytesOfPayload(append.payload);
}

// Whether `log` holds exactly the first `count` of `appends`.
inline bool HoldsFirst(const ReadLog& log, const std::vector<LogAppend>& appends, size_t count) {
  if (log.entries.size() != count || count > appends.size()) return false;
  for (size_t i = 0; i < count; ++i) {
    if (!SameEntry(log.entries[i], appends[i])) return false;
  }
  return true;
}

}  // namespace stepback
