#include "server/config/command_line.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <vector>

#include "server/base/status_macros.h"
#include "server/config/assignment.h"
#include "server/config/config_text.h"
#include "server/config/environment.h"
#include "server/config/nearest.h"
#include "server/config/validate.h"

namespace stepback {
namespace {

constexpr char kFileVariable[] = "STEPBACK_CONFIG";
constexpr char kFooter[] =
    "A flag beats the environment, which beats the file, which beats the default.\n"
    "Exit status: 0 ended as asked, 1 failed while running, 2 flags or configuration wrong, 3 address not to "
    "be had,\n"
    "4 data directory unusable, 143 ended by SIGTERM with work left after the drain timeout.";

// The parser and what it fills.
struct Parser {
  Parser();
  std::vector<std::string> KnownFlags() const;

  CLI::App app{"The server that owns the slow weights.", "stepbackd"};
  CLI::App* print = nullptr;
  CLI::App* validate = nullptr;
  CLI::Option* config_file = nullptr;
  bool version = false;
  std::vector<std::pair<const Setting*, CLI::Option*>> options;
};

std::string Description(const Setting& setting) {
  std::string shown = setting.value.format(Config{});
  if (shown.empty()) shown = "\"\"";
  return fmt::format("{}\n[{}; default {}; env {}]", setting.help, setting.value.accepts, shown,
                     setting.EnvName());
}

CLI::Option* AddOption(const Setting& setting, CLI::App* app) {
  CLI::Option* option = setting.value.is_switch ? app->add_flag(setting.flag) : app->add_option(setting.flag);
  if (!setting.value.is_switch) option->type_name("VALUE")->expected(1);
  // The last one wins, so that a wrapper script's flag can be overridden.
  return option->multi_option_policy(CLI::MultiOptionPolicy::TakeLast)
      ->description(Description(setting))
      ->group(setting.section());
}

Parser::Parser() {
  app.footer(kFooter);
  app.get_formatter()->column_width(34);
  app.allow_extras();
  app.fallthrough();
  config_file =
      app.add_option("--config", "Configuration file (YAML).\n[path; env STEPBACK_CONFIG]")->expected(1);
  config_file->type_name("FILE");
  app.add_flag("--version", version, "Print the version and end.");
  for (const Setting& setting : Settings()) options.emplace_back(&setting, AddOption(setting, &app));
  CLI::App* config = app.add_subcommand("config", "Look at the configuration without starting anything.");
  config->require_subcommand(1)->fallthrough()->allow_extras();
  print = config->add_subcommand("print", "Print the effective configuration as YAML.")
              ->fallthrough()
              ->allow_extras();
  validate = config->add_subcommand("validate", "Check the configuration.")->fallthrough()->allow_extras();
}

std::vector<std::string> Parser::KnownFlags() const {
  std::vector<std::string> flags = {"--config", "--version", "--help"};
  for (const auto& [setting, option] : options) flags.push_back(setting->flag);
  return flags;
}

absl::Status RefuseExtras(const Parser& parser) {
  const std::vector<std::string> extras = parser.app.remaining(true);
  if (extras.empty()) return absl::OkStatus();
  const std::string name = extras.front().substr(0, extras.front().find('='));
  return absl::InvalidArgumentError(fmt::format("unknown argument '{}'{}; see stepbackd --help", name,
                                                DidYouMean(name, parser.KnownFlags())));
}

// Nothing: go on. A help text: show it.
absl::StatusOr<std::optional<std::string>> Parse(Parser* parser, int argc, const char* const* argv) {
  try {
    parser->app.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    return parser->app.help();
  } catch (const CLI::CallForAllHelp&) {
    return parser->app.help("", CLI::AppFormatMode::All);
  } catch (const CLI::ParseError& error) {
    return absl::InvalidArgumentError(fmt::format("{}; see stepbackd --help", error.what()));
  }
  RETURN_IF_ERROR(RefuseExtras(*parser));
  return std::nullopt;
}

absl::Status AssignFlags(const Parser& parser, Assigned* assigned) {
  for (const auto& [setting, option] : parser.options) {
    if (option->count() == 0) continue;
    RETURN_IF_ERROR(Assign(*setting, option->results().back(), setting->flag, assigned));
  }
  return absl::OkStatus();
}

std::string FileToRead(const Parser& parser, const Environment& environment) {
  if (parser.config_file->count() > 0) return parser.config_file->results().back();
  const auto it = environment.find(kFileVariable);
  return it == environment.end() ? "" : it->second;
}

absl::StatusOr<Config> Resolve(const Parser& parser, const Environment& environment) {
  Assigned assigned;
  if (const std::string file = FileToRead(parser, environment); !file.empty()) {
    RETURN_IF_ERROR(AssignFromFile(file, &assigned));
  }
  RETURN_IF_ERROR(AssignFromEnvironment(environment, &assigned));
  RETURN_IF_ERROR(AssignFlags(parser, &assigned));
  if (assigned.config.server.dev && !assigned.keys.contains("log.level")) {
    assigned.config.log.level = LogLevel::kDebug;
  }
  return assigned.config;
}

Invocation::Action ActionOf(const Parser& parser) {
  if (parser.version) return Invocation::kShowVersion;
  if (parser.print->parsed()) return Invocation::kPrintConfig;
  if (parser.validate->parsed()) return Invocation::kValidateConfig;
  return Invocation::kServe;
}

}  // namespace

absl::StatusOr<Invocation> ParseCommandLine(int argc, const char* const* argv,
                                            const Environment& environment) {
  Parser parser;
  ASSIGN_OR_RETURN(const std::optional<std::string> help, Parse(&parser, argc, argv));
  if (help) return Invocation{Invocation::kShowHelp, {}, *help};
  const Invocation::Action action = ActionOf(parser);
  if (action == Invocation::kShowVersion) return Invocation{action, {}, ""};
  ASSIGN_OR_RETURN(Config config, Resolve(parser, environment));
  return Invocation{action, std::move(config), ""};
}

std::optional<ExitCode> RunConfigCommand(const Invocation& invocation, std::ostream& out, std::ostream& err) {
  if (invocation.action == Invocation::kShowHelp) {
    out << invocation.help;
    return kExitOk;
  }
  if (invocation.action == Invocation::kPrintConfig) {
    out << ConfigYaml(invocation.config);
    return kExitOk;
  }
  if (invocation.action != Invocation::kValidateConfig) return std::nullopt;
  const absl::Status status = Validate(invocation.config);
  if (status.ok()) {
    out << "The configuration is valid.\n";
    return kExitOk;
  }
  err << "stepbackd: " << status.message() << "\n";
  return kExitUsage;
}

}  // namespace stepback
