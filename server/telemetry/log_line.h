// One log event as one line of text or JSON, without the end of line. Pure; thread: any.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "server/telemetry/log.h"

namespace stepback {

struct LogEvent {
  int64_t wall_nanos = 0;
  LogLevel level = LogLevel::kInfo;
  std::string_view name;
  std::span<const LogField> fields;
  uint64_t suppressed = 0;  // lines of this event left out since its last one
};

inline constexpr size_t kLogValueBytesMax = 1024;

std::string FormatLogLine(LogFormat format, const LogEvent& event);

}  // namespace stepback
