#include "server/telemetry/log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <spdlog/sinks/ostream_sink.h>

#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <thread>

#include "server/telemetry/log_line.h"
#include "server/telemetry/logger.h"
#include "server/telemetry/metrics.h"
#include "tests/fakes/clock.h"
#include "tests/unit/telemetry_scrape.h"

namespace stepback {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::vector<std::string> Lines(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

class LoggerTest : public ::testing::Test {
 protected:
  spdlog::sink_ptr Sink() { return std::make_shared<spdlog::sinks::ostream_sink_mt>(out_); }
  void Write(LogLevel level, std::string_view event, std::initializer_list<LogField> fields = {}) {
    logger_.Write(level, event, {fields.begin(), fields.size()});
  }

  std::ostringstream out_;
  FakeClock clock_{std::chrono::milliseconds(123)};
  Logger logger_{&clock_, Sink(), LogFormat::kText, LogLevel::kInfo};
};

TEST_F(LoggerTest, TextIsOneLineOfKeysAndValues) {
  Write(LogLevel::kInfo, "round_closed",
        {{"model", "lm"}, {"version", 7u}, {"delta", -3}, {"alpha", 0.5}, {"durable", true}});
  EXPECT_EQ(
      out_.str(),
      "2026-01-01T00:00:00.123Z INFO round_closed model=lm version=7 delta=-3 alpha=0.5 durable=true\n");
}

TEST_F(LoggerTest, JsonKeepsTypesAndOrder) {
  logger_.SetOutput(Sink(), LogFormat::kJson);
  Write(LogLevel::kWarn, "push_rejected", {{"model", "lm"}, {"bytes", uint64_t{1} << 63}, {"ok", false}});
  EXPECT_EQ(out_.str(), R"({"time":"2026-01-01T00:00:00.123Z","level":"warn","event":"push_rejected",)"
                        R"("model":"lm","bytes":9223372036854775808,"ok":false})"
                        "\n");
}

TEST_F(LoggerTest, AnEventIsOneLineWhateverAPeerPutsIntoAName) {
  const std::string hostile = "a b\n2026 ERROR forged model=\"x\" \xff";
  Write(LogLevel::kInfo, "opened", {{"client", hostile}});
  logger_.SetOutput(Sink(), LogFormat::kJson);
  Write(LogLevel::kInfo, "opened", {{"client", hostile}});
  const auto lines = Lines(out_.str());
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_THAT(lines[0], HasSubstr(R"(client="a b\n2026 ERROR forged model=\"x\" )"));
  EXPECT_THAT(nlohmann::json::parse(lines[1])["client"].get<std::string>(), HasSubstr("a b\n2026"));
}

TEST_F(LoggerTest, LongValuesAreCutAndSaySo) {
  Write(LogLevel::kInfo, "x", {{"value", std::string(5000, 'v')}});
  EXPECT_THAT(out_.str(), HasSubstr(std::string(1024, 'v') + "...(5000 bytes)\n"));
  EXPECT_LT(out_.str().size(), 1200u);
}

TEST_F(LoggerTest, LevelsBelowTheSettingAreNeitherWrittenNorCounted) {
  Write(LogLevel::kDebug, "quiet");
  EXPECT_EQ(out_.str(), "");
  EXPECT_THAT(logger_.Counts(), ElementsAre(0, 0, 0, 0, 0));
  logger_.SetLevel(LogLevel::kDebug);
  Write(LogLevel::kDebug, "heard");
  Write(LogLevel::kError, "heard");
  EXPECT_EQ(Lines(out_.str()).size(), 2u);
  EXPECT_THAT(logger_.Counts(), ElementsAre(0, 1, 0, 0, 1));
  logger_.SetLevel(LogLevel::kOff);
  Write(LogLevel::kError, "silenced");
  EXPECT_EQ(Lines(out_.str()).size(), 2u);
}

TEST_F(LoggerTest, AFloodOfOneEventIsThinnedAndSaysHowMuchIsMissing) {
  for (int i = 0; i < 1000; ++i) Write(LogLevel::kWarn, "flood");
  EXPECT_EQ(Lines(out_.str()).size(), 100u);
  Write(LogLevel::kInfo, "other_event");
  EXPECT_EQ(Lines(out_.str()).size(), 101u);
  clock_.Advance(std::chrono::milliseconds(100));  // one token
  Write(LogLevel::kWarn, "flood");
  Write(LogLevel::kWarn, "flood");
  const auto lines = Lines(out_.str());
  ASSERT_EQ(lines.size(), 102u);
  EXPECT_THAT(lines.back(), HasSubstr("flood suppressed=900"));
  EXPECT_EQ(logger_.Counts()[static_cast<size_t>(LogLevel::kWarn)], 1002u);
}

TEST_F(LoggerTest, LinesOfManyThreadsDoNotMix) {
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      const std::string event = "event_" + std::to_string(t);
      for (int i = 0; i < 90; ++i) Write(LogLevel::kInfo, event, {{"i", i}});
    });
  }
  for (auto& thread : threads) thread.join();
  const auto lines = Lines(out_.str());
  EXPECT_EQ(lines.size(), 360u);
  EXPECT_THAT(lines, ::testing::Each(
                         ::testing::ContainsRegex("^2026-01-01T00:00:00.123Z INFO event_[0-3] i=[0-9]+$")));
}

