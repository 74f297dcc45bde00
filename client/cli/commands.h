// One function per group of commands; each adds its commands to the parser. `context` outlives the parser.
#pragma once

#include "client/cli/context.h"

namespace stepback::cli {

void RegisterModelCommands(CLI::App& app, Context& context);
void RegisterModelCreate(CLI::App& models, Context& context);
void RegisterSessionCommands(CLI::App& app, Context& context);
void RegisterSnapshotCommands(CLI::App& app, Context& context);
void RegisterInfoCommands(CLI::App& app, Context& context);
void RegisterTop(CLI::App& app, Context& context);
void RegisterLoad(CLI::App& app, Context& context);
void RegisterCompletion(CLI::App& app, Context& context);

}  // namespace stepback::cli
