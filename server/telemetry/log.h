// Structured logging: one event per line, text or JSON, to standard error or a file.
//
// An event has a name in snake_case (a literal) and fields; the line adds time and level. Each event name has
// a budget (a burst, then a rate); what is over it is counted and the next line that gets through says
// suppressed=N. Long values are cut at 1 KiB. Never log tensor values, tokens or keys: names, counts and
// versions only. Thread: any. The level check is one relaxed load.
//
//   Log(LogLevel::kInfo, "round_closed", {{"model", "lm"}, {"version", 7}, {"contributors", 2}});
//   -> 2026-05-04T12:00:00.123Z INFO round_closed model=lm version=7 contributors=2
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <type_traits>
#include <variant>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace stepback {

enum class LogLevel { kTrace, kDebug, kInfo, kWarn, kError, kOff };
inline constexpr std::string_view kLogLevelNames[] = {"trace", "debug", "info", "warn", "error", "off"};
absl::StatusOr<LogLevel> ParseLogLevel(std::string_view name);

enum class LogFormat { kText, kJson };

class LogValue {
 public:
  LogValue(const char* text) : value_(std::string_view(text)) {}
  LogValue(std::string_view text) : value_(text) {}
  LogValue(const std::string& text) : value_(std::string_view(text)) {}
  LogValue(bool flag) : value_(flag) {}
  LogValue(double number) : value_(number) {}
  template <typename Integer, typename = std::enable_if_t<std::is_integral_v<Integer>>>
  LogValue(Integer number) : value_(Widen(number)) {}

  using Variant = std::variant<std::string_view, bool, double, int64_t, uint64_t>;
  const Variant& variant() const { return value_; }

 private:
  template <typename Integer>
  static Variant Widen(Integer number) {
    if constexpr (std::is_signed_v<Integer>) return static_cast<int64_t>(number);
    return static_cast<uint64_t>(number);
  }
  Variant value_;
};

struct LogField {
  std::string_view key;
  LogValue value;
};

struct LogOptions {
  LogLevel level = LogLevel::kInfo;
  LogFormat format = LogFormat::kText;
  std::string file;  // empty: standard error; else rotated at 64 MiB, four files kept
};

// Before it is called, events of level info and above go to standard error as text. May be called again.
absl::Status ConfigureLog(const LogOptions& options);

void Log(LogLevel level, std::string_view event, std::initializer_list<LogField> fields = {});

// For text of another library, e.g. gRPC's own log: event "<source>_log" with the field `message`.
void LogExternal(LogLevel level, std::string_view source, std::string_view message);

void SetLogLevel(LogLevel level);
LogLevel GetLogLevel();
void FlushLog();

// Lines written and suppressed so far by level (trace to error): stepback_log_messages_total.
std::array<uint64_t, 5> LogMessageCounts();

}  // namespace stepback
