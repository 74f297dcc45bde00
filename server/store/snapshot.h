// Plain types of a snapshot: what the engine gives to be written and gets back.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "kernels/backend.h"

namespace stepback {

struct ArrayInfo {
  std::string name;  // unique in its snapshot, 1..255 bytes
  uint64_t bytes = 0;
  bool operator==(const ArrayInfo&) const = default;
};

struct SnapshotMeta {
  uint64_t generation = 0;  // position in the model's history on this disk; given by the store
  uint64_t term = 0;        // version, see decisions 2
  uint64_t counter = 0;
  std::string label;       // "" or unique in its model
  int64_t wall_nanos = 0;  // for people
  std::string model_name;
  std::string
      state;  // opaque to the store: spec, settings, counters, dedup table, ...; at most kStateBytesMax
  std::vector<ArrayInfo> arrays;
  uint64_t DataBytes() const {
    uint64_t sum = 0;
    for (const ArrayInfo& array : arrays) sum += array.bytes;
    return sum;
  }
};

inline constexpr uint64_t kStateBytesMax = 64ull << 20;
inline constexpr size_t kArraysMax = 1024;
inline constexpr size_t kLabelBytesMax = 255;

// One array to write: host memory that does not change during the call, or a function that copies out a part
// of it (device memory). `read` is asked for consecutive parts of at most 4 MiB.
struct ArrayView {
  std::string name;
  uint64_t bytes = 0;
  const std::byte* data = nullptr;
  std::function<absl::Status(uint64_t offset, std::span<std::byte> to)> read;
};

struct WriteOptions {
  kernels::HostAllocator* allocator = nullptr;  // of two 4 MiB buffers; default: the C library
  std::function<bool()> cancelled;  // asked before every block; true ends the write with CANCELLED
};

struct Written {
  SnapshotMeta meta;        // as stored, `state` left out
  uint64_t file_bytes = 0;  // on disk
  bool direct_io = false;   // false: through the page cache, because the file system refuses direct I/O
};

// Where array `array` of the snapshot goes: `array.bytes` bytes that the caller owns, or nullptr when there
// is no memory. Called once per array with bytes > 0, in order, before anything is read. When a damaged
// generation was given up it is called again for the one before: a new meta.generation means that earlier
// answers are not needed any more.
using ArrayAllocator = std::function<std::byte*(const SnapshotMeta& meta, const ArrayInfo& array)>;

// What loading had to step over. Anything in here deserves a loud log line and a metric.
struct LoadReport {
  struct Damage {
    uint64_t generation = 0;
    std::string what;
  };
  std::vector<Damage> damaged;  // newest first
};

}  // namespace stepback
