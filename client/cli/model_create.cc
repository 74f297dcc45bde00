// stepback model create.
#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <vector>

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
  std::string name, from, preset, mode, inner, outer,
      inner_state = "keep", policy, reduction, accumulate = "f32", weighting = "equal",
      durability = "round", deadline = "0", lease = "0", snapshot_interval = "0", description,
      period_schedule, staleness, grace = "0", aggregator, quarantine = "0";
  std::vector<std::string> tensors, labels, averaged, frozen, averages;
  bool zeros = false;
  bool dynamic_local_steps = false;
  uint32_t sync_period = 0, quorum = 1, buffer_pushes = 0, max_workers = 64;
  int64_t max_staleness = -1, quarantine_after = -1;
  double staleness_exponent = 0, grace_factor = 0;
  uint32_t history_versions = 0;
  client::Clip clip;
  uint64_t finish_after_steps = 0, finish_after_samples = 0;
  double expected_push_bytes_per_s = 0;
};

// Sync rounds in delta mode.
client::PresetInfo NoPreset() { return {.mode = client::Mode::kDelta}; }

// What the words leave open is the preset's.
absl::StatusOr<client::PresetInfo> FindPreset(const std::string& name, client::Server& server) {
  if (name.empty()) return NoPreset();
  ASSIGN_OR_RETURN(const client::RuleList list, server.ListRules());
  std::string known;
  for (const client::PresetInfo& preset : list.presets) {
    if (preset.name == name) return preset;
    known.append(" ").append(preset.name);
  }
  return UsageError(fmt::format("'{}' is no preset of this server, which has:{}", name, known));
}

// An error of the words themselves is an error of usage.
template <typename T>
absl::Status Take(absl::StatusOr<T> parsed, T* out) {
  if (!parsed.ok()) return UsageError(std::string(parsed.status().message()));
  *out = *std::move(parsed);
  return absl::OkStatus();
}

absl::Status TakeStaleness(const CreateArgs& args, client::Rounds* rounds) {
  rounds->staleness_exponent = args.staleness_exponent;
  if (args.staleness_exponent != 0) rounds->staleness = {};
  if (args.staleness.empty()) return absl::OkStatus();
  client::Rule words;
  RETURN_IF_ERROR(Take(ParseRule(args.staleness), &words));
  rounds->staleness = {words.name, words.values};
  return absl::OkStatus();
}

absl::Status TakeRule(const std::string& text, std::optional<client::Rule>* out) {
  if (text.empty()) return absl::OkStatus();
  client::Rule rule;
  RETURN_IF_ERROR(Take(ParseRule(text), &rule));
  *out = std::move(rule);
  return absl::OkStatus();
}

