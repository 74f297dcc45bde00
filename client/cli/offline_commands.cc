// stepback debug log|manifest DIR, stepback snapshot verify DIR: what lies on disk, without a server. They
// only read, so they may look on while a server runs.
#include <fmt/format.h>

#include <chrono>
#include <memory>

#include "client/cli/commands.h"
#include "client/cli/json.h"
#include "client/cli/units.h"
#include "server/base/status_macros.h"
#include "server/store/disk_bandwidth.h"
#include "server/tools/call_words.h"
#include "server/tools/inspect_log.h"
#include "server/tools/inspect_snapshots.h"

namespace stepback::cli {
namespace {

std::string ShowStatus(const absl::Status& status) {
  return status.ok() ? "ok" : std::string(status.message());
}

std::string ShowWall(int64_t nanos) {
  return ShowTime(std::chrono::system_clock::time_point(
      std::chrono::duration_cast<std::chrono::system_clock::duration>(std::chrono::nanoseconds(nanos))));
}

// --- manifests ---

Json SnapshotJson(const ModelDirectory& model, const InspectedSnapshot& snapshot) {
  Json out = {{"model", model.model},
              {"generation", snapshot.generation},
              {"status", ShowStatus(snapshot.status)},
              {"damaged", absl::IsDataLoss(snapshot.status)}};
  const SnapshotMeta& meta = snapshot.manifest.meta;
  if (meta.generation == 0) return out;
  out["label"] = meta.label;
  out["version"] = {{"term", meta.term}, {"counter", meta.counter}};
  out["wall_nanos"] = meta.wall_nanos;
  out["state_bytes"] = meta.state.size();
  out["arrays"] = Json::array();
  for (const ArrayInfo& array : meta.arrays)
    out["arrays"].push_back({{"name", array.name}, {"bytes", array.bytes}});
  out["files"] = Json::array();
  for (const DataFileInfo& file : snapshot.manifest.files) {
    out["files"].push_back(
        {{"bytes", file.bytes}, {"blocks", file.block_crc32c.size()}, {"hash128", Hex(file.hash128)}});
  }
  return out;
}

void AddRow(const ModelDirectory& model, const InspectedSnapshot& snapshot, Table* table) {
  const SnapshotMeta& meta = snapshot.manifest.meta;
  const bool read = meta.generation != 0;
  table->Add({model.model, std::to_string(snapshot.generation), meta.label.empty() ? "-" : meta.label,
              read ? fmt::format("{}.{}", meta.term, meta.counter) : "-",
              read ? ShowWall(meta.wall_nanos) : "-", read ? std::to_string(meta.arrays.size()) : "-",
              read ? ShowBytes(meta.DataBytes()) : "-", ShowStatus(snapshot.status)});
}

using Inspect = absl::StatusOr<std::vector<InspectedSnapshot>> (*)(FileSystem*, const ModelDirectory&);

// Prints everything, then says how many did not verify.
absl::Status ShowSnapshots(const std::string& directory, Inspect inspect, const Context& context) {
  FileSystem* const fs = FileSystem::Posix();
  ASSIGN_OR_RETURN(const std::vector<ModelDirectory> models, FindModelDirectories(fs, directory));
  Table table({"MODEL", "GENERATION", "LABEL", "VERSION", "WRITTEN", "ARRAYS", "SIZE", "STATUS"});
  table.SetEmpty("no snapshots");
  Json snapshots = Json::array();
  size_t bad = 0, all = 0;
  for (const ModelDirectory& model : models) {
    ASSIGN_OR_RETURN(const std::vector<InspectedSnapshot> inspected, inspect(fs, model));
    for (const InspectedSnapshot& snapshot : inspected) {
      ++all;
      bad += snapshot.status.ok() ? 0 : 1;
      snapshots.push_back(SnapshotJson(model, snapshot));
      AddRow(model, snapshot, &table);
    }
  }
  context.Print({{"snapshots", snapshots}}, table);
  if (bad == 0) return absl::OkStatus();
  return absl::DataLossError(fmt::format("{} of {} snapshots in '{}' did not verify", bad, all, directory));
}

// --- the log ---

Json EntryJson(const LogEntry& entry) {
  const LogRecord& record = entry.record;
  return {{"position", entry.place.position},
          {"type", record.type},
          {"call", CallName(record)},
          {"details", CallDetails(record)},
          {"version", {{"term", record.term}, {"counter", record.counter}}},
          {"client", record.client},
          {"epoch", record.epoch},
          {"sequence", record.sequence},
          {"body_bytes", record.body.size()},
          {"payload_bytes", entry.payload_bytes},
          {"chain", fmt::format("{:08x}", entry.place.chain)}};
}

void AddRow(const std::string& model, const LogEntry& entry, Table* table) {
  const LogRecord& record = entry.record;
  table->Add({model, std::to_string(entry.place.position), CallName(record),
              fmt::format("{}.{}", record.term, record.counter), record.client.empty() ? "-" : record.client,
              std::to_string(record.epoch), std::to_string(record.sequence),
              std::to_string(entry.payload_bytes), fmt::format("{:08x}", entry.place.chain),
              CallDetails(record)});
}

Json LogJson(const InspectedLog& log) {
  Json out = {{"entries", log.entries},
              {"payload_bytes", log.payload_bytes},
              {"end", log.end.position},
              {"torn_bytes", log.report.torn_bytes},
              {"status", ShowStatus(log.status)}};
  out["segments"] = Json::array();
  for (const LogSegment& segment : log.segments) {
    out["segments"].push_back(
        {{"number", segment.number}, {"base", segment.header.base}, {"status", ShowStatus(segment.damage)}});
  }
  out["damaged"] = Json::array();
  for (const LogReport::Damage& damage : log.report.damaged)
    out["damaged"].push_back({{"position", damage.position}, {"what", damage.what}});
  return out;
}

// A row that says how a model's log ends.
void AddEndRow(const std::string& model, const InspectedLog& log, Table* table) {
  std::string how = fmt::format("end of {} entries in {} segments", log.entries, log.segments.size());
  if (log.report.torn_bytes > 0)
    how += fmt::format(", then {} bytes of an interrupted write", log.report.torn_bytes);
  if (!log.report.damaged.empty()) how += fmt::format(", {} damaged places", log.report.damaged.size());
  table->Add({model, std::to_string(log.end.position), "end", "-", "-", "-", "-", "-", "-",
              log.status.ok() ? how : ShowStatus(log.status)});
}

absl::Status ShowLog(const std::string& directory, LogRecovery recovery, const Context& context) {
  FileSystem* const fs = FileSystem::Posix();
  ASSIGN_OR_RETURN(const std::vector<ModelDirectory> models, FindModelDirectories(fs, directory));
  Table table(
      {"MODEL", "POSITION", "CALL", "VERSION", "CLIENT", "EPOCH", "SEQUENCE", "PAYLOAD", "CHAIN", "DETAILS"});
  table.SetEmpty("no log");
  Json logs = Json::array();
  size_t damaged = 0;
  for (const ModelDirectory& model : models) {
    Json entries = Json::array();
    ASSIGN_OR_RETURN(const InspectedLog log, InspectLog(fs, model, recovery, [&](const LogEntry& entry) {
                       entries.push_back(EntryJson(entry));
                       AddRow(model.model, entry, &table);
                     }));
    if (log.segments.empty()) continue;
    damaged += log.status.ok() && log.report.damaged.empty() ? 0 : 1;
    AddEndRow(model.model, log, &table);
    Json json = LogJson(log);
    json["model"] = model.model;
    json["records"] = std::move(entries);
    logs.push_back(std::move(json));
  }
  context.Print({{"logs", logs}}, table);
  if (damaged == 0) return absl::OkStatus();
  return absl::DataLossError(
      fmt::format("{} of {} logs in '{}' are damaged", damaged, logs.size(), directory));
}

// --- the disk ---

absl::Status ShowDisk(const std::string& directory, const Context& context) {
  ASSIGN_OR_RETURN(const DiskBandwidth disk,
                   MeasureDiskBandwidth(FileSystem::Posix(), directory, Clock::Real()));
  const auto pushes = static_cast<uint64_t>(disk.bytes_per_second * kDiskShareOfPushes);
  context.Say({{"bytes_per_second", disk.bytes_per_second},
               {"push_bytes_per_second", pushes},
               {"bytes_written", disk.bytes},
               {"direct_io", disk.direct_io}},
              fmt::format("{} per second with a sync every 8 MiB ({}); logged pushes may take {} of it",
                          ShowBytes(static_cast<uint64_t>(disk.bytes_per_second)),
                          disk.direct_io ? "direct I/O" : "through the page cache", ShowBytes(pushes)));
  return absl::OkStatus();
}

void AddDirectory(CLI::App* command, const std::shared_ptr<std::string>& directory) {
  command->add_option("directory", *directory, "A server's data directory, or the directory of one model")
      ->required()
      ->check(CLI::ExistingDirectory);
}

}  // namespace

void AddSnapshotVerify(CLI::App* snapshot, Context* context) {
  const auto directory = std::make_shared<std::string>();
  AddDirectory(AddCommand(snapshot, context, "verify", "Check every byte of the snapshots in a directory",
                          [=] { return ShowSnapshots(*directory, VerifySnapshots, *context); }),
               directory);
}

void AddDebugCommands(CLI::App* app, Context* context) {
  CLI::App* debug = app->add_subcommand("debug", "Show what lies in a data directory, without a server")
                        ->require_subcommand(1);
  debug->fallthrough();
  const auto directory = std::make_shared<std::string>();
  const auto recovery = std::make_shared<LogRecovery>(LogRecovery::kStrict);
  AddDirectory(AddCommand(debug, context, "manifest", "Show the manifests of snapshots",
                          [=] { return ShowSnapshots(*directory, InspectManifests, *context); }),
               directory);
  AddDirectory(AddCommand(debug, context, "disk", "Measure how fast the disk of a directory takes a log",
                          [=] { return ShowDisk(*directory, *context); }),
               directory);
  CLI::App* log = AddCommand(debug, context, "log", "Show and verify the entries of logs",
                             [=] { return ShowLog(*directory, *recovery, *context); });
  AddDirectory(log, directory);
  const std::map<std::string, LogRecovery> words = {{"strict", LogRecovery::kStrict},
                                                    {"point_in_time", LogRecovery::kPointInTime},
                                                    {"salvage", LogRecovery::kSalvage}};
  log->add_option("--recovery", *recovery,
                  "Behind damage: stop with an error, stop, or go on with what is whole")
      ->transform(CLI::CheckedTransformer(words))
      ->default_str("strict");
}

}  // namespace stepback::cli
