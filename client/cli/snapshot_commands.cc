// stepback snapshot save|list|restore; verify is in offline_commands.cc.
#include <fmt/format.h>

#include <memory>

#include "client/cli/commands.h"
#include "client/cli/error_report.h"
#include "client/cli/json.h"
#include "client/cli/units.h"
#include "server/base/status_macros.h"

namespace stepback::cli {
namespace {

absl::Status Save(const std::string& model, const std::string& label, const Context& context) {
  ASSIGN_OR_RETURN(const auto server, context.Connect());
  ASSIGN_OR_RETURN(const client::SnapshotInfo snapshot, server->SaveSnapshot(model, label));
  context.Say(ToJson(snapshot),
              fmt::format("snapshot {} of model '{}' at version {}: {}", snapshot.generation, model,
                          snapshot.version.ToString(), ShowBytes(snapshot.bytes)));
  return absl::OkStatus();
}

absl::Status ListSnapshots(const std::string& model, const Context& context) {
  ASSIGN_OR_RETURN(const auto server, context.Connect());
  ASSIGN_OR_RETURN(const auto snapshots, server->ListSnapshots(model));
  Table table({"GENERATION", "LABEL", "VERSION", "STEPS", "SAMPLES", "SIZE", "CREATED"});
  table.SetEmpty("no snapshots");
  for (const client::SnapshotInfo& snapshot : snapshots) {
    table.Add({std::to_string(snapshot.generation), snapshot.label.empty() ? "-" : snapshot.label,
               snapshot.version.ToString(), fmt::format("{}/{}", snapshot.inner_steps, snapshot.outer_steps),
               ShowCount(snapshot.samples), ShowBytes(snapshot.bytes), ShowTime(snapshot.created_at)});
  }
  context.Print({{"snapshots", ToJsonArray(snapshots)}}, table);
  return absl::OkStatus();
}

absl::Status Restore(const std::string& model, const std::string& label, uint64_t generation,
                     const Context& context) {
  if (label.empty() == (generation == 0)) return UsageError("give either --label or --generation");
  ASSIGN_OR_RETURN(const auto server, context.Connect());
  ASSIGN_OR_RETURN(const client::ModelInfo restored, server->RestoreSnapshot(model, label, generation));
  context.Say(ToJson(restored),
              fmt::format("model '{}' restored; it goes on as version {}, workers pull again", model,
                          restored.version.ToString()));
  return absl::OkStatus();
}

}  // namespace

void AddSnapshotCommands(CLI::App* app, Context* context) {
  CLI::App* snapshot =
      app->add_subcommand("snapshot", "Save, list and restore snapshots")->require_subcommand(1);
  snapshot->fallthrough();
  struct Args {
    std::string model, label;
    uint64_t generation = 0;
  };
  const auto args = std::make_shared<Args>();
  const auto model = [&](CLI::App* command) {
    command->add_option("model", args->model, "Name of the model")->required();
  };
  CLI::App* save = AddCommand(snapshot, context, "save", "Write the current version to disk",
                              [=] { return Save(args->model, args->label, *context); });
  model(save);
  save->add_option("--label", args->label, "Keep it under this name");
  model(AddCommand(snapshot, context, "list", "List snapshots", [=] { return ListSnapshots(args->model, *context); }));
  CLI::App* restore = AddCommand(snapshot, context, "restore", "Go back to a snapshot", [=] {
    return Restore(args->model, args->label, args->generation, *context);
  });
  model(restore);
  restore->add_option("--label", args->label, "The snapshot of this name");
  restore->add_option("--generation", args->generation, "The snapshot of this number");
  AddSnapshotVerify(snapshot, context);
}

}  // namespace stepback::cli
