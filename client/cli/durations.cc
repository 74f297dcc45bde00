#include "client/cli/durations.h"

#include <cmath>
#include <cstdlib>
#include <map>

#include "fmt/core.h"

namespace stepback::cli {
namespace {

absl::StatusOr<double> ParseScaled(const std::string& text, const std::map<std::string, double>& units,
                                   const char* expected) {
  char* end = nullptr;
  const double value = std::strtod(text.c_str(), &end);
  const auto unit = units.find(end);
  if (end == text.c_str() || unit == units.end() || !std::isfinite(value) || value < 0) {
    return absl::InvalidArgumentError(fmt::format("'{}': expected {}", text, expected));
  }
  return value * unit->second;
}

}  // namespace

absl::StatusOr<double> ParseSeconds(const std::string& text) {
  return ParseScaled(text, {{"", 1}, {"us", 1e-6}, {"ms", 1e-3}, {"s", 1}, {"m", 60}},
                     "a duration like 500ms, 10s or 2m");
}

absl::StatusOr<uint64_t> ParseCount(const std::string& text) {
  const absl::StatusOr<double> value = ParseScaled(
      text, {{"", 1}, {"K", 1e3}, {"M", 1e6}, {"G", 1e9}, {"Ki", 1024}, {"Mi", 1 << 20}, {"Gi", 1 << 30}},
      "a count like 100M or 64K");
  if (!value.ok()) return value.status();
  return static_cast<uint64_t>(std::llround(*value));
}

}  // namespace stepback::cli
