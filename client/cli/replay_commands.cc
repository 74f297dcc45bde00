// stepback replay DIR --model M: makes the weights of a model of durability PUSH again, also under another
// outer rule, or goes through what a model has decided and checks it. Without a server; it only reads, so it
// may look on while one runs.
#include <fmt/format.h>

#include <iostream>
#include <memory>

#include "client/cli/commands.h"
#include "client/cli/error_report.h"
#include "client/cli/event_json.h"
#include "client/cli/units.h"
#include "server/base/status_macros.h"
#include "server/tools/decision_replay.h"
#include "server/tools/model_events.h"
#include "server/tools/weight_replay.h"

namespace stepback::cli {
namespace {

struct ReplayRequest {
  std::string directory, model, to, with, out;
  bool decisions = false;  // also where there are weights
};

absl::StatusOr<ModelDirectory> FindModel(const ReplayRequest& request) {
  ASSIGN_OR_RETURN(const std::vector<ModelDirectory> models,
                   FindModelDirectories(FileSystem::Posix(), request.directory));
  std::string names;
  for (const ModelDirectory& model : models) {
    if (model.model == request.model || (request.model.empty() && models.size() == 1)) return model;
    names += fmt::format("{}'{}'", names.empty() ? "" : ", ", model.model);
  }
  if (request.model.empty() && !models.empty()) return UsageError("name a --model of " + names);
  return absl::NotFoundError(fmt::format("'{}' holds no model '{}'; those that it holds: {}",
                                         request.directory, request.model, names.empty() ? "none" : names));
}

// Whether a merge lies behind the version to replay to.
bool IsBehind(const v1::EventRecord& record, const std::optional<Version>& to) {
  if (!to.has_value() || record.name() != "round_closed") return false;
  if (to->term == 0) return record.counter() > to->counter;
  return VersionOf(record) > *to;
}

std::vector<std::string> MergeRow(const v1::EventRecord& record, bool sound) {
  const v1::MergeEvent& merge = record.merge();
  return {VersionOf(record).ToString(),
          WhoOf(record),
          merge.outer_step() ? "yes" : "no",
          fmt::format("{:.6g}", merge.update_norm()),
          fmt::format("{:.6g}", merge.weight_norm()),
          sound ? "ok" : "CONTRADICTED",
          record.reason()};
}

// What a replay of decisions has found so far.
struct Decisions {
  DecisionReplay replay;
  Table table{{"VERSION", "PUSHES", "OUTER", "UPDATE", "WEIGHTS", "CHECKS", "DECISION"}};
  Json merges = Json::array();
  Json findings = Json::array();
  std::vector<std::string> sentences;
};

void TakeRecord(const std::string& model, const v1::EventRecord& record, Decisions* all) {
  bool sound = true;
  for (const DecisionReplay::Finding& finding : all->replay.Take(record)) {
    sound = sound && !finding.contradiction;
    all->findings.push_back({{"contradiction", finding.contradiction}, {"what", finding.what}});
    all->sentences.push_back((finding.contradiction ? "contradiction: " : "note: ") + finding.what);
  }
  if (record.number() == 0 || record.name() != "round_closed") return;
  all->table.Add(MergeRow(record, sound));
  Json merge = EventJson(model, record);
  merge["sound"] = sound;
  all->merges.push_back(std::move(merge));
}

absl::Status TakeAll(ModelEvents* events, const std::string& model, const std::optional<Version>& to,
                     Decisions* all) {
  size_t damage = 0;
  for (;;) {
    v1::EventRecord record;
    ASSIGN_OR_RETURN(const bool more, events->Next(&record));
    if (events->reader().damaged().size() > damage) all->replay.LoseTrack();
    damage = events->reader().damaged().size();
    if (!more || IsBehind(record, to)) return absl::OkStatus();
    TakeRecord(model, record, all);
  }
}

Json TotalsJson(const DecisionReplay::Totals& totals) {
  return {{"records", totals.records},
          {"merges", totals.merges},
          {"pushes", totals.pushes},
          {"dropped_rounds", totals.dropped_rounds},
          {"refused", totals.refused},
          {"missing", totals.missing},
          {"contradictions", totals.contradictions}};
}

void PrintDecisions(const std::string& model, const ModelEvents& events, const Decisions& all,
                    const Context& context) {
  const DecisionReplay::Totals& totals = all.replay.totals();
  Json out = {
      {"model", model}, {"replayed", "decisions"}, {"merges", all.merges}, {"findings", all.findings}};
  out["damaged_places"] = events.reader().damaged().size();
  out["totals"] = TotalsJson(totals);
  if (const auto& version = all.replay.version())
    out["version"] = {{"term", version->term}, {"counter", version->counter}};
  context.Print(out, all.table);
  if (context.json()) return;
  for (const std::string& sentence : all.sentences) std::cout << sentence << "\n";
  std::cout << fmt::format(
      "{} merges of {} pushes, {} refused, {} rounds without effect; {} records missing, {} "
      "damaged places, {} contradictions\n",
      totals.merges, totals.pushes, totals.refused, totals.dropped_rounds, totals.missing,
      events.reader().damaged().size(), totals.contradictions);
}

absl::Status ReplayDecisions(const ModelDirectory& model, const std::optional<Version>& to,
                             const Context& context) {
  ASSIGN_OR_RETURN(const auto events, ModelEvents::Open(FileSystem::Posix(), model));
  Decisions all;
  all.table.SetEmpty("no merges");
  RETURN_IF_ERROR(TakeAll(events.get(), model.model, to, &all));
  PrintDecisions(model.model, *events, all, context);
  const uint64_t contradictions = all.replay.totals().contradictions;
  if (contradictions == 0) return absl::OkStatus();
  return absl::DataLossError(
      fmt::format("{} contradictions in the event log of model '{}'", contradictions, model.model));
}

// --- weights ---

Json VersionJsonOf(const Version& version) { return {{"term", version.term}, {"counter", version.counter}}; }

struct ShownVersions {
  Table table;
  Json json = Json::array();
};

void ShowVersion(const ReplayedVersion& version, bool other, ShownVersions* shown) {
  Json json = {{"version", VersionJsonOf(version.version)},
               {"update_norm", NumberJson(version.update_norm)},
               {"weight_norm", NumberJson(version.weight_norm)}};
  std::vector<std::string> row = {version.version.ToString(), fmt::format("{:.6g}", version.update_norm),
                                  fmt::format("{:.6g}", version.weight_norm)};
  if (other) {
    json["distance"] = NumberJson(version.distance);
    row.push_back(fmt::format("{:.6g}", version.distance));
  }
  shown->json.push_back(std::move(json));
  shown->table.Add(std::move(row));
}

void PrintWeights(const ModelDirectory& model, const ReplayedWeights& result, const ShownVersions& shown,
                  const Context& context) {
  const Version version = result.version->version;
  Json out = {{"model", model.model},
              {"replayed", "weights"},
              {"snapshot", {{"generation", result.generation}, {"version", VersionJsonOf(result.from)}}},
              {"calls", result.calls},
              {"versions", shown.json},
              {"version", VersionJsonOf(version)},
              {"state_hash", result.state_hash}};
  if (!result.real_hash.empty()) out["real_state_hash"] = result.real_hash;
  context.Print(out, shown.table);
  if (context.json()) return;
  std::cout << fmt::format("version {}: state hash {}, from snapshot {} (version {}) and {} calls\n",
                           version.ToString(), result.state_hash, result.generation, result.from.ToString(),
                           result.calls);
  if (!result.real_hash.empty())
    std::cout << fmt::format("what happened has state hash {}\n", result.real_hash);
}

absl::Status ReplayWeights(const ModelDirectory& model, WeightReplay* replay, const ReplayRequest& request,
                           const std::optional<Version>& to, const Context& context) {
  const bool other = !request.with.empty();
  std::vector<std::string> head = {"VERSION", "UPDATE", "WEIGHTS"};
  if (other) head.push_back("DISTANCE");
  ShownVersions shown{.table = Table(head)};
  shown.table.SetEmpty("no version behind the snapshot");
  const auto show = [&](const ReplayedVersion& version) { ShowVersion(version, other, &shown); };
  ASSIGN_OR_RETURN(const ReplayedWeights result, replay->Run(to, show));
  if (!request.out.empty()) RETURN_IF_ERROR(replay->WriteFile(*result.version, request.out));
  PrintWeights(model, result, shown, context);
  return absl::OkStatus();
}

absl::Status Replay(const ReplayRequest& request, const Context& context) {
  std::optional<Version> to;
  if (!request.to.empty()) {
    const absl::StatusOr<Version> parsed = ParseVersion(request.to);
    if (!parsed.ok()) return UsageError(std::string(parsed.status().message()));
    to = *parsed;
  }
  ASSIGN_OR_RETURN(const ModelDirectory model, FindModel(request));
  std::optional<OuterChange> change;
  if (!request.with.empty()) {
    const absl::StatusOr<OuterChange> parsed = ParseOuterChange(request.with);
    if (!parsed.ok()) return UsageError(std::string(parsed.status().message()));
    change = *parsed;
  }
  if (request.decisions) return ReplayDecisions(model, to, context);
  const auto replay = WeightReplay::Open(FileSystem::Posix(), model, change);
  if (replay.ok()) return ReplayWeights(model, replay->get(), request, to, context);
  const bool asked = change.has_value() || !request.out.empty();
  if (asked || !absl::IsFailedPrecondition(replay.status())) return replay.status();
  return ReplayDecisions(model, to, context);  // all that a model without a log has
}

}  // namespace

void AddReplayCommand(CLI::App* app, Context* context) {
  const auto request = std::make_shared<ReplayRequest>();
  CLI::App* replay =
      AddCommand(app, context, "replay", "Make a model's weights again from its log, or check its decisions",
                 [=] { return Replay(*request, *context); });
  replay
      ->add_option("directory", request->directory,
                   "A server's data directory, or the directory of one model")
      ->required()
      ->check(CLI::ExistingDirectory);
  replay->add_option("--model", request->model, "Name of the model; may be left out where there is one");
  replay->add_option("--to", request->to, "As far as this version: 7, or 2.7 with the term");
  replay->add_option(
      "--with", request->with,
      "What if: another outer rule or other hyperparameters, outer=nesterov,lr=0.5,momentum=0.9");
  replay->add_option("--out", request->out, "Write the weights to this safetensors file");
  replay->add_flag("--decisions", request->decisions,
                   "Check decisions, also of a model whose weights can be made");
}

}  // namespace stepback::cli
