#include "server/telemetry/logger.h"

#include <utility>

#include "server/telemetry/log_line.h"

namespace stepback {
namespace {

// The line is complete before it reaches spdlog, which serialises, writes and rotates.
std::shared_ptr<spdlog::logger> MakeWriter(spdlog::sink_ptr sink) {
  auto writer = std::make_shared<spdlog::logger>("stepback", std::move(sink));
  writer->set_pattern("%v");
  writer->set_level(spdlog::level::trace);
  writer->flush_on(spdlog::level::trace);  // the last lines before a crash are the ones that matter
  return writer;
}

}  // namespace

Logger::Logger(const Clock* clock, spdlog::sink_ptr sink, LogFormat format, LogLevel level)
    : clock_(clock), level_(level), output_{MakeWriter(std::move(sink)), format} {}

Logger::Output Logger::CurrentOutput() {
  MutexLock lock(&mu_);
  return output_;
}

void Logger::Write(LogLevel level, std::string_view event, std::span<const LogField> fields) {
  if (level < this->level() || level >= LogLevel::kOff) return;
  counts_[static_cast<size_t>(level)].Add();
  const std::optional<uint64_t> suppressed = budget_.Take(event, clock_->Now());
  if (!suppressed) return;
  const Output output = CurrentOutput();
  const LogEvent line{clock_->WallNanos(), level, event, fields, *suppressed};
  output.writer->log(spdlog::level::info, FormatLogLine(output.format, line));
}

void Logger::SetOutput(spdlog::sink_ptr sink, LogFormat format) {
  Output output{MakeWriter(std::move(sink)), format};
  MutexLock lock(&mu_);
  std::swap(output_, output);
}

void Logger::Flush() { CurrentOutput().writer->flush(); }

std::array<uint64_t, 5> Logger::Counts() const {
  std::array<uint64_t, 5> counts{};
  for (size_t i = 0; i < counts.size(); ++i) counts[i] = counts_[i].Value();
  return counts;
}

}  // namespace stepback
