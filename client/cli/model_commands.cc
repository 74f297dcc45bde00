// model list | describe | update | delete | export | import (create: model_create_command.cc).
#include "client/cli/commands.h"
#include "client/cli/json.h"
#include "client/cli/table.h"
#include "fmt/core.h"
#include "server/base/status_macros.h"

namespace stepback::cli {
namespace {

std::string RuleName(const std::optional<client::Rule>& rule) { return rule ? rule->name : "-"; }

absl::Status List(const Context& context) {
  ASSIGN_OR_RETURN(const auto server, context.Connect());
  ASSIGN_OR_RETURN(const auto models, server->ListModels());
  if (context.json()) {
    PrintJson(ToJsonList(models));
    return absl::OkStatus();
  }
  Table table({"NAME", "MODE", "INNER", "OUTER", "VERSION", "DURABLE", "PARAMETERS", "SESSIONS", "STATE"});
  for (const client::ModelInfo& m : models) {
    table.Add({m.definition.name, NameOf(m.definition.mode), RuleName(m.definition.inner),
               RuleName(m.definition.outer), m.version.ToString(),
               m.durable_version ? m.durable_version.ToString() : "-", std::to_string(m.parameters),
               std::to_string(m.sessions), HumanBytes(m.state_bytes)});
  }
  table.Print();
  return absl::OkStatus();
}

void PrintModel(const client::ModelInfo& model) {
  Json json = ToJson(model);
  json.erase("tensors");
  Table table({"FIELD", "VALUE"});
  for (const auto& [name, value] : json.items()) {
    table.Add({name, value.is_string() ? value.get<std::string>() : value.dump()});
  }
  table.Print();
  if (model.definition.tensors.empty()) return;
  fmt::print("\n");
  Table tensors({"TENSOR", "SHAPE", "DTYPE", "ROLE"});
  for (const client::Tensor& t : model.definition.tensors) {
    tensors.Add({t.name, Json(t.shape).dump(), NameOf(t.dtype), NameOf(t.role)});
  }
  tensors.Print();
}

absl::Status Show(const Context& context, const client::ModelInfo& model) {
  if (context.json()) {
    PrintJson(ToJson(model));
  } else {
    PrintModel(model);
  }
  return absl::OkStatus();
}

absl::StatusOr<std::map<std::string, double>> ParseSettings(const std::vector<std::string>& settings) {
  std::map<std::string, double> values;
  for (const std::string& setting : settings) {
    const size_t equals = setting.find('=');
    char* end = nullptr;
    const double value = equals == std::string::npos ? 0 : std::strtod(setting.c_str() + equals + 1, &end);
    if (end == nullptr || *end != 0 || equals + 1 == setting.size()) {
      return absl::InvalidArgumentError(
          fmt::format("--set '{}': expected PATH=NUMBER, e.g. outer.lr=0.7", setting));
    }
    values[setting.substr(0, equals)] = value;
  }
  return values;
}

absl::Status PrintBytes(const Context& context, const std::string& model,
                        const client::Server::Exported& exported, const std::string& path) {
  if (context.json()) {
    PrintJson(
        {{"model", model}, {"version", ToJson(exported.version)}, {"bytes", exported.bytes}, {"file", path}});
  } else {
    fmt::print("{}: version {}, {} written to {}\n", model, exported.version.ToString(),
               HumanBytes(exported.bytes), path);
  }
  return absl::OkStatus();
}

// Options of one command live as long as the parser; CLI11 fills them while parsing.
struct Arguments {
  std::string name, file, view;
  std::vector<std::string> settings;
  bool hash = false, yes = false;
  uint64_t expected = 0;
};

void RegisterDescribe(CLI::App& models, Context& context) {
  const auto a = std::make_shared<Arguments>();
  CLI::App* command = AddCommand(
      models, context, "describe", "Show one model with its tensors", [&context, a]() -> absl::Status {
        ASSIGN_OR_RETURN(const auto server, context.Connect());
        ASSIGN_OR_RETURN(const auto model,
                         server->DescribeModel(a->name, {.state_hash = a->hash, .tensors = true}));
        return Show(context, model);
      });
  command->add_option("name", a->name, "Model")->required();
  command->add_flag("--state-hash", a->hash, "Hash weights, slots and counters (reads all state)");
}

void RegisterUpdate(CLI::App& models, Context& context) {
  const auto a = std::make_shared<Arguments>();
  CLI::App* command = AddCommand(
      models, context, "update", "Change settings of a live model", [&context, a]() -> absl::Status {
        ASSIGN_OR_RETURN(const auto values, ParseSettings(a->settings));
        ASSIGN_OR_RETURN(const auto server, context.Connect());
        ASSIGN_OR_RETURN(const auto updated, server->UpdateModel(a->name, values, a->expected));
        if (!context.json()) fmt::print("takes effect at version {}\n", updated.effective_version.ToString());
        return Show(context, updated.model);
      });
  command->add_option("name", a->name, "Model")->required();
  command->add_option("--set", a->settings, "PATH=NUMBER, e.g. outer.lr=0.7, rounds.quorum=2")->required();
  command->add_option("--expected-settings-version", a->expected,
                      "Refuse when somebody else changed settings since");
}

void RegisterDelete(CLI::App& models, Context& context) {
  const auto a = std::make_shared<Arguments>();
  CLI::App* command = AddCommand(
      models, context, "delete", "Delete a model and its snapshots", [&context, a]() -> absl::Status {
        if (!a->yes)
          return absl::FailedPreconditionError(fmt::format("deleting '{}' is final: say --yes", a->name));
        ASSIGN_OR_RETURN(const auto server, context.Connect());
        RETURN_IF_ERROR(server->DeleteModel(a->name));
        if (context.json()) PrintJson({{"deleted", a->name}});
        return absl::OkStatus();
      });
  command->add_option("name", a->name, "Model")->required();
  command->add_flag("--yes", a->yes, "Really");
}

void RegisterExport(CLI::App& models, Context& context) {
  const auto a = std::make_shared<Arguments>();
  CLI::App* command = AddCommand(
      models, context, "export", "Write a version as a safetensors file", [&context, a]() -> absl::Status {
        ASSIGN_OR_RETURN(const auto server, context.Connect());
        ASSIGN_OR_RETURN(const auto exported, server->ExportModelToFile(a->name, a->file, a->view));
        return PrintBytes(context, a->name, exported, a->file);
      });
  command->add_option("name", a->name, "Model")->required();
  command->add_option("file", a->file, "File to write")->required();
  command->add_option("--view", a->view, "eval: slow weights (default); train: fast weights")
      ->check(CLI::IsMember({"eval", "train"}));
}

void RegisterImport(CLI::App& models, Context& context) {
  const auto a = std::make_shared<Arguments>();
  CLI::App* command = AddCommand(
      models, context, "import", "Replace a model's weights by a file's", [&context, a]() -> absl::Status {
        ASSIGN_OR_RETURN(const auto server, context.Connect());
        ASSIGN_OR_RETURN(const auto model, server->ImportModelFromFile(a->name, a->file));
        return Show(context, model);
      });
  command->add_option("name", a->name, "Model")->required();
  command->add_option("file", a->file, "safetensors file with the same names, shapes and dtypes")
      ->required()
      ->check(CLI::ExistingFile);
}

}  // namespace

void RegisterModelCommands(CLI::App& app, Context& context) {
  CLI::App& models = *AddGroup(app, "model", "Create, list, describe, change, export and delete models");
  AddCommand(models, context, "list", "List the models", [&context] { return List(context); });
  RegisterModelCreate(models, context);
  RegisterDescribe(models, context);
  RegisterUpdate(models, context);
  RegisterDelete(models, context);
  RegisterExport(models, context);
  RegisterImport(models, context);
}

}  // namespace stepback::cli
