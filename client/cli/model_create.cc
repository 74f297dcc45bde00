// stepback model create.
#include <fmt/format.h>

#include <algorithm>
#include <memory>

#include "client/cli/commands.h"
#include "client/cli/definition_args.h"
#include "client/cli/error_report.h"
#include "client/cli/json.h"
#include "client/cli/safetensors_file.h"
#include "client/cli/units.h"
#include "server/base/status_macros.h"

namespace stepback::cli {
namespace {

// The words of the command line as they came.
struct CreateArgs {
  std::string name, from, mode = "delta", inner, outer, inner_state = "keep", policy = "sync", reduction,
                          accumulate = "f32", weighting = "equal", durability = "round", deadline = "0",
                          lease = "0", snapshot_interval = "0", aggregator, description;
  std::vector<std::string> tensors, labels, averaged, frozen;
  bool zeros = false;
  uint32_t sync_period = 0, quorum = 1, buffer_pushes = 10, max_workers = 64;
  int64_t max_staleness = -1;
  double staleness_exponent = 0;
  uint64_t finish_after_steps = 0, finish_after_samples = 0;
};

// An error of the words themselves is an error of usage.
template <typename T>
absl::Status Take(absl::StatusOr<T> parsed, T* out) {
  if (!parsed.ok()) return UsageError(std::string(parsed.status().message()));
  *out = *std::move(parsed);
  return absl::OkStatus();
}

absl::Status TakeRule(const std::string& text, std::optional<client::Rule>* out) {
  if (text.empty()) return absl::OkStatus();
  client::Rule rule;
  RETURN_IF_ERROR(Take(ParseRule(text), &rule));
  *out = std::move(rule);
  return absl::OkStatus();
}

absl::StatusOr<client::Rounds> RoundsOf(const CreateArgs& args) {
  client::Rounds rounds{.quorum = args.quorum,
                        .buffer_pushes = args.buffer_pushes,
                        .max_workers = args.max_workers,
                        .staleness_exponent = args.staleness_exponent};
  RETURN_IF_ERROR(Take(ParseWord<client::RoundPolicy>(args.policy), &rounds.policy));
  RETURN_IF_ERROR(TakeRule(args.aggregator, &rounds.aggregator));
  const std::string reduction = !args.reduction.empty() ? args.reduction
                                : rounds.aggregator     ? "ordered"
                                                        : "running";
  RETURN_IF_ERROR(Take(ParseWord<client::Reduction>(reduction), &rounds.reduction));
  RETURN_IF_ERROR(Take(ParseWord<client::AccumulateType>(args.accumulate), &rounds.accumulate));
  RETURN_IF_ERROR(Take(ParseWord<client::Weighting>(args.weighting), &rounds.weighting));
  RETURN_IF_ERROR(Take(ParseSeconds(args.deadline), &rounds.deadline_seconds));
  if (args.max_staleness >= 0) rounds.max_staleness = static_cast<uint32_t>(args.max_staleness);
  return rounds;
}

absl::Status TakeLabels(const std::vector<std::string>& labels, std::map<std::string, std::string>* out) {
  for (const std::string& label : labels) {
    const size_t equals = label.find('=');
    if (equals == std::string::npos)
      return UsageError(fmt::format("label '{}' is not of the form key=value", label));
    (*out)[label.substr(0, equals)] = label.substr(equals + 1);
  }
  return absl::OkStatus();
}

absl::Status SetRoles(const std::vector<std::string>& names, client::Role role,
                      std::vector<client::Tensor>* tensors) {
  for (const std::string& name : names) {
    const auto found =
        std::find_if(tensors->begin(), tensors->end(), [&](const auto& t) { return t.name == name; });
    if (found == tensors->end()) return UsageError(fmt::format("there is no tensor '{}'", name));
    found->role = role;
  }
  return absl::OkStatus();
}

absl::StatusOr<client::ModelDefinition> DefinitionOf(const CreateArgs& args) {
  client::ModelDefinition definition{.name = args.name};
  RETURN_IF_ERROR(Take(ParseWord<client::Mode>(args.mode), &definition.mode));
  RETURN_IF_ERROR(TakeRule(args.inner, &definition.inner));
  RETURN_IF_ERROR(TakeRule(args.outer, &definition.outer));
  definition.sync_period = args.sync_period;
  RETURN_IF_ERROR(Take(ParseWord<client::InnerState>(args.inner_state), &definition.inner_state));
  ASSIGN_OR_RETURN(definition.rounds, RoundsOf(args));
  RETURN_IF_ERROR(Take(ParseWord<client::Durability>(args.durability), &definition.durability));
  RETURN_IF_ERROR(Take(ParseSeconds(args.lease), &definition.lease_seconds));
  RETURN_IF_ERROR(Take(ParseSeconds(args.snapshot_interval), &definition.snapshot_interval_seconds));
  definition.description = args.description;
  RETURN_IF_ERROR(TakeLabels(args.labels, &definition.labels));
  definition.finish_after_steps = args.finish_after_steps;
  definition.finish_after_samples = args.finish_after_samples;
  return definition;
}

absl::Status Create(const CreateArgs& args, const Context& context) {
  ASSIGN_OR_RETURN(client::ModelDefinition definition, DefinitionOf(args));
  std::unique_ptr<SafetensorsFile> file;
  if (!args.from.empty()) {
    ASSIGN_OR_RETURN(file, SafetensorsFile::Open(args.from));
    definition.tensors = file->tensors();
  }
  for (const std::string& text : args.tensors) {
    RETURN_IF_ERROR(Take(ParseTensor(text), &definition.tensors.emplace_back()));
  }
  if (definition.tensors.empty()) return UsageError("give the tensors: --from FILE, or --tensor ... --zeros");
  RETURN_IF_ERROR(SetRoles(args.averaged, client::Role::kAveraged, &definition.tensors));
  RETURN_IF_ERROR(SetRoles(args.frozen, client::Role::kFrozen, &definition.tensors));
  ASSIGN_OR_RETURN(const auto server, context.Connect());
  const std::span<const client::TensorData> data =
      file ? file->data() : std::span<const client::TensorData>();
  ASSIGN_OR_RETURN(const client::Model model, server->CreateModel(definition, data));
  Json json = ToJson(model.info());
  json["created"] = model.created();
  context.Say(json, fmt::format("model '{}' {}: {} parameters in {} tensors, version {}", model.name(),
                                model.created() ? "created" : "was there already with this definition",
                                ShowCount(model.elements()), model.tensors().size(),
                                model.info().version.ToString()));
  return absl::OkStatus();
}

void AddTensorOptions(CLI::App* app, CreateArgs* args) {
  CLI::Option* from =
      app->add_option("--from", args->from, "Tensors and initial weights from a safetensors file")
          ->group("Tensors");
  CLI::Option* tensor =
      app->add_option("--tensor", args->tensors, "One tensor: name:shape[:dtype[:role]], e.g. w:128x64")
          ->group("Tensors");
  CLI::Option* zeros = app->add_flag("--zeros", args->zeros, "Start from zeros")->group("Tensors");
  tensor->needs(zeros)->excludes(from);
  zeros->needs(tensor);
  app->add_option("--averaged", args->averaged, "Name of a tensor that is averaged, not optimised")
      ->group("Tensors");
  app->add_option("--frozen", args->frozen, "Name of a tensor that is served and never pushed")
      ->group("Tensors");
}

void AddRuleOptions(CLI::App* app, CreateArgs* args) {
  app->add_option("--mode", args->mode, "gradient or delta")->capture_default_str()->group("Rules");
  app->add_option("--inner", args->inner, "Inner rule (gradient mode), e.g. sgd:lr=0.1,momentum=0.9")
      ->group("Rules");
  app->add_option("--outer", args->outer, "Outer rule, e.g. nesterov:lr=0.7,momentum=0.9, or none")
      ->group("Rules");
  app->add_option("--sync-period", args->sync_period, "Inner steps per outer step; 0: the default")
      ->group("Rules");
  app->add_option("--inner-state", args->inner_state, "keep, reset or pullback at a sync")
      ->capture_default_str()
      ->group("Rules");
}

void AddRoundOptions(CLI::App* app, CreateArgs* args) {
  app->add_option("--policy,--rounds", args->policy, "sync, async or buffered")
      ->capture_default_str()
      ->group("Rounds");
  app->add_option("--quorum", args->quorum, "Least contributions of a sync round")
      ->capture_default_str()
      ->group("Rounds");
  app->add_option("--deadline", args->deadline, "After this a quorum closes the round; 0: wait for all")
      ->capture_default_str()
      ->group("Rounds");
  app->add_option("--buffer-pushes", args->buffer_pushes, "Pushes of a buffered round")
      ->capture_default_str()
      ->group("Rounds");
  app->add_option("--max-staleness", args->max_staleness, "Versions a push may be behind; -1: the default")
      ->check(CLI::Range(int64_t{-1}, int64_t{UINT32_MAX}))
      ->capture_default_str()
      ->group("Rounds");
  app->add_option("--staleness-exponent", args->staleness_exponent, "Weight (1 + staleness)^-a")
      ->group("Rounds");
  app->add_option("--aggregator", args->aggregator,
                  "How contributions become one, e.g. krum:f=1 or trimmed_mean:beta=0.2; default: their mean")
      ->group("Rounds");
  app->add_option("--reduction", args->reduction, "running (default) or ordered (default with --aggregator)")
      ->group("Rounds");
  app->add_option("--accumulate", args->accumulate, "f32 or f64")->capture_default_str()->group("Rounds");
  app->add_option("--weighting", args->weighting, "equal or samples")->capture_default_str()->group("Rounds");
  app->add_option("--max-workers", args->max_workers, "Most staged contributions (ordered)")->group("Rounds");
}

void AddLifeOptions(CLI::App* app, CreateArgs* args) {
  app->add_option("--durability", args->durability, "volatile, round, push or replicated")
      ->capture_default_str()
      ->group("Life");
  app->add_option("--snapshot-interval", args->snapshot_interval, "Between snapshots; 0: the server's")
      ->group("Life");
  app->add_option("--lease", args->lease, "How long a silent session lives; 0: the server's")->group("Life");
  app->add_option("--finish-after-steps", args->finish_after_steps, "Tell workers to stop then; 0: never")
      ->group("Life");
  app->add_option("--finish-after-samples", args->finish_after_samples, "Likewise")->group("Life");
  app->add_option("--description", args->description, "Free text")->group("Life");
  app->add_option("--label", args->labels, "key=value")->group("Life");
}

}  // namespace

void AddModelCreate(CLI::App* model, Context* context) {
  const auto args = std::make_shared<CreateArgs>();
  CLI::App* app =
      AddCommand(model, context, "create", "Create a model; the same definition again is no error",
                 [args, context] { return Create(*args, *context); });
  app->add_option("name", args->name, "Name of the model")->required();
  AddTensorOptions(app, args.get());
  AddRuleOptions(app, args.get());
  AddRoundOptions(app, args.get());
  AddLifeOptions(app, args.get());
}

}  // namespace stepback::cli