TEST(LogBudget, NamesAreBounded) {
  LogBudget budget;
  const TimePoint now{};
  for (size_t i = 0; i < LogBudget::kNamesMax; ++i) budget.Take("name" + std::to_string(i), now);
  int written = 0;
  for (int i = 0; i < 500; ++i) written += budget.Take("late" + std::to_string(i), now).has_value();
  EXPECT_EQ(written, 100);
}

TEST(LogBudget, RefillsAtItsRateUpToTheBurst) {
  LogBudget budget;
  for (int i = 0; i < 100; ++i) EXPECT_TRUE(budget.Take("e", TimePoint{}));
  const TimePoint later{std::chrono::hours(1)};
  int written = 0;
  for (int i = 0; i < 500; ++i) written += budget.Take("e", later).has_value();
  EXPECT_EQ(written, 100);
}

TEST(LogLevelNames, ParseBackAndRefuseOthersByName) {
  for (const std::string_view name : kLogLevelNames) {
    EXPECT_EQ(kLogLevelNames[static_cast<size_t>(*ParseLogLevel(name))], name);
  }
  EXPECT_EQ(ParseLogLevel("loud").status().message(),
            "log level 'loud': not one of trace, debug, info, warn, error, off");
}

class ProcessLogTest : public ::testing::Test {
 protected:
  void TearDown() override { ASSERT_TRUE(ConfigureLog({}).ok()); }
  static std::string Read(const std::string& path) {
    std::ifstream file(path);
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  }
};

TEST_F(ProcessLogTest, GoesToTheFileAndLevelNamedAndIsCountedOnMetrics) {
  const std::string path = ::testing::TempDir() + "/process_log_" + std::to_string(::getpid()) + ".jsonl";
  telemetry::Metrics metrics;
  const std::string series = R"(stepback_log_messages_total{level="debug"})";
  const double before = telemetry::ParseScrape(metrics.Scrape()).at(series);
  ASSERT_TRUE(ConfigureLog({LogLevel::kDebug, LogFormat::kJson, path}).ok());
  Log(LogLevel::kDebug, "started", {{"port", 7400}});
  LogExternal(LogLevel::kError, "grpc", "handshake failed");
  SetLogLevel(LogLevel::kError);
  Log(LogLevel::kDebug, "unheard");
  FlushLog();
  const auto lines = Lines(Read(path));
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_EQ(nlohmann::json::parse(lines[0])["port"], 7400);
  EXPECT_EQ(nlohmann::json::parse(lines[1])["event"], "grpc_log");
  EXPECT_EQ(nlohmann::json::parse(lines[1])["message"], "handshake failed");
  EXPECT_EQ(telemetry::ParseScrape(metrics.Scrape()).at(series), before + 1);
  std::remove(path.c_str());
}

TEST_F(ProcessLogTest, AFileThatCannotBeOpenedIsNamed) {
  const absl::Status status = ConfigureLog({LogLevel::kInfo, LogFormat::kText, "/proc/no/such/log"});
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("log file '/proc/no/such/log'"));
}

}  // namespace
}  // namespace stepback
