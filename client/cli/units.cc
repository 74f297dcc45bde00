#include "client/cli/units.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <cmath>
#include <cstdlib>
#include <ctime>
#include <initializer_list>
#include <string_view>
#include <utility>

namespace stepback::cli {
namespace {

using Unit = std::pair<std::string_view, double>;

// A non-negative number followed by one of the units.
absl::StatusOr<double> ParseWithUnit(const std::string& text, std::initializer_list<Unit> units,
                                     const char* what) {
  char* end = nullptr;
  const double number = std::strtod(text.c_str(), &end);
  if (end != text.c_str() && std::isfinite(number) && number >= 0) {
    for (const auto& [suffix, factor] : units) {
      if (suffix == end) return number * factor;
    }
  }
  return absl::InvalidArgumentError(fmt::format("'{}' is not {}", text, what));
}

}  // namespace

absl::StatusOr<uint64_t> ParseCount(const std::string& text) {
  const auto number =
      ParseWithUnit(text, {{"", 1}, {"k", 1e3}, {"K", 1e3}, {"M", 1e6}, {"G", 1e9}, {"B", 1e9}},
                    "a count such as 5000, 10k or 100M");
  if (!number.ok()) return number.status();
  if (*number > 1e15) return absl::InvalidArgumentError(fmt::format("'{}' is more than 1e15", text));
  return static_cast<uint64_t>(std::llround(*number));
}

absl::StatusOr<double> ParseSeconds(const std::string& text) {
  return ParseWithUnit(text,
                       {{"", 1}, {"s", 1}, {"us", 1e-6}, {"ms", 1e-3}, {"m", 60}, {"min", 60}, {"h", 3600}},
                       "a duration such as 250ms, 10s, 5m or 1h");
}

std::string ShowBytes(uint64_t bytes) {
  constexpr const char* kUnits[] = {"B", "kB", "MB", "GB", "TB"};
  auto value = static_cast<double>(bytes);
  size_t unit = 0;
  for (; value >= 999.995 && unit + 1 < std::size(kUnits); ++unit) value /= 1000;
  return unit == 0 ? fmt::format("{} B", bytes) : fmt::format("{:.2f} {}", value, kUnits[unit]);
}

std::string ShowCount(uint64_t count) {
  std::string digits = std::to_string(count);
  for (int at = static_cast<int>(digits.size()) - 3; at > 0; at -= 3) digits.insert(at, ",");
  return digits;
}

std::string ShowSeconds(double seconds) {
  if (seconds < 1e-3) return fmt::format("{:.1f} us", seconds * 1e6);
  if (seconds < 1) return fmt::format("{:.1f} ms", seconds * 1e3);
  if (seconds < 120) return fmt::format("{:.2f} s", seconds);
  if (seconds < 7200) return fmt::format("{:.0f} min", seconds / 60);
  if (seconds < 2 * 86400) return fmt::format("{:.1f} h", seconds / 3600);
  return fmt::format("{:.1f} d", seconds / 86400);
}

std::string ShowNumber(double number) { return fmt::format("{:.6g}", number); }

std::string ShowAge(std::chrono::system_clock::time_point then, std::chrono::system_clock::time_point now) {
  if (then.time_since_epoch().count() == 0) return "-";
  const double seconds = std::chrono::duration<double>(now - then).count();
  return seconds < 1 ? "now" : ShowSeconds(seconds) + " ago";
}

std::string ShowTime(std::chrono::system_clock::time_point time) {
  const std::time_t seconds = std::chrono::system_clock::to_time_t(time);
  return fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(seconds));
}

}  // namespace stepback::cli
