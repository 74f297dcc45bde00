// How fast a disk takes what a log writes: 8 MiB past the page cache and an fdatasync, again and again.
// Decides which push rates a model with durability PUSH may declare (decisions 29).
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "server/base/clock.h"
#include "server/store/file_system.h"

namespace stepback {

struct DiskBandwidth {
  double bytes_per_second = 0;
  uint64_t bytes = 0;      // written to find out
  bool direct_io = false;  // false: through the page cache, because the file system refuses direct I/O
};

// Writes up to 256 MiB, for about half a second at most and at least 16 MiB, into a file of `directory` that
// is gone afterwards. RESOURCE_EXHAUSTED: no room, or no memory.
absl::StatusOr<DiskBandwidth> MeasureDiskBandwidth(FileSystem* fs, const std::string& directory,
                                                   const Clock* clock);

// A disk is asked for at most this share of what it was measured to take: snapshots want the rest.
inline constexpr double kDiskShareOfPushes = 0.6;

}  // namespace stepback