absl::StatusOr<client::Rounds> RoundsOf(const CreateArgs& args, const client::PresetInfo& preset) {
  client::Rounds rounds;
  if (args.policy.empty()) rounds = preset.rounds;
  rounds.quorum = args.quorum;
  if (args.buffer_pushes > 0) rounds.buffer_pushes = args.buffer_pushes;
  rounds.max_workers = args.max_workers;
  rounds.grace_factor = args.grace_factor;
  rounds.dynamic_local_steps = args.dynamic_local_steps;
  rounds.history_versions = args.history_versions;
  if (!args.policy.empty()) {
    RETURN_IF_ERROR(Take(ParseWord<client::RoundPolicy>(args.policy), &rounds.policy));
  }
  RETURN_IF_ERROR(TakeStaleness(args, &rounds));
  RETURN_IF_ERROR(Take(ParseSeconds(args.grace), &rounds.grace_seconds));
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

absl::Status TakePeriod(const CreateArgs& args, const client::PresetInfo& preset,
                        client::ModelDefinition* definition) {
  definition->sync_period = args.sync_period > 0 ? args.sync_period : preset.sync_period;
  if (args.period_schedule.empty()) return absl::OkStatus();
  client::Rule words;
  RETURN_IF_ERROR(Take(ParseRule(args.period_schedule), &words));
  definition->sync_period_schedule = {words.name, words.values};
  return absl::OkStatus();
}

absl::StatusOr<client::ModelDefinition> DefinitionOf(const CreateArgs& args,
                                                     const client::PresetInfo& preset) {
  client::ModelDefinition definition{.name = args.name, .mode = preset.mode.value_or(client::Mode::kDelta)};
  if (!args.mode.empty()) RETURN_IF_ERROR(Take(ParseWord<client::Mode>(args.mode), &definition.mode));
  RETURN_IF_ERROR(TakeRule(args.inner, &definition.inner));
  RETURN_IF_ERROR(TakeRule(args.outer, &definition.outer));
  if (!args.preset.empty()) definition.outer = preset.outer;
  RETURN_IF_ERROR(TakePeriod(args, preset, &definition));
  RETURN_IF_ERROR(Take(ParseWord<client::InnerState>(args.inner_state), &definition.inner_state));
  ASSIGN_OR_RETURN(definition.rounds, RoundsOf(args, preset));
  RETURN_IF_ERROR(Take(ParseWord<client::Durability>(args.durability), &definition.durability));
  RETURN_IF_ERROR(Take(ParseSeconds(args.lease), &definition.lease_seconds));
  RETURN_IF_ERROR(Take(ParseSeconds(args.snapshot_interval), &definition.snapshot_interval_seconds));
  definition.description = args.description;
  RETURN_IF_ERROR(TakeLabels(args.labels, &definition.labels));
  definition.finish_after_steps = args.finish_after_steps;
  definition.finish_after_samples = args.finish_after_samples;
  definition.expected_push_bytes_per_s = args.expected_push_bytes_per_s;
  definition.clip = args.clip;
  if (args.quarantine_after >= 0)
    definition.quarantine.after = static_cast<uint32_t>(args.quarantine_after);
  RETURN_IF_ERROR(Take(ParseSeconds(args.quarantine), &definition.quarantine.seconds));
  for (const std::string& text : args.averages) {
    RETURN_IF_ERROR(Take(ParseAverage(text), &definition.averages.emplace_back()));
  }
  return definition;
}

absl::StatusOr<std::vector<client::Tensor>> TensorsOf(const CreateArgs& args, const SafetensorsFile* file) {
  std::vector<client::Tensor> tensors;
  if (file != nullptr) tensors = file->tensors();
  for (const std::string& text : args.tensors) {
    RETURN_IF_ERROR(Take(ParseTensor(text), &tensors.emplace_back()));
  }
  if (tensors.empty()) return UsageError("give the tensors: --from FILE, or --tensor ... --zeros");
  RETURN_IF_ERROR(SetRoles(args.averaged, client::Role::kAveraged, &tensors));
  RETURN_IF_ERROR(SetRoles(args.frozen, client::Role::kFrozen, &tensors));
  return tensors;
}

absl::Status Create(const CreateArgs& args, const Context& context) {
  // Words that are wrong whatever a preset says are found before a server is asked.
  RETURN_IF_ERROR(DefinitionOf(args, NoPreset()).status());
  std::unique_ptr<SafetensorsFile> file;
  if (!args.from.empty()) {
    ASSIGN_OR_RETURN(file, SafetensorsFile::Open(args.from));
  }
  ASSIGN_OR_RETURN(std::vector<client::Tensor> tensors, TensorsOf(args, file.get()));
  ASSIGN_OR_RETURN(const auto server, context.Connect());
  ASSIGN_OR_RETURN(const client::PresetInfo preset, FindPreset(args.preset, *server));
  ASSIGN_OR_RETURN(client::ModelDefinition definition, DefinitionOf(args, preset));
  definition.tensors = std::move(tensors);
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
  app->add_option("--mode", args->mode, "gradient or delta; default: the preset's, or delta")->group("Rules");
  app->add_option("--inner", args->inner, "Inner rule (gradient mode), e.g. sgd:lr=0.1,momentum=0.9")
      ->group("Rules");
  CLI::Option* outer =
      app->add_option("--outer", args->outer, "Outer rule, e.g. nesterov:lr=0.7,momentum=0.9, or none")
          ->group("Rules");
  app->add_option("--preset", args->preset,
                  "A published algorithm: diloco, fedadam, ...; gives rule, sync period, mode and rounds")
      ->excludes(outer)
      ->group("Rules");
  app->add_option("--average", args->averages,
                  "An average of the slow weights, e.g. ema=ema,decay=0.999 or late=swa,start=100,period=10")
      ->group("Rules");
  app->add_option("--sync-period", args->sync_period,
                  "Inner steps per outer step; 0: the preset's or the default")
      ->group("Rules");
  app->add_option("--sync-period-schedule", args->period_schedule,
                  "By outer step, e.g. linear:start_factor=0.1,steps=50")
      ->group("Rules");
  app->add_option("--inner-state", args->inner_state, "keep, reset or pullback at a sync")
      ->capture_default_str()
      ->group("Rules");
}

void AddClipOptions(CLI::App* app, CreateArgs* args) {
  app->add_option("--clip-value", args->clip.value, "Elements of the aggregate to +-value; 0: no bound")
      ->group("Clipping");
  app->add_option("--clip-tensor-norm", args->clip.tensor_norm, "L2 norm of each tensor; 0: no bound")
      ->group("Clipping");
  app->add_option("--clip-global-norm", args->clip.global_norm,
                  "L2 norm of all trained tensors together; 0: no bound")
      ->group("Clipping");
  app->add_option("--clip-contribution-norm", args->clip.contribution_norm,
                  "The same of every push before it enters the mean; 0: no bound")
      ->group("Clipping");
}

void AddRoundOptions(CLI::App* app, CreateArgs* args) {
  app->add_option("--policy,--rounds", args->policy,
                  "sync, async or buffered; default: the preset's, or sync")
      ->group("Rounds");
  app->add_option("--quorum", args->quorum, "Least contributions of a sync round")
      ->capture_default_str()
      ->group("Rounds");
  app->add_option("--deadline", args->deadline, "After this a quorum closes the round; 0: wait for all")
      ->capture_default_str()
      ->group("Rounds");
  app->add_option("--grace", args->grace, "Longest wait for the others after the quorum; 0: not bounded so")
      ->capture_default_str()
      ->group("Rounds");
  app->add_option("--grace-factor", args->grace_factor,
                  "The same in medians of what recent quorums took; 0: not adaptive")
      ->group("Rounds");
  app->add_option("--buffer-pushes", args->buffer_pushes, "Pushes of a buffered round; 0: 10")
      ->group("Rounds");
  app->add_option("--max-staleness", args->max_staleness, "Versions a push may be behind; -1: the default")
      ->check(CLI::Range(int64_t{-1}, int64_t{UINT32_MAX}))
      ->capture_default_str()
      ->group("Rounds");
  app->add_option("--staleness-exponent", args->staleness_exponent, "Weight (1 + staleness)^-a")
      ->group("Rounds");
  app->add_option("--staleness", args->staleness, "Another weight by age, e.g. hinge:a=10,b=4")
      ->group("Rounds");
  app->add_option("--history-versions", args->history_versions,
                  "Past weights kept for --staleness delay_compensated; 0: 8")
      ->group("Rounds");
  app->add_flag("--dynamic-local-steps", args->dynamic_local_steps, "Tell each worker its steps by its pace")
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
  app->add_option("--expected-push-bytes-per-s", args->expected_push_bytes_per_s,
                  "Of all workers, for durability push; 0: not said")
      ->group("Life");
  app->add_option("--snapshot-interval", args->snapshot_interval, "Between snapshots; 0: the server's")
      ->group("Life");
  app->add_option("--lease", args->lease, "How long a silent session lives; 0: the server's")->group("Life");
  app->add_option("--quarantine-after", args->quarantine_after,
                  "Pushes in a row that are not finite, before their worker is thrown out; 0: never, -1: 3")
      ->check(CLI::Range(int64_t{-1}, int64_t{1000}))
      ->group("Life");
  app->add_option("--quarantine", args->quarantine, "How long it may not join again; 0: 60 s")->group("Life");
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
  AddClipOptions(app, args.get());
  AddRoundOptions(app, args.get());
  AddLifeOptions(app, args.get());
}

}  // namespace stepback::cli
