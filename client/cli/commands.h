// The commands of `stepback`, one function per group; each adds its subcommands to the parser.
#pragma once

#include "client/cli/context.h"

namespace stepback::cli {

void AddModelCommands(CLI::App* app, Context* context);
void AddModelCreate(CLI::App* model, Context* context);
void AddSessionCommands(CLI::App* app, Context* context);
void AddSnapshotCommands(CLI::App* app, Context* context);
void AddSnapshotVerify(CLI::App* snapshot, Context* context);  // offline
void AddDebugCommands(CLI::App* app, Context* context);        // offline
void AddEventCommands(CLI::App* app, Context* context);        // offline: events
void AddReplayCommand(CLI::App* app, Context* context);        // offline
void AddServerCommands(CLI::App* app, Context* context);       // server, health, rules, version
void AddTopCommand(CLI::App* app, Context* context);
void AddLoadCommand(CLI::App* app, Context* context);
void AddCompletionCommand(CLI::App* app, Context* context);

}  // namespace stepback::cli
