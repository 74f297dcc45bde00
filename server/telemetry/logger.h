// What Log() writes through: level, budget, format and sink. The process has one (log.cc); tests make their
// own with a sink they can read. Thread: any; lines of one logger never mix.
#pragma once

#include <spdlog/logger.h>

#include <array>
#include <atomic>
#include <memory>
#include <span>
#include <string_view>

#include "server/base/clock.h"
#include "server/base/mutex.h"
#include "server/telemetry/counter.h"
#include "server/telemetry/log.h"
#include "server/telemetry/log_budget.h"

namespace stepback {

class Logger {
 public:
  Logger(const Clock* clock, spdlog::sink_ptr sink, LogFormat format, LogLevel level);

  void Write(LogLevel level, std::string_view event, std::span<const LogField> fields);
  void SetOutput(spdlog::sink_ptr sink, LogFormat format);
  void SetLevel(LogLevel level) { level_.store(level, std::memory_order_relaxed); }
  LogLevel level() const { return level_.load(std::memory_order_relaxed); }
  void Flush();
  std::array<uint64_t, 5> Counts() const;

 private:
  struct Output {
    std::shared_ptr<spdlog::logger> writer;
    LogFormat format;
  };
  Output CurrentOutput();

  const Clock* const clock_;
  std::atomic<LogLevel> level_;
  LogBudget budget_;
  std::array<telemetry::Counter, 5> counts_;
  Mutex mu_;
  Output output_ GUARDED_BY(mu_);
};

}  // namespace stepback
