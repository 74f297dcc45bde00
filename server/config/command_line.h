// From argv, environment and file to a Config. A flag beats the environment, that beats the file, that beats
// the default.
//
//   auto invocation = ParseCommandLine(argc, argv, ProcessEnvironment());
//   if (!invocation.ok()) { print it; return kExitUsage; }
//   if (auto exit = RunConfigCommand(*invocation, std::cout, std::cerr)) return *exit;   // config
//   print|validate, --help if (invocation->action == Invocation::kShowVersion) ...
//   RETURN_IF_ERROR(Validate(invocation->config)); ...serve
// Thread: any.
#pragma once

#include <map>
#include <optional>
#include <ostream>
#include <string>

#include "absl/status/statusor.h"
#include "server/config/config.h"
#include "server/config/exit_code.h"

namespace stepback {

using Environment = std::map<std::string, std::string>;
Environment ProcessEnvironment();

struct Invocation {
  enum Action { kServe, kPrintConfig, kValidateConfig, kShowHelp, kShowVersion };
  Action action = kServe;
  Config config;
  std::string help;  // of kShowHelp
};

// INVALID_ARGUMENT says where the mistake is (flag, variable, file:line) and the nearest name there is.
absl::StatusOr<Invocation> ParseCommandLine(int argc, const char* const* argv,
                                            const Environment& environment);

// Does what print, validate and --help ask for and returns the exit code; nothing for the other actions.
std::optional<ExitCode> RunConfigCommand(const Invocation& invocation, std::ostream& out, std::ostream& err);

}  // namespace stepback
