// `stepback`, the operators' command: parse, run one command, report.
#include <iostream>

#include "client/cli/commands.h"
#include "client/cli/error_report.h"
#include "client/cli/interrupted.h"
#include "client/cli/version.h"

namespace {

using stepback::cli::Context;

void AddCommands(CLI::App* app, Context* context) {
  using namespace stepback::cli;  // every command of commands.h
  context->AddOptions(app);
  app->set_version_flag("--version", std::string("stepback ") + kVersion);
  AddModelCommands(app, context);
  AddSessionCommands(app, context);
  AddSnapshotCommands(app, context);
  AddServerCommands(app, context);
  AddDebugCommands(app, context);
  AddEventCommands(app, context);
  AddReplayCommand(app, context);
  AddTopCommand(app, context);
  AddLoadCommand(app, context);
  AddCompletionCommand(app, context);
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Operate a Stepback server: models, workers, snapshots, load tests.", "stepback");
  app.require_subcommand(1)->set_help_all_flag("--help-all", "Help of every command");
  Context context;
  AddCommands(&app, &context);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? stepback::cli::kExitOk : stepback::cli::kExitUsage;
  }
  stepback::cli::CatchSignals();
  const absl::Status status = context.command()();
  if (!status.ok()) stepback::cli::ReportError(status, context.output(), std::cerr);
  return stepback::cli::ExitStatusOf(status);
}
