#include "server/config/value_text.h"

#include <fmt/format.h>

#include <charconv>
#include <cmath>
#include <optional>
#include <string_view>

#include "absl/time/time.h"
#include "server/base/status_macros.h"

namespace stepback {
namespace {

struct Unit {
  std::string_view name;
  uint64_t bytes;
};
// Binary units first: FormatBytes uses them only.
constexpr Unit kUnits[] = {
    {"TiB", 1ull << 40},   {"GiB", 1 << 30},  {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"TB", 1'000'000'000'000},
    {"GB", 1'000'000'000}, {"MB", 1'000'000}, {"kB", 1'000},    {"KB", 1'000},    {"B", 1}};
constexpr size_t kBinaryUnits = 4;

template <typename T>
std::optional<T> ParseNumber(std::string_view text) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || text.empty()) return std::nullopt;
  return value;
}

absl::Status BadBytes(const std::string& text) {
  return absl::InvalidArgumentError(
      fmt::format("'{}' is not a size; write e.g. 8MiB, 64KiB, 1GiB or 4096", text));
}

// 1.5GiB and the like: exact, as 2^53 bytes are more than any size here.
absl::StatusOr<uint64_t> Scale(const std::string& text, std::string_view number, uint64_t unit_bytes) {
  const std::optional<double> value = ParseNumber<double>(number);
  if (!value || !(*value >= 0)) return BadBytes(text);
  const double bytes = *value * static_cast<double>(unit_bytes);
  if (bytes > 0x1p53) return absl::InvalidArgumentError(fmt::format("'{}' is more than 8PiB", text));
  if (bytes != std::floor(bytes))
    return absl::InvalidArgumentError(fmt::format("'{}' is no whole number of bytes", text));
  return static_cast<uint64_t>(bytes);
}

}  // namespace

absl::StatusOr<uint64_t> ParseBytes(const std::string& text) {
  for (const Unit& unit : kUnits) {
    if (!std::string_view(text).ends_with(unit.name)) continue;
    return Scale(text, std::string_view(text).substr(0, text.size() - unit.name.size()), unit.bytes);
  }
  return Scale(text, text, 1);
}

std::string FormatBytes(uint64_t bytes) {
  for (size_t i = 0; i < kBinaryUnits; ++i) {
    if (bytes > 0 && bytes % kUnits[i].bytes == 0)
      return fmt::format("{}{}", bytes / kUnits[i].bytes, kUnits[i].name);
  }
  return fmt::format("{}", bytes);
}

absl::StatusOr<Duration> ParseDuration(const std::string& text) {
  absl::Duration value;
  if (!absl::ParseDuration(text, &value)) {
    return absl::InvalidArgumentError(
        fmt::format("'{}' is not a duration; write e.g. 30s, 500ms or 1h30m", text));
  }
  if (value < absl::ZeroDuration() || value > absl::Hours(24 * 365)) {
    return absl::InvalidArgumentError(fmt::format("'{}' is not in 0s..8760h", text));
  }
  return absl::ToChronoNanoseconds(value);
}

std::string FormatDuration(Duration duration) {
  return duration == Duration::zero() ? "0s" : absl::FormatDuration(absl::FromChrono(duration));
}

absl::StatusOr<uint64_t> ParseCount(const std::string& text) {
  const std::optional<uint64_t> value = ParseNumber<uint64_t>(text);
  if (!value) return absl::InvalidArgumentError(fmt::format("'{}' is not a whole number", text));
  return *value;
}

absl::StatusOr<bool> ParseBool(const std::string& text) {
  if (text == "true") return true;
  if (text == "false") return false;
  return absl::InvalidArgumentError(fmt::format("'{}' is not true or false", text));
}

}  // namespace stepback
