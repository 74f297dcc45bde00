// snapshot save | list | restore, and flush.
#include "client/cli/commands.h"
#include "client/cli/json.h"
#include "client/cli/table.h"
#include "fmt/chrono.h"
#include "fmt/core.h"
#include "server/base/status_macros.h"

namespace stepback::cli {
namespace {

absl::Status Print(const Context& context, const std::vector<client::SnapshotInfo>& snapshots) {
  if (context.json()) {
    PrintJson(ToJsonList(snapshots));
    return absl::OkStatus();
  }
  Table table({"GENERATION", "LABEL", "VERSION", "CREATED", "SIZE", "INNER STEPS", "OUTER STEPS"});
  for (const client::SnapshotInfo& s : snapshots) {
    const std::time_t created = std::chrono::system_clock::to_time_t(s.created_at);
    table.Add({std::to_string(s.generation), s.label.empty() ? "-" : s.label, s.version.ToString(),
               fmt::format("{:%Y-%m-%d %H:%M:%S}", fmt::gmtime(created)), HumanBytes(s.bytes),
               std::to_string(s.inner_steps), std::to_string(s.outer_steps)});
  }
  table.Print();
  return absl::OkStatus();
}

struct Arguments {
  std::string model, label;
  uint64_t generation = 0;
};

absl::Status Save(const Context& context, const Arguments& a) {
  ASSIGN_OR_RETURN(const auto server, context.Connect());
  ASSIGN_OR_RETURN(const auto snapshot, server->SaveSnapshot(a.model, a.label));
  return Print(context, {snapshot});
}

absl::Status List(const Context& context, const Arguments& a) {
  ASSIGN_OR_RETURN(const auto server, context.Connect());
  ASSIGN_OR_RETURN(const auto snapshots, server->ListSnapshots(a.model));
  return Print(context, snapshots);
}

absl::Status Restore(const Context& context, const Arguments& a) {
  if (a.label.empty() == (a.generation == 0)) {
    return absl::InvalidArgumentError("give either --label or --generation");
  }
  ASSIGN_OR_RETURN(const auto server, context.Connect());
  ASSIGN_OR_RETURN(const auto model, server->RestoreSnapshot(a.model, a.label, a.generation));
  if (context.json()) {
    PrintJson(ToJson(model));
  } else {
    fmt::print("{}: restored as version {}\n", a.model, model.version.ToString());
  }
  return absl::OkStatus();
}

absl::Status Flush(const Context& context, const Arguments& a) {
  ASSIGN_OR_RETURN(const auto server, context.Connect());
  ASSIGN_OR_RETURN(const auto version, server->Flush(a.model));
  if (context.json()) {
    PrintJson({{"durable_version", ToJson(version)}});
  } else {
    fmt::print("{}: version {} is on disk\n", a.model, version.ToString());
  }
  return absl::OkStatus();
}

}  // namespace

void RegisterSnapshotCommands(CLI::App& app, Context& context) {
  CLI::App& snapshots = *AddGroup(app, "snapshot", "Save, list and restore snapshots");
  const auto a = std::make_shared<Arguments>();
  CLI::App* save = AddCommand(snapshots, context, "save", "Write the current version to disk",
                              [&context, a] { return Save(context, *a); });
  save->add_option("model", a->model, "Model")->required();
  save->add_option("--label", a->label, "Keep it under this name until deleted");
  AddCommand(snapshots, context, "list", "List a model's snapshots",
             [&context, a] { return List(context, *a); })
      ->add_option("model", a->model, "Model")
      ->required();
  CLI::App* restore = AddCommand(snapshots, context, "restore", "Go back to a snapshot under a new term",
                                 [&context, a] { return Restore(context, *a); });
  restore->add_option("model", a->model, "Model")->required();
  restore->add_option("--label", a->label, "By label");
  restore->add_option("--generation", a->generation, "By generation");
  AddCommand(app, context, "flush", "Wait until acknowledged pushes are on disk",
             [&context, a] { return Flush(context, *a); })
      ->add_option("model", a->model, "Model")
      ->required();
}

}  // namespace stepback::cli
