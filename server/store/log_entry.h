// Plain types of the log: what is appended and what comes back.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "server/base/payload.h"

namespace stepback {

// One command of the model's history. `type` and `body` mean something to the engine only.
struct LogRecord {
  uint8_t type = 0;
  uint64_t term = 0, counter = 0;  // version of the model when it was written
  std::string client;              // at most 65,535 bytes
  uint64_t epoch = 0, sequence = 0;
  std::string body;  // with the client id at most 4 MiB
  bool operator==(const LogRecord&) const = default;
};

// A piece of a payload and its CRC32C, as it came over the wire.
struct ChunkSum {
  uint32_t bytes = 0;  // 1..4 MiB
  uint32_t crc32c = 0;
  bool operator==(const ChunkSum&) const = default;
};

struct LogAppend {
  LogRecord record;
  Payload payload;  // may be empty
  // Of consecutive pieces of the payload that were verified when it arrived, so that what is written is what
  // the client summed. Empty: summed here, in pieces of 1 MiB.
  std::vector<ChunkSum> sums;
};

struct LogPlace {
  uint64_t position = 0;  // where an entry begins
  uint64_t end = 0;       // where the next one may begin
  uint32_t chain = 0;     // of checksums, at `end`
};

struct LogEntry {
  LogPlace place;
  uint64_t payload_bytes = 0;
  LogRecord record;
  Payload payload;  // empty when the reader does not keep payloads
};

// Where a log ends, so that a writer can go on.
struct LogEnd {
  uint64_t position = 0;
  uint32_t chain = 0;
  uint64_t last_segment = 0;  // number of the highest one there is; 0: none
  uint32_t salt = 0;          // 0: none yet
  // Of what lies before `position`, the part that nothing behind it proves durable (at most the last batch),
  // and the chain before that. A process that was killed, or whose sync failed, leaves it to be read, and a
  // power failure may still take it.
  uint64_t tail_bytes = 0;
  uint32_t tail_chain = 0;
};

// What is done about damage in a log (RocksDB's recovery modes). A torn tail is none: it was never promised.
enum class LogRecovery : uint8_t {
  kStrict,       // refuse
  kPointInTime,  // everything before the first damage
  kSalvage,      // everything that is whole, also behind damage
};

struct LogReport {
  uint64_t torn_at = 0, torn_bytes = 0;  // what an interrupted write left after the end
  struct Damage {
    uint64_t position = 0;
    std::string what;
  };
  std::vector<Damage> damaged;
};

}  // namespace stepback
