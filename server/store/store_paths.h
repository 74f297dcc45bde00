// Names on disk: how a model's name becomes a directory, and how generations and terms become file names.
// Pure.
//
//   <data_dir>/LOCK
//   <data_dir>/models/<id>/...            id = EscapeModelName(name)
//   <data_dir>/models/.removed-<k>-<id>   a model on its way out
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace stepback {

inline constexpr size_t kModelIdBytesMax = 200;  // file systems allow 255 per name; room for prefixes

// Letters, digits, '_', '-' and inner '.' stay; every other byte becomes %XX. Reversible, and never a path:
// no '/', no leading '.'. INVALID_ARGUMENT when empty or longer than kModelIdBytesMax after escaping.
absl::StatusOr<std::string> EscapeModelName(std::string_view name);
// Nothing when `id` is not what EscapeModelName makes of some name.
std::optional<std::string> UnescapeModelId(std::string_view id);

std::string JoinPath(std::string_view directory, std::string_view name);
std::string ModelsDirectory(std::string_view data_dir);

std::string ManifestName(uint64_t generation);  // MANIFEST-000012
std::string SnapshotName(uint64_t generation);  // snap-000012
std::string TermName(uint64_t term);            // TERM-000003
std::string BlockFileName(uint64_t index);      // block-000000.bin
std::string LogSegmentName(uint64_t number);    // wal-000001.log
std::string EventFileName(uint64_t number);     // events-000001.log
std::optional<uint64_t> ParseManifestName(std::string_view name);
std::optional<uint64_t> ParseSnapshotName(std::string_view name);
std::optional<uint64_t> ParseTermName(std::string_view name);
std::optional<uint64_t> ParseLogSegmentName(std::string_view name);
std::optional<uint64_t> ParseEventFileName(std::string_view name);

inline constexpr char kLockName[] = "LOCK";
inline constexpr char kTemporarySuffix[] = ".tmp";  // files being written; garbage at the next start
inline constexpr char kDamagedSuffix[] = ".damaged";  // a log segment put aside by a recovery; kept for people
inline constexpr char kRemovedPrefix[] = ".removed-";

}  // namespace stepback
