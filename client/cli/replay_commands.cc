// stepback replay DIR --model M: goes through what a model has decided, and checks it, without a server. It
// only reads, so it may look on while a server runs.
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

namespace stepback::cli {
namespace {

struct ReplayRequest {
  std::string directory, model, to;
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

absl::Status Replay(const ReplayRequest& request, const Context& context) {
  std::optional<Version> to;
  if (!request.to.empty()) {
    const absl::StatusOr<Version> parsed = ParseVersion(request.to);
    if (!parsed.ok()) return UsageError(std::string(parsed.status().message()));
    to = *parsed;
  }
  ASSIGN_OR_RETURN(const ModelDirectory model, FindModel(request));
  return ReplayDecisions(model, to, context);
}

}  // namespace

void AddReplayCommand(CLI::App* app, Context* context) {
  const auto request = std::make_shared<ReplayRequest>();
  CLI::App* replay = AddCommand(app, context, "replay", "Go through what a model has decided, and check it",
                                [=] { return Replay(*request, *context); });
  replay
      ->add_option("directory", request->directory,
                   "A server's data directory, or the directory of one model")
      ->required()
      ->check(CLI::ExistingDirectory);
  replay->add_option("--model", request->model, "Name of the model; may be left out where there is one");
  replay->add_option("--to", request->to, "As far as this version: 7, or 2.7 with the term");
}

}  // namespace stepback::cli
