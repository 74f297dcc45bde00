// model create: a tensor table from arguments or from a safetensors file, rules as name:key=value,...
#include "client/cli/commands.h"
#include "client/cli/json.h"
#include "client/cli/tensor_argument.h"
#include "fmt/core.h"
#include "server/base/status_macros.h"

namespace stepback::cli {
namespace {

struct Arguments {
  std::string name, file, mode = "delta", inner, outer, rounds = "sync", reduction = "running",
                          durability = "round";
  std::vector<std::string> tensors;
  uint32_t sync_period = 0, quorum = 1;
  double deadline = 0;
  std::string description;
};

// "nesterov:lr=0.7,momentum=0.9"; "" keeps the server's default.
absl::StatusOr<std::optional<client::Rule>> ParseRule(const std::string& text) {
  if (text.empty()) return std::optional<client::Rule>();
  const size_t colon = text.find(':');
  client::Rule rule{.name = text.substr(0, colon)};
  std::string rest = colon == std::string::npos ? "" : text.substr(colon + 1);
  while (!rest.empty()) {
    const size_t comma = std::min(rest.find(','), rest.size());
    const std::string pair = rest.substr(0, comma);
    const size_t equals = pair.find('=');
    char* end = nullptr;
    const double value = equals == std::string::npos ? 0 : std::strtod(pair.c_str() + equals + 1, &end);
    if (end == nullptr || *end != 0) {
      return absl::InvalidArgumentError(fmt::format("rule '{}': expected NAME[:KEY=NUMBER,...]", text));
    }
    rule.values[pair.substr(0, equals)] = value;
    rest = comma < rest.size() ? rest.substr(comma + 1) : "";
  }
  return std::optional(rule);
}

template <typename Enum>
Enum EnumOf(const std::string& word, int count) {
  for (int i = 1; i < count; ++i) {
    if (NameOf(static_cast<Enum>(i)) == word) return static_cast<Enum>(i);
  }
  return static_cast<Enum>(count);
}

absl::StatusOr<client::ModelDefinition> Define(const Arguments& a) {
  client::ModelDefinition d{.name = a.name};
  if (a.file.empty() == a.tensors.empty()) {
    return absl::InvalidArgumentError("give either --from FILE or one --tensor per tensor");
  }
  if (!a.file.empty()) {
    ASSIGN_OR_RETURN(d.tensors, ReadTensorTable(a.file));
  }
  for (const std::string& text : a.tensors) {
    ASSIGN_OR_RETURN(client::Tensor tensor, ParseTensor(text));
    d.tensors.push_back(std::move(tensor));
  }
  ASSIGN_OR_RETURN(d.inner, ParseRule(a.inner));
  ASSIGN_OR_RETURN(d.outer, ParseRule(a.outer));
  d.mode = EnumOf<client::Mode>(a.mode, 2);
  d.rounds.policy = EnumOf<client::RoundPolicy>(a.rounds, 3);
  d.rounds.reduction = EnumOf<client::Reduction>(a.reduction, 2);
  d.durability = EnumOf<client::Durability>(a.durability, 4);
  d.sync_period = a.sync_period;
  d.rounds.quorum = a.quorum;
  d.rounds.deadline_seconds = a.deadline;
  d.description = a.description;
  return d;
}

absl::Status Create(const Context& context, const Arguments& a) {
  ASSIGN_OR_RETURN(const client::ModelDefinition definition, Define(a));
  ASSIGN_OR_RETURN(const auto server, context.Connect());
  ASSIGN_OR_RETURN(const client::Model model, server->CreateModel(definition, {}));
  client::ModelInfo info = model.info();
  if (model.created() && !a.file.empty()) {
    ASSIGN_OR_RETURN(info, server->ImportModelFromFile(a.name, a.file));
  }
  if (context.json()) {
    Json json = ToJson(info);
    json["created"] = model.created();
    PrintJson(json);
  } else {
    fmt::print("{}: {}, version {}, {} parameters\n", a.name,
               model.created() ? "created" : "was there already", info.version.ToString(), info.parameters);
  }
  return absl::OkStatus();
}

}  // namespace

void RegisterModelCreate(CLI::App& models, Context& context) {
  const auto a = std::make_shared<Arguments>();
  CLI::App* c = AddCommand(models, context, "create", "Create a model from zeros or from a safetensors file",
                           [&context, a] { return Create(context, *a); });
  c->add_option("name", a->name, "Model")->required();
  c->add_option("--from", a->file, "safetensors file: names, shapes and weights")->check(CLI::ExistingFile);
  c->add_option("--tensor", a->tensors,
                "NAME:SHAPE[:DTYPE[:ROLE]], e.g. weight:7x13 (repeat; weights are zero)");
  c->add_option("--mode", a->mode, "Which pushes it takes")
      ->check(CLI::IsMember({"delta", "gradient"}))
      ->capture_default_str();
  c->add_option("--inner", a->inner, "Inner rule, e.g. adamw:lr=0.001 (gradient mode)");
  c->add_option("--outer", a->outer, "Outer rule, e.g. nesterov:lr=0.7,momentum=0.9");
  c->add_option("--sync-period", a->sync_period, "Inner steps per outer step (0: the default)");
  c->add_option("--rounds", a->rounds, "How a round closes")
      ->check(CLI::IsMember({"sync", "async", "buffered"}))
      ->capture_default_str();
  c->add_option("--quorum", a->quorum, "sync: least workers")->capture_default_str();
  c->add_option("--deadline", a->deadline,
                "sync: seconds after which a quorum closes the round (0: wait for all)");
  c->add_option("--reduction", a->reduction, "How contributions become one")
      ->check(CLI::IsMember({"running", "ordered"}))
      ->capture_default_str();
  c->add_option("--durability", a->durability, "What an acknowledged push survives")
      ->check(CLI::IsMember({"volatile", "round"}))
      ->capture_default_str();
  c->add_option("--description", a->description, "Free text");
}

}  // namespace stepback::cli
