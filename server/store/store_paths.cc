#include "server/store/store_paths.h"

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace stepback {
namespace {

constexpr std::string_view kManifestPrefix = "MANIFEST-";
constexpr std::string_view kSnapshotPrefix = "snap-";
constexpr std::string_view kTermPrefix = "TERM-";
constexpr std::string_view kLogPrefix = "wal-";
constexpr std::string_view kLogSuffix = ".log";
constexpr std::string_view kEventPrefix = "events-";

bool StaysAsItIs(char c, bool first) {
  return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '-' || (c == '.' && !first);
}

std::string Numbered(std::string_view prefix, uint64_t number) {
  return absl::StrFormat("%s%06u", absl::string_view(prefix.data(), prefix.size()), number);
}

// Only the form that Numbered makes: "snap-7" or "snap-+000007" is a stranger.
std::optional<uint64_t> ParseNumbered(std::string_view prefix, std::string_view name) {
  if (name.substr(0, prefix.size()) != prefix) return std::nullopt;
  const std::string_view digits = name.substr(prefix.size());
  uint64_t number = 0;
  if (!absl::SimpleAtoi(absl::string_view(digits.data(), digits.size()), &number)) return std::nullopt;
  if (Numbered(prefix, number) != name) return std::nullopt;
  return number;
}

std::optional<uint64_t> ParseLogName(std::string_view prefix, std::string_view name) {
  if (name.size() < kLogSuffix.size() || name.substr(name.size() - kLogSuffix.size()) != kLogSuffix) {
    return std::nullopt;
  }
  return ParseNumbered(prefix, name.substr(0, name.size() - kLogSuffix.size()));
}

}  // namespace

absl::StatusOr<std::string> EscapeModelName(std::string_view name) {
  if (name.empty()) return absl::InvalidArgumentError("model name is empty");
  std::string id;
  for (const char c : name) {
    if (StaysAsItIs(c, id.empty())) {
      id += c;
    } else {
      absl::StrAppendFormat(&id, "%%%02X", static_cast<unsigned char>(c));
    }
    if (id.size() > kModelIdBytesMax) {
      return absl::InvalidArgumentError(absl::StrCat("model name of ", name.size(), " bytes needs more than ",
                                                     kModelIdBytesMax, " bytes as a directory name"));
    }
  }
  return id;
}

std::optional<std::string> UnescapeModelId(std::string_view id) {
  std::string name;
  for (size_t i = 0; i < id.size(); ++i) {
    if (id[i] != '%') {
      name += id[i];
    } else if (i + 2 < id.size() && absl::ascii_isxdigit(id[i + 1]) && absl::ascii_isxdigit(id[i + 2])) {
      name += absl::HexStringToBytes(absl::string_view(id.data() + i + 1, 2));
      i += 2;
    } else {
      return std::nullopt;
    }
  }
  const absl::StatusOr<std::string> again = EscapeModelName(name);
  if (!again.ok() || *again != id) return std::nullopt;
  return name;
}

std::string JoinPath(std::string_view directory, std::string_view name) {
  return std::string(directory).append("/").append(name);
}
std::string ModelsDirectory(std::string_view data_dir) { return JoinPath(data_dir, "models"); }

std::string ManifestName(uint64_t generation) { return Numbered(kManifestPrefix, generation); }
std::string SnapshotName(uint64_t generation) { return Numbered(kSnapshotPrefix, generation); }
std::string TermName(uint64_t term) { return Numbered(kTermPrefix, term); }
std::string BlockFileName(uint64_t index) { return Numbered("block-", index) + ".bin"; }

std::string LogSegmentName(uint64_t number) { return Numbered(kLogPrefix, number) + std::string(kLogSuffix); }
std::string EventFileName(uint64_t number) { return Numbered(kEventPrefix, number) + std::string(kLogSuffix); }

std::optional<uint64_t> ParseManifestName(std::string_view name) {
  return ParseNumbered(kManifestPrefix, name);
}
std::optional<uint64_t> ParseSnapshotName(std::string_view name) {
  return ParseNumbered(kSnapshotPrefix, name);
}
std::optional<uint64_t> ParseTermName(std::string_view name) { return ParseNumbered(kTermPrefix, name); }
std::optional<uint64_t> ParseLogSegmentName(std::string_view name) { return ParseLogName(kLogPrefix, name); }
std::optional<uint64_t> ParseEventFileName(std::string_view name) { return ParseLogName(kEventPrefix, name); }

}  // namespace stepback
