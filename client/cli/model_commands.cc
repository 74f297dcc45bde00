// stepback model list|describe|update|delete|export|import.
#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>
#include <iostream>
#include <memory>

#include "client/cli/commands.h"
#include "client/cli/definition_args.h"
#include "client/cli/error_report.h"
#include "client/cli/json.h"
#include "client/cli/units.h"
#include "server/base/status_macros.h"

namespace stepback::cli {
namespace {

std::string ShowVersion(client::Version version) { return version ? version.ToString() : "-"; }

std::string ShowRule(const std::optional<client::Rule>& rule) {
  if (!rule || rule->name.empty()) return "-";
  std::string out = rule->name;
  for (const auto& [name, value] : rule->values) {
    out += fmt::format("{}{}={}", out == rule->name ? " " : ", ", name, ShowNumber(value));
  }
  return out;
}

std::string ShowShape(const std::vector<uint64_t>& shape) {
  if (shape.empty()) return "scalar";
  std::string out;
  for (const uint64_t dimension : shape) out += (out.empty() ? "" : "x") + std::to_string(dimension);
  return out;
}

absl::Status List(const Context& context) {
  ASSIGN_OR_RETURN(const auto server, context.Connect());
  ASSIGN_OR_RETURN(const auto models, server->ListModels());
  Table table({"NAME", "MODE", "PARAMETERS", "VERSION", "DURABLE", "SAMPLES", "SESSIONS", "STATE"});
  table.SetEmpty("no models");
  for (const client::ModelInfo& model : models) {
    const std::string state = !model.unhealthy_reason.empty() ? "unhealthy"
                              : model.finished                ? "finished"
                                                              : "ok";
    table.Add({model.definition.name, NameOf(model.definition.mode), ShowCount(model.parameters),
               ShowVersion(model.version), ShowVersion(model.durable_version), ShowCount(model.samples),
               std::to_string(model.sessions), state});
  }
  context.Print({{"models", ToJsonArray(models)}}, table);
  return absl::OkStatus();
}

void AddRounds(const client::Rounds& rounds, Table* table) {
  std::string text = NameOf(rounds.policy);
  if (rounds.policy == client::RoundPolicy::kSync) {
    text += fmt::format(", quorum {}", rounds.quorum);
    if (rounds.deadline_seconds > 0)
      text += fmt::format(", deadline {}", ShowSeconds(rounds.deadline_seconds));
    if (rounds.grace_seconds > 0) text += fmt::format(", grace {}", ShowSeconds(rounds.grace_seconds));
    if (rounds.grace_factor > 0) text += fmt::format(", grace {} x recent quorums", rounds.grace_factor);
  }
  if (rounds.policy == client::RoundPolicy::kBuffered)
    text += fmt::format(", {} pushes", rounds.buffer_pushes);
  if (!rounds.staleness.name.empty()) text += fmt::format(", weight {} by age", rounds.staleness.name);
  if (rounds.history_versions > 0)
    text += fmt::format(", weights of {} versions kept", rounds.history_versions);
  if (rounds.dynamic_local_steps) text += ", steps by pace";
  if (rounds.max_staleness) text += fmt::format(", staleness at most {}", *rounds.max_staleness);
  text += fmt::format(", {} reduction in {}", NameOf(rounds.reduction), NameOf(rounds.accumulate));
  table->AddField("rounds", text);
}

void AddClip(const client::Clip& clip, Table* table) {
  std::string text;
  const std::pair<const char*, double> bounds[] = {{"value", clip.value},
                                                   {"tensor norm", clip.tensor_norm},
                                                   {"global norm", clip.global_norm},
                                                   {"norm of each push", clip.contribution_norm}};
  for (const auto& [name, bound] : bounds) {
    if (bound > 0) text += fmt::format("{}{} {}", text.empty() ? "" : ", ", name, bound);
  }
  if (!text.empty()) table->AddField("clipping", text);
}

void AddQuarantine(const client::Quarantine& quarantine, Table* table) {
  if (!quarantine.after) return;
  table->AddField("quarantine", *quarantine.after == 0
                                    ? "never"
                                    : fmt::format("{} after {} pushes in a row with NaN or infinity",
                                                  ShowSeconds(quarantine.seconds), *quarantine.after));
}

Table DescribeTable(const client::ModelInfo& model) {
  const client::ModelDefinition& definition = model.definition;
  Table table;
  table.AddField("name", definition.name);
  if (!definition.description.empty()) table.AddField("description", definition.description);
  for (const auto& [key, value] : definition.labels) table.AddField("label", key + "=" + value);
  table.AddField("mode", NameOf(definition.mode));
  if (definition.inner) table.AddField("inner rule", ShowRule(definition.inner));
  table.AddField("outer rule", ShowRule(definition.outer));
  for (const client::Average& average : definition.averages) {
    table.AddField("average", average.name + " = " + ShowRule(average.rule));
  }
  std::string period = std::to_string(definition.sync_period);
  if (definition.sync_period_schedule) period += " x " + definition.sync_period_schedule->name;
  table.AddField("sync period", period);
  AddRounds(definition.rounds, &table);
  AddClip(definition.clip, &table);
  AddQuarantine(definition.quarantine, &table);
  table.AddField("durability", NameOf(definition.durability));
  table.AddField("version", ShowVersion(model.version));
  table.AddField("durable version", ShowVersion(model.durable_version));
  table.AddField("settings version", std::to_string(model.settings_version));
  table.AddField("steps", fmt::format("{} inner, {} outer", model.inner_steps, model.outer_steps));
  table.AddField("samples", ShowCount(model.samples));
  table.AddField("sessions", std::to_string(model.sessions));
  table.AddField("parameters", ShowCount(model.parameters));
  table.AddField("memory", ShowBytes(model.state_bytes));
  table.AddField("fingerprint", Hex(model.fingerprint));
  if (!model.state_hash.empty()) table.AddField("state hash", model.state_hash);
  table.AddField("created", ShowTime(model.created_at));
  if (model.finished) table.AddField("finished", "yes");
  if (!model.unhealthy_reason.empty()) table.AddField("unhealthy", model.unhealthy_reason);
  return table;
}

absl::Status Describe(const std::string& name, bool hash, bool tensors, const Context& context) {
  ASSIGN_OR_RETURN(const auto server, context.Connect());
  ASSIGN_OR_RETURN(const client::ModelInfo model,
                   server->DescribeModel(name, {.state_hash = hash, .tensors = tensors || context.json()}));
  context.Print(ToJson(model), DescribeTable(model));
  if (!tensors || context.json()) return absl::OkStatus();
  std::cout << "\n";
  Table table({"TENSOR", "SHAPE", "DTYPE", "ROLE", "ELEMENTS"});
  for (const client::Tensor& tensor : model.definition.tensors) {
    table.Add({tensor.name, ShowShape(tensor.shape), NameOf(tensor.dtype), NameOf(tensor.role),
               ShowCount(tensor.elements())});
  }
  table.Print(std::cout);
  return absl::OkStatus();
}

absl::Status Update(const std::string& name, const std::vector<std::string>& assignments, uint64_t expected,
                    const Context& context) {
  std::map<std::string, double> values;
  for (const std::string& text : assignments) {
    const auto value = ParseAssignment(text);
    if (!value.ok()) return UsageError(std::string(value.status().message()));
    values.insert(*value);
  }
  ASSIGN_OR_RETURN(const auto server, context.Connect());
  ASSIGN_OR_RETURN(const auto updated, server->UpdateModel(name, values, expected));
  Json json = ToJson(updated.model);
  json["effective_version"] = ToJson(updated.effective_version);
  context.Say(json, fmt::format("model '{}': settings version {}, effective from version {}", name,
                                updated.model.settings_version, updated.effective_version.ToString()));
  return absl::OkStatus();
}

absl::Status Delete(const std::string& name, const Context& context) {
  ASSIGN_OR_RETURN(const auto server, context.Connect());
  RETURN_IF_ERROR(server->DeleteModel(name));
  context.Say({{"deleted", name}}, fmt::format("model '{}' deleted", name));
  return absl::OkStatus();
}

absl::Status Export(const std::string& name, const std::string& path, const std::string& view,
                    const Context& context) {
  ASSIGN_OR_RETURN(const auto server, context.Connect());
  if (path == "-") {
    const auto to_stdout = [](std::span<const std::byte> bytes) {
      const bool written = std::fwrite(bytes.data(), 1, bytes.size(), stdout) == bytes.size();
      return written ? absl::OkStatus() : absl::UnknownError("cannot write to standard output");
    };
    RETURN_IF_ERROR(server->ExportModel(name, to_stdout, view).status());
    return std::fflush(stdout) == 0 ? absl::OkStatus()
                                    : absl::UnknownError("cannot write to standard output");
  }
  ASSIGN_OR_RETURN(const auto exported, server->ExportModelToFile(name, path, view));
  context.Say(
      {{"model", name}, {"file", path}, {"version", ToJson(exported.version)}, {"bytes", exported.bytes}},
      fmt::format("model '{}' version {}: {} in '{}'", name, exported.version.ToString(),
                  ShowBytes(exported.bytes), path));
  return absl::OkStatus();
}

absl::Status Import(const std::string& name, const std::string& path, const Context& context) {
  ASSIGN_OR_RETURN(const auto server, context.Connect());
  ASSIGN_OR_RETURN(const client::ModelInfo model, server->ImportModelFromFile(name, path));
  context.Say(ToJson(model), fmt::format("model '{}' now has the weights of '{}', version {}", name, path,
                                         model.version.ToString()));
  return absl::OkStatus();
}

struct Args {
  std::string name, path, view;
  std::vector<std::string> assignments;
  uint64_t expected = 0;
  bool hash = false, tensors = false;
};

}  // namespace

void AddModelCommands(CLI::App* app, Context* context) {
  CLI::App* model =
      app->add_subcommand("model", "Create, look at, change and move models")->require_subcommand(1);
  model->fallthrough();
  const auto args = std::make_shared<Args>();
  const auto name = [&](CLI::App* command) {
    command->add_option("name", args->name, "Name of the model")->required();
  };
  AddModelCreate(model, context);
  AddCommand(model, context, "list", "List models", [=] { return List(*context); });

  CLI::App* describe = AddCommand(model, context, "describe", "Show one model",
                                  [=] { return Describe(args->name, args->hash, args->tensors, *context); });
  name(describe);
  describe->add_flag("--hash", args->hash, "Compute the hash of its whole state");
  describe->add_flag("--tensors", args->tensors, "Show the tensor table");

  CLI::App* update = AddCommand(model, context, "update", "Change settings of a live model", [=] {
    return Update(args->name, args->assignments, args->expected, *context);
  });
  name(update);
  update->add_option("settings", args->assignments, "path=number, e.g. outer.lr=0.5 rounds.quorum=3")
      ->required();
  update->add_option("--if-settings-version", args->expected, "Refuse unless this is the settings version");

  name(AddCommand(model, context, "delete", "Delete a model and its snapshots",
                  [=] { return Delete(args->name, *context); }));

  CLI::App* exporting = AddCommand(model, context, "export", "Write a version as a safetensors file",
                                   [=] { return Export(args->name, args->path, args->view, *context); });
  name(exporting);
  exporting->add_option("file", args->path, "File to write; - is standard output")->required();
  exporting->add_option("--view", args->view, "eval (slow weights), train (fast weights) or average:NAME")
      ->default_str("eval");

  CLI::App* importing =
      AddCommand(model, context, "import", "Replace the weights by those of a safetensors file",
                 [=] { return Import(args->name, args->path, *context); });
  name(importing);
  importing->add_option("file", args->path, "File to read")->required();
}

}  // namespace stepback::cli
