// The `stepback` command: parse, run one command, print its error, exit.
#include "client/cli/commands.h"
#include "client/cli/context.h"

namespace {

constexpr int kFailed = 1;
constexpr int kUsage = 2;

}  // namespace

int main(int argc, char** argv) {
  using namespace stepback::cli;
  Context context;
  CLI::App app{"stepback: operate a Stepback server", "stepback"};
  app.require_subcommand(1)->set_help_all_flag("--help-all", "Help of every command");
  AddGlobalOptions(app, context);
  RegisterModelCommands(app, context);
  RegisterSessionCommands(app, context);
  RegisterSnapshotCommands(app, context);
  RegisterInfoCommands(app, context);
  RegisterTop(app, context);
  RegisterLoad(app, context);
  RegisterCompletion(app, context);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : kUsage;
  }
  const absl::Status status = context.command();
  if (!status.ok()) PrintError(status, context.json());
  return status.ok() ? 0 : kFailed;
}
