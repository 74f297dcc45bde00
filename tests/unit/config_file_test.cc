#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "server/config/assignment.h"
#include "server/config/config_text.h"
#include "server/config/port_file.h"
#include "tests/unit/doc_section.h"

namespace stepback {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

std::string Refusal(const std::string& yaml) {
  Assigned assigned;
  const absl::Status status = AssignFromYaml(yaml, "f.yaml", &assigned);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << yaml;
  return std::string(status.message());
}

Config MustRead(const std::string& yaml) {
  Assigned assigned;
  const absl::Status status = AssignFromYaml(yaml, "f.yaml", &assigned);
  EXPECT_TRUE(status.ok()) << status;
  return assigned.config;
}

TEST(ConfigFile, AnUnknownSettingIsRefusedWithFileLineAndTheNearestName) {
  EXPECT_EQ(Refusal("log:\n  level: info\nlimits:\n  max_modles: 3\n"),
            "f.yaml:4: unknown setting 'limits.max_modles' (did you mean 'limits.max_models'?)");
  EXPECT_EQ(Refusal("limits:\n  listen: x\n"),
            "f.yaml:2: unknown setting 'limits.listen' (did you mean 'server.listen'?)");
  EXPECT_EQ(Refusal("limit:\n  max_models: 3\n"),
            "f.yaml:1: unknown section 'limit' (did you mean 'limits'?)");
  EXPECT_EQ(Refusal("\nlisten: 0.0.0.0:1\n"),
            "f.yaml:2: unknown section 'listen' (did you mean 'server.listen'?)");
}

TEST(ConfigFile, AValueOutOfBoundsIsRefusedWithFileAndLine) {
  EXPECT_EQ(Refusal("server:\n  drain_timeout: 30\n"),
            "f.yaml:2: server.drain_timeout: '30' is not a duration; write e.g. 30s, 500ms or 1h30m");
}

TEST(ConfigFile, WhatIsSetTwiceIsRefused) {
  EXPECT_EQ(Refusal("log:\n  level: info\n  level: warn\n"), "f.yaml:3: 'log.level' is set twice");
  EXPECT_EQ(Refusal("log:\n  level: info\nlog:\n  format: json\n"), "f.yaml:3: section 'log' is there twice");
}

TEST(ConfigFile, WhatIsNotOneValueIsRefused) {
  EXPECT_THAT(Refusal("log:\n  level:\n"), StartsWith("f.yaml:2: log.level needs one value"));
  EXPECT_THAT(Refusal("log:\n  level: [info, warn]\n"), StartsWith("f.yaml:2: log.level needs one value"));
  EXPECT_THAT(Refusal("log: debug\n"), StartsWith("f.yaml:1: section 'log' needs settings"));
  EXPECT_THAT(Refusal("- log\n"), StartsWith("f.yaml"));
  EXPECT_THAT(Refusal("[a]: {b: c}\n"), StartsWith("f.yaml:1: unknown section"));
}

TEST(ConfigFile, BrokenYamlIsRefusedWithItsLine) {
  EXPECT_THAT(Refusal("log:\n  level: \"info\n"), StartsWith("f.yaml:"));
  EXPECT_THAT(Refusal("log:\n\tlevel: info\n"), StartsWith("f.yaml:2:"));
}

TEST(ConfigFile, NothingAtAllIsTheDefaults) {
  for (const char* text : {"", "# only a comment\n", "---\n", "log:\n", "log: {}\n"}) {
    EXPECT_EQ(ConfigYaml(MustRead(text)), ConfigYaml({})) << text;
  }
}

TEST(ConfigFile, AFolderOrMissingFileIsRefused) {
  Assigned assigned;
  EXPECT_THAT(std::string(AssignFromFile("/tmp", &assigned).message()), StartsWith("/tmp: cannot be read"));
  EXPECT_THAT(std::string(AssignFromFile("/no/file", &assigned).message()),
              StartsWith("/no/file: cannot be read"));
}

TEST(ConfigText, WhatIsPrintedReadsBackToTheSame) {
  Config config;
  config.server.data_dir = "/a \"b\": #c\n\\d";
  config.server.listen = "[::1]:0";
  config.snapshot.interval = std::chrono::milliseconds(1500);
  config.limits.memory_bytes_max = 3ull << 29;
  config.tls.require_client_cert = ClientCert::kNo;
  config.log.level = LogLevel::kTrace;
  const Config again = MustRead(ConfigYaml(config));
  EXPECT_EQ(ConfigYaml(again), ConfigYaml(config));
  EXPECT_EQ(again.server.data_dir, config.server.data_dir);
  EXPECT_EQ(again.limits.memory_bytes_max, config.limits.memory_bytes_max);
}

TEST(ConfigText, ASecretIsNeverShownAndAnUnsetOneSaysSo) {
  Setting setting = Settings()[2];  // any text setting
  ASSERT_TRUE(setting.value.is_text);
  setting.secret = true;
  Config config;
  EXPECT_EQ(setting.Shown(config), "");
  ASSERT_TRUE(setting.value.parse("hunter2", &config).ok());
  EXPECT_EQ(setting.Shown(config), "<redacted>");
}

TEST(ConfigText, TheShippedFileIsTheCommentedDefaults) {
  const std::string path = STEPBACK_SOURCE_DIR "/deploy/stepbackd.yaml";
  if (UpdatingDocs()) std::ofstream(path) << CommentedDefaultsYaml();
  EXPECT_EQ(ReadWholeFile(path), CommentedDefaultsYaml()) << "run with STEPBACK_UPDATE_DOCS=1";
  EXPECT_EQ(ConfigYaml(MustRead(ReadWholeFile(path))), ConfigYaml({}));
}

TEST(ConfigText, TheTableOfDocsConfigurationIsTheCodesTable) {
  EXPECT_TRUE(DocumentHolds("docs/configuration.md", SettingsMarkdown()))
      << "run with STEPBACK_UPDATE_DOCS=1";
}

TEST(PortFile, HoldsThePortsAndLeavesNothingElse) {
  const std::string folder = ::testing::TempDir() + "/ports_" + std::to_string(getpid());
  ASSERT_EQ(mkdir(folder.c_str(), 0700), 0);
  ASSERT_TRUE(WritePortFile(folder + "/ports.json", {7400, 7401}).ok());
  const auto json = nlohmann::json::parse(ReadWholeFile(folder + "/ports.json"));
  EXPECT_EQ(json["grpc"], 7400);
  EXPECT_EQ(json["http"], 7401);
  EXPECT_EQ(json["pid"], getpid());
  std::remove((folder + "/ports.json").c_str());
  EXPECT_EQ(rmdir(folder.c_str()), 0);  // empty again
}

TEST(PortFile, APathThatCannotBeWrittenIsNamed) {
  const absl::Status status = WritePortFile("/no/such/folder/ports.json", {});
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(status.message()), HasSubstr("/no/such/folder/ports.json"));
}

}  // namespace
}  // namespace stepback
