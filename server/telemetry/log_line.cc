#include "server/telemetry/log_line.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <nlohmann/json.hpp>

#include "absl/time/time.h"

namespace stepback {
namespace {

using Json = nlohmann::ordered_json;

std::string TimeText(int64_t wall_nanos) {
  return absl::FormatTime("%Y-%m-%dT%H:%M:%E3SZ", absl::FromUnixNanos(wall_nanos), absl::UTCTimeZone());
}

std::string Bounded(std::string_view text) {
  if (text.size() <= kLogValueBytesMax) return std::string(text);
  return fmt::format("{}...({} bytes)", text.substr(0, kLogValueBytesMax), text.size());
}

// Bytes that are not UTF-8 (names come from peers, cuts fall anywhere) become the replacement character.
std::string Dump(const Json& value) { return value.dump(-1, ' ', false, Json::error_handler_t::replace); }

Json ToJson(const LogValue& value) {
  return std::visit(
      [](const auto& held) -> Json {
        if constexpr (std::is_same_v<std::decay_t<decltype(held)>, std::string_view>) {
          return Bounded(held);
        } else {
          return held;
        }
      },
      value.variant());
}

bool IsPlain(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](unsigned char c) {
    return c > ' ' && c < 0x7f && c != '"' && c != '=' && c != '\\';
  });
}

// key=value as far as that can be read back; quoted and escaped as in JSON otherwise.
std::string TextValue(const LogValue& value) {
  if (const auto* text = std::get_if<std::string_view>(&value.variant()); text != nullptr) {
    return IsPlain(*text) ? Bounded(*text) : Dump(ToJson(value));
  }
  if (const auto* number = std::get_if<double>(&value.variant()); number != nullptr)
    return fmt::format("{}", *number);
  return Dump(ToJson(value));
}

std::string TextLine(const LogEvent& event) {
  std::string level(kLogLevelNames[static_cast<size_t>(event.level)]);
  for (char& c : level) c = static_cast<char>(c - 'a' + 'A');
  std::string line = fmt::format("{} {} {}", TimeText(event.wall_nanos), level, event.name);
  for (const LogField& field : event.fields) line += fmt::format(" {}={}", field.key, TextValue(field.value));
  if (event.suppressed > 0) line += fmt::format(" suppressed={}", event.suppressed);
  return line;
}

std::string JsonLine(const LogEvent& event) {
  Json line = {{"time", TimeText(event.wall_nanos)},
               {"level", kLogLevelNames[static_cast<size_t>(event.level)]},
               {"event", event.name}};
  for (const LogField& field : event.fields) line[std::string(field.key)] = ToJson(field.value);
  if (event.suppressed > 0) line["suppressed"] = event.suppressed;
  return Dump(line);
}

}  // namespace

std::string FormatLogLine(LogFormat format, const LogEvent& event) {
  return format == LogFormat::kJson ? JsonLine(event) : TextLine(event);
}

}  // namespace stepback
