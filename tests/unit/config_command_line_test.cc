#include "server/config/command_line.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <sstream>
#include <vector>

#include "server/config/setting.h"

namespace stepback {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

class CommandLineTest : public ::testing::Test {
 protected:
  void TearDown() override { std::remove(file_.c_str()); }

  absl::StatusOr<Invocation> Parse(const std::vector<std::string>& arguments) {
    std::vector<const char*> argv = {"stepbackd"};
    for (const std::string& argument : arguments) argv.push_back(argument.c_str());
    return ParseCommandLine(static_cast<int>(argv.size()), argv.data(), environment_);
  }
  Config MustParse(const std::vector<std::string>& arguments) {
    auto invocation = Parse(arguments);
    EXPECT_TRUE(invocation.ok()) << invocation.status();
    return invocation.ok() ? invocation->config : Config{};
  }
  std::string Refusal(const std::vector<std::string>& arguments) {
    const auto invocation = Parse(arguments);
    EXPECT_EQ(invocation.status().code(), absl::StatusCode::kInvalidArgument);
    return std::string(invocation.status().message());
  }
  void WriteFile(const std::string& text) { std::ofstream(file_) << text; }

  Environment environment_;
  const std::string file_ = ::testing::TempDir() + "/command_line_" + std::to_string(getpid()) + ".yaml";
};

TEST_F(CommandLineTest, WithoutAnythingTheDefaultsServeOnLoopback) {
  const auto invocation = Parse({});
  ASSERT_TRUE(invocation.ok());
  EXPECT_EQ(invocation->action, Invocation::kServe);
  EXPECT_EQ(invocation->config.server.listen, "127.0.0.1:7400");
  EXPECT_EQ(invocation->config.server.http_listen, "127.0.0.1:7401");
}

TEST_F(CommandLineTest, AFlagBeatsTheEnvironmentWhichBeatsTheFileWhichBeatsTheDefault) {
  EXPECT_EQ(MustParse({}).limits.max_models, 1000u);
  WriteFile("limits:\n  max_models: 2\n");
  EXPECT_EQ(MustParse({"--config", file_}).limits.max_models, 2u);
  environment_["STEPBACK_LIMITS__MAX_MODELS"] = "3";
  EXPECT_EQ(MustParse({"--config", file_}).limits.max_models, 3u);
  EXPECT_EQ(MustParse({"--config", file_, "--max-models", "4"}).limits.max_models, 4u);
  EXPECT_EQ(MustParse({"--config", file_, "--max-models=4", "--max-models=5"}).limits.max_models, 5u);
}

TEST_F(CommandLineTest, ALayerThatDoesNotNameASettingLeavesItAlone) {
  WriteFile("snapshot:\n  keep: 7\nlog:\n  level: warn\n");
  environment_["STEPBACK_LOG__FORMAT"] = "json";
  const Config config = MustParse({"--config", file_, "--compute-threads", "2"});
  EXPECT_EQ(config.snapshot.keep, 7u);
  EXPECT_EQ(config.log.level, LogLevel::kWarn);
  EXPECT_EQ(config.log.format, LogFormat::kJson);
  EXPECT_EQ(config.compute.threads, 2u);
}

TEST_F(CommandLineTest, TheFileMayBeNamedByTheEnvironment) {
  WriteFile("limits:\n  max_models: 2\n");
  environment_["STEPBACK_CONFIG"] = file_;
  EXPECT_EQ(MustParse({}).limits.max_models, 2u);
  EXPECT_THAT(Refusal({"--config", "/no/such/file.yaml"}), StartsWith("/no/such/file.yaml: cannot be read"));
}

TEST_F(CommandLineTest, EverySettingIsReachedByItsFlagItsVariableAndItsKey) {
  // A value that differs from the default and is within every bound.
  const auto other_value = [](const Setting& setting) -> std::string {
    if (setting.value.is_switch) return "true";
    for (const char* text :
         {"127.0.0.1:9", "cuda:3", "some-text", "9s", "3MiB", "5", "warn", "json", "false", "salvage"}) {
      Config config;
      if (setting.value.parse(text, &config).ok() && setting.value.format(config) != setting.value.format({}))
        return text;
    }
    ADD_FAILURE() << "no other value for " << setting.key;
    return "";
  };
  for (const Setting& setting : Settings()) {
    const std::string text = other_value(setting);
    EXPECT_EQ(setting.value.format(MustParse({setting.flag + "=" + text})), text) << setting.flag;
    environment_ = {{setting.EnvName(), text}};
    EXPECT_EQ(setting.value.format(MustParse({})), text) << setting.EnvName();
    environment_.clear();
    WriteFile(setting.section() + ":\n  " + setting.name() + ": \"" + text + "\"\n");
    EXPECT_EQ(setting.value.format(MustParse({"--config", file_})), text) << setting.key;
  }
}

TEST_F(CommandLineTest, SettingsDoNotShareFlagsOrFields) {
  std::set<std::string> keys, flags;
  for (const Setting& setting : Settings()) {
    EXPECT_TRUE(keys.insert(setting.key).second) << setting.key;
    EXPECT_TRUE(flags.insert(setting.flag).second) << setting.flag;
  }
}

TEST_F(CommandLineTest, SwitchesNeedNoValueAndTakeOne) {
  EXPECT_TRUE(MustParse({"--insecure"}).server.insecure);
  EXPECT_FALSE(MustParse({"--insecure=false"}).server.insecure);
  EXPECT_THAT(Refusal({"--insecure=maybe"}), StartsWith("--insecure: 'maybe'"));
}

TEST_F(CommandLineTest, BoundsAreCheckedWhereverTheValueComesFrom) {
  EXPECT_EQ(Refusal({"--max-models", "0"}), "--max-models: '0' is not in 1..100000");
  EXPECT_EQ(Refusal({"--max-models", "100001"}), "--max-models: '100001' is not in 1..100000");
  EXPECT_EQ(Refusal({"--max-message-bytes", "1MiB"}), "--max-message-bytes: '1MiB' is not in 2MiB..64MiB");
  EXPECT_EQ(Refusal({"--session-lease", "999ms"}), "--session-lease: '999ms' is not in 1s..24h");
  EXPECT_EQ(Refusal({"--compute-threads", "4294967297"}),
            "--compute-threads: '4294967297' is not in 0..1024");
  environment_["STEPBACK_SNAPSHOT__KEEP"] = "none";
  EXPECT_EQ(Refusal({}), "STEPBACK_SNAPSHOT__KEEP: 'none' is not a whole number");
  environment_.clear();
  WriteFile("# one\nlog:\n  format: xml\n");
  EXPECT_EQ(Refusal({"--config", file_}), file_ + ":3: log.format: 'xml' is not one of text, json");
}

TEST_F(CommandLineTest, FormsAreChecked) {
  EXPECT_THAT(Refusal({"--listen", "7400"}), StartsWith("--listen: address '7400'"));
  EXPECT_THAT(Refusal({"--http-listen", "unix:/x"}), HasSubstr("unix socket"));
  EXPECT_THAT(Refusal({"--device", "gpu"}), HasSubstr("'gpu' is not cpu, cuda, cuda:N or auto"));
  EXPECT_EQ(MustParse({"--device", "cuda:7"}).compute.device, "cuda:7");
  EXPECT_EQ(MustParse({"--http-listen", ""}).server.http_listen, "");
}

TEST_F(CommandLineTest, AnUnknownFlagIsRefusedWithTheNearestOne) {
  EXPECT_EQ(Refusal({"--max-modles", "3"}),
            "unknown argument '--max-modles' (did you mean '--max-models'?); see stepbackd --help");
  EXPECT_THAT(Refusal({"--data_dir=/x"}), HasSubstr("did you mean '--data-dir'?"));
  EXPECT_EQ(Refusal({"stray"}), "unknown argument 'stray'; see stepbackd --help");
  EXPECT_THAT(Refusal({"--listen"}), HasSubstr("--listen"));
}

TEST_F(CommandLineTest, AnUnknownVariableOfOurFormIsRefusedAndOthersAreLeftAlone) {
  environment_ = {{"STEPBACK_SERVICE_HOST", "10.0.0.1"},
                  {"STEPBACK_PORT_7400_TCP", "tcp://10.0.0.1:7400"},
                  {"HOME", "/"}};
  EXPECT_EQ(MustParse({}).server.listen, "127.0.0.1:7400");
  environment_["STEPBACK_LIMITS__MAX_MODLES"] = "3";
  EXPECT_EQ(Refusal({}),
            "unknown environment variable STEPBACK_LIMITS__MAX_MODLES (did you mean "
            "'STEPBACK_LIMITS__MAX_MODELS'?)");
}

TEST_F(CommandLineTest, DevLogsAtDebugLevelUnlessALevelIsSet) {
  EXPECT_EQ(MustParse({"--dev"}).log.level, LogLevel::kDebug);
  EXPECT_EQ(MustParse({"--dev", "--log-level", "info"}).log.level, LogLevel::kInfo);
  environment_["STEPBACK_LOG__LEVEL"] = "error";
  EXPECT_EQ(MustParse({"--dev"}).log.level, LogLevel::kError);
}

TEST_F(CommandLineTest, SubcommandsAndQuestionsAreRecognised) {
  EXPECT_EQ(Parse({"config", "print"})->action, Invocation::kPrintConfig);
  EXPECT_EQ(Parse({"config", "validate", "--dev"})->action, Invocation::kValidateConfig);
  EXPECT_EQ(Parse({"--dev", "config", "validate"})->action, Invocation::kValidateConfig);
  EXPECT_EQ(Parse({"--version"})->action, Invocation::kShowVersion);
  EXPECT_EQ(Parse({"--help"})->action, Invocation::kShowHelp);
  EXPECT_THAT(Refusal({"config"}), HasSubstr("subcommand"));
  EXPECT_THAT(Refusal({"config", "print", "stray"}), StartsWith("unknown argument 'stray'"));
}

TEST_F(CommandLineTest, HelpShowsEveryFlagWithItsDefaultAndVariable) {
  const std::string help = Parse({"--help"})->help;
  for (const Setting& setting : Settings()) {
    std::string shown = setting.value.format({});
    if (shown.empty()) shown = "\"\"";
    EXPECT_THAT(help,
                AllOf(HasSubstr(setting.flag), HasSubstr("default " + shown + "; env " + setting.EnvName())));
  }
  EXPECT_THAT(help, HasSubstr("Exit status: 0 "));
}

TEST_F(CommandLineTest, ConfigCommandsAnswerWithTheirExitCode) {
  std::ostringstream out, err;
  EXPECT_EQ(RunConfigCommand(*Parse({"config", "print", "--snapshot-keep", "9"}), out, err), kExitOk);
  EXPECT_THAT(out.str(), HasSubstr("  keep: 9\n"));
  EXPECT_EQ(RunConfigCommand(*Parse({"config", "validate"}), out, err), kExitOk);
  EXPECT_EQ(err.str(), "");
  EXPECT_EQ(RunConfigCommand(*Parse({"config", "validate", "--listen", "0.0.0.0:1"}), out, err), kExitUsage);
  EXPECT_THAT(err.str(), StartsWith("stepbackd: server.listen 0.0.0.0:1 "));
  EXPECT_EQ(RunConfigCommand(*Parse({}), out, err), std::nullopt);
  EXPECT_EQ(RunConfigCommand(*Parse({"--help"}), out, err), kExitOk);
}

}  // namespace
}  // namespace stepback
