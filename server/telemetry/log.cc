#include "server/telemetry/log.h"

#include <fmt/ranges.h>
#include <spdlog/sinks/rotating_file_sink.h>
#include <spdlog/sinks/stdout_sinks.h>

#include <memory>
#include <span>

#include "server/base/status_macros.h"
#include "server/telemetry/logger.h"

namespace stepback {
namespace {

constexpr size_t kFileBytesMax = 64 << 20;
constexpr size_t kFilesKept = 4;

spdlog::sink_ptr StandardError() { return std::make_shared<spdlog::sinks::stderr_sink_mt>(); }

// Never destroyed: threads may log while the program ends.
Logger& Process() {
  static auto* logger = new Logger(Clock::Real(), StandardError(), LogFormat::kText, LogLevel::kInfo);
  return *logger;
}

absl::StatusOr<spdlog::sink_ptr> OpenSink(const std::string& file) {
  if (file.empty()) return StandardError();
  try {
    return std::make_shared<spdlog::sinks::rotating_file_sink_mt>(file, kFileBytesMax, kFilesKept);
  } catch (const spdlog::spdlog_ex& error) {
    return absl::InvalidArgumentError(fmt::format("log file '{}': {}", file, error.what()));
  }
}

}  // namespace

absl::StatusOr<LogLevel> ParseLogLevel(std::string_view name) {
  for (size_t i = 0; i < std::size(kLogLevelNames); ++i) {
    if (kLogLevelNames[i] == name) return static_cast<LogLevel>(i);
  }
  return absl::InvalidArgumentError(
      fmt::format("log level '{}': not one of {}", name, fmt::join(kLogLevelNames, ", ")));
}

absl::Status ConfigureLog(const LogOptions& options) {
  ASSIGN_OR_RETURN(spdlog::sink_ptr sink, OpenSink(options.file));
  Process().SetOutput(std::move(sink), options.format);
  Process().SetLevel(options.level);
  return absl::OkStatus();
}

void Log(LogLevel level, std::string_view event, std::initializer_list<LogField> fields) {
  Process().Write(level, event, {fields.begin(), fields.size()});
}

void LogExternal(LogLevel level, std::string_view source, std::string_view message) {
  Log(level, fmt::format("{}_log", source), {{"message", message}});
}

void SetLogLevel(LogLevel level) { Process().SetLevel(level); }
LogLevel GetLogLevel() { return Process().level(); }
void FlushLog() { Process().Flush(); }
std::array<uint64_t, 5> LogMessageCounts() { return Process().Counts(); }

}  // namespace stepback
