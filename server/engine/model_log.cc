#include "server/engine/model_log.h"

#include <fmt/format.h>

#include <algorithm>
#include <random>
#include <utility>

#include "server/base/errors.h"
#include "server/base/failpoint.h"
#include "server/base/status_macros.h"
#include "server/engine/log_history.h"
#include "server/engine/replay.h"
#include "server/store/disk_bandwidth.h"
#include "server/store/log_reader.h"
#include "server/store/log_segments.h"
#include "server/telemetry/log.h"

namespace stepback {
namespace {

absl::Status WithLogReason(const std::string& model, const absl::Status& status) {
  if (!absl::IsDataLoss(status) || !ReasonOf(status).empty()) return status;
  return Error(status.code(), "LOG_DAMAGED",
               fmt::format("model '{}': {} (a server with --recovery=point_in_time or salvage reads what is "
                           "left)",
                           model, std::string(status.message())));
}

uint32_t NewSalt() {
  std::random_device random;
  return std::max<uint32_t>(random(), 1);
}

LogFiles FilesOf(Runtime* runtime, const ModelStore* store, const std::string& model) {
  return {runtime->file_system(), store->directory(), model, runtime->options().recovery, runtime->pool()};
}

absl::StatusOr<std::unique_ptr<LogWriter>> OpenWriter(Runtime* runtime, const LogFiles& files,
                                                      const LogEnd& end) {
  return LogWriter::Open(files.fs, files.directory, files.model, end,
                         {.segment_bytes = runtime->options().log_segment_bytes,
                          .salt = NewSalt(),
                          .allocator = runtime->pool()});
}

std::shared_ptr<GroupLog> Share(Runtime* runtime, std::unique_ptr<LogWriter> writer,
                                const std::shared_ptr<telemetry::ModelMetrics>& metrics) {
  return std::make_shared<GroupLog>(
      runtime->log(), std::move(writer), [metrics](const GroupLog::Batch& batch) {
        metrics->OnLogWrite(batch.entries, batch.payload_bytes,
                            std::chrono::duration<double>(batch.took).count(), batch.status.ok());
      });
}

// Every push that the open state names, in place.
template <typename Visit>
void VisitPushes(OpenState* state, Visit visit) {
  for (auto& [id, client] : state->sessions) {
    for (OpenState::Held& held : client.held) visit(&held.push);
  }
  for (OpenState::OpenRound& round : state->rounds) {
    for (OpenState::Member& member : round.members)
      if (!member.skipped) visit(&member.push);
  }
}

// What the log has lost of it, with the operator's consent: named, and taken out.
void DropLost(const LogFiles& files, OpenState* state) {
  const auto lost = [&](const PushRef& push) {
    const absl::Status found = FetchPush(files, push).status();
    if (!absl::IsDataLoss(found)) return false;
    Log(LogLevel::kError, "push_lost",
        {{"model", files.model},
         {"client", push.client_id},
         {"sequence", push.sequence},
         {"error", std::string(found.message())}});
    return true;
  };
  for (auto& [id, client] : state->sessions) {
    std::erase_if(client.held, [&](const OpenState::Held& held) { return lost(held.push); });
    if (client.held.empty()) client.excused.reset();
  }
  for (uint32_t number = 0; number < state->rounds.size(); ++number) {
    std::erase_if(state->rounds[number].members, [&](const OpenState::Member& member) {
      if (member.skipped || !lost(member.push)) return false;
      state->sessions[member.push.client_id].contributed.erase(number);
      return true;
    });
  }
}

// --- going on ---

// An entry of the recovery itself; nobody else writes yet.
absl::StatusOr<LogPlace> WriteNow(LogWriter* writer, const LogAppend& append) {
  const LogAppend* const entry = &append;
  std::vector<LogPlace> places;
  RETURN_IF_ERROR(writer->Write({&entry, 1}, &places));
  return places.front();
}

void ReportLog(const std::string& model, const LogReport& report, telemetry::ModelMetrics* metrics) {
  if (report.torn_bytes > 0) {
    Log(LogLevel::kInfo, "log_tail_dropped",
        {{"model", model}, {"position", report.torn_at}, {"bytes", report.torn_bytes}});
  }
  for (const LogReport::Damage& damage : report.damaged) {
    metrics->OnCheckpointFailure(telemetry::CheckpointOp::kRestore, telemetry::CheckpointFailure::kCorrupt);
    Log(LogLevel::kError, "log_damaged",
        {{"model", model}, {"position", damage.position}, {"what", damage.what}});
  }
}

absl::StatusOr<std::map<uint64_t, uint64_t>> NeededBySnapshots(ModelStore* store) {
  std::map<uint64_t, uint64_t> needed;
  LoadReport unreadable;
  ASSIGN_OR_RETURN(const std::vector<SnapshotMeta> metas, store->List(&unreadable));
  for (const SnapshotMeta& meta : metas) {
    if (!meta.label.empty()) continue;
    ASSIGN_OR_RETURN(const SnapshotMeta whole, store->Describe(meta.generation));
    const auto position = OldestNeededBy(whole);
    if (position.ok() && position->has_value()) needed[meta.generation] = **position;
  }
  return needed;
}

class LogRecoverer {
 public:
  LogRecoverer(Runtime* runtime, ModelStore* store, LoadedImage image, telemetry::ModelMetrics* metrics)
      : runtime_(runtime),
        files_(FilesOf(runtime, store, image.version->spec->name)),
        store_(store),
        image_(std::move(image)),
        metrics_(metrics),
        environment_{runtime->backend(), runtime->executor()} {}

  absl::StatusOr<RecoveredModel> Recover(const std::shared_ptr<telemetry::ModelMetrics>& metrics);

 private:
  absl::Status ReadLog(LogScan* scan);
  absl::Status Reopen();
  absl::Status MakeCallsAgain(const LogScan& scan);
  absl::StatusOr<std::shared_ptr<const ModelVersion>> LoadImage(uint64_t generation);
  absl::Status BeginTerm();
  absl::Status CarryOver();
  absl::Status SaveBehindAll();
  Model::FetchPush fetch() const {
    return [this](const PushRef& push) { return FetchPush(files_, push); };
  }
  bool damaged() const { return !report_.damaged.empty(); }

  Runtime* const runtime_;
  const LogFiles files_;
  ModelStore* const store_;
  LoadedImage image_;  // until the model has it: versions that nobody needs make room for new ones
  telemetry::ModelMetrics* const metrics_;
  const Model::Environment environment_;

  TimePoint origin_;
  Duration time_{};
  std::unique_ptr<Model> model_;
  std::unique_ptr<LogWriter> writer_;
  LogReport report_;
  LogEnd end_;
  LogPlace place_;
  uint64_t calls_ = 0;
  std::map<uint64_t, uint64_t> needed_;
};

absl::StatusOr<RecoveredModel> LogRecoverer::Recover(
    const std::shared_ptr<telemetry::ModelMetrics>& metrics) {
  LogScan scan;
  if (const absl::Status read = ReadLog(&scan); !read.ok()) return WithLogReason(files_.model, read);
  ASSIGN_OR_RETURN(writer_, OpenWriter(runtime_, files_, end_));
  if (damaged()) {
    RETURN_IF_ERROR(CarryOver());
  } else if (end_.last_segment > 0) {
    TrimLogSegment(runtime_->file_system(), files_.directory, files_.model, end_.last_segment,
                   end_.position - end_.tail_bytes);
  }
  RETURN_IF_ERROR(BeginTerm());
  if (damaged()) {
    RETURN_IF_ERROR(SaveBehindAll());
  } else {
    ASSIGN_OR_RETURN(needed_, NeededBySnapshots(store_));
  }
  return RecoveredModel{.model = std::move(model_),
                        .log = {.log = Share(runtime_, std::move(writer_), metrics),
                                .journal = {.model = files_.model,
                                            .clock = runtime_->clock(),
                                            .origin = origin_,
                                            .end = place_,
                                            .time = time_},
                                .needed = std::move(needed_),
                                .restored = std::move(scan.restored)},
                        .calls = calls_};
}

absl::Status LogRecoverer::ReadLog(LogScan* scan) {
  ASSIGN_OR_RETURN(*scan, ScanLog(files_, *image_.open));
  time_ = scan->time;
  origin_ = runtime_->clock()->Now() - time_;
  RETURN_IF_ERROR(Reopen());
  return MakeCallsAgain(*scan);
}

absl::Status LogRecoverer::Reopen() {
  OpenState state = std::exchange(image_.open->state, {});
  if (runtime_->options().recovery != LogRecovery::kStrict) DropLost(files_, &state);
  ShiftTimes(origin_.time_since_epoch(), &state);
  ASSIGN_OR_RETURN(model_,
                   Model::FromImage(std::exchange(image_.version, nullptr), state, fetch(), environment_));
  return absl::OkStatus();
}

absl::Status LogRecoverer::MakeCallsAgain(const LogScan& scan) {
  Replay replay(model_.get(), environment_.backend, origin_, scan.failures,
                [this](uint64_t generation) { return LoadImage(generation); });
  const auto make = [&](const LoggedCall& call, LogEntry entry) -> absl::StatusOr<bool> {
    RETURN_IF_ERROR(replay.Make(call, std::move(entry)));
    ++calls_;
    FAILPOINT("replay.after_call");
    return true;
  };
  ASSIGN_OR_RETURN(const auto reader, ReadCalls(files_, *image_.open, make));
  report_ = reader->report();
  ReportLog(files_.model, report_, metrics_);
  end_ = reader->end();
  if (!damaged()) return absl::OkStatus();
  ASSIGN_OR_RETURN(end_, reader->EndBeyondAll());
  return absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<const ModelVersion>> LogRecoverer::LoadImage(uint64_t generation) {
  ImageLoader loader(environment_.backend, runtime_->pool());
  ASSIGN_OR_RETURN(const SnapshotMeta meta, store_->Load(generation, loader.allocator()));
  ASSIGN_OR_RETURN(const LoadedImage image, loader.Finish(meta));
  return image.version;
}

// Durable as a file and as a call before anybody sees the model.
absl::Status LogRecoverer::BeginTerm() {
  const uint64_t term = std::max(store_->term(), model_->current()->version.term) + 1;
  FAILPOINT("replay.before_term");
  RETURN_IF_ERROR(store_->RaiseTerm(term));
  time_ = std::max(time_, runtime_->clock()->Now() - origin_);
  const LoggedCall call{.time = time_, .call = LoggedTerm{term}};
  ASSIGN_OR_RETURN(place_, WriteNow(writer_.get(), {.record = RecordOf(call, model_->current()->version)}));
  FAILPOINT("replay.after_term");
  return model_->RaiseTerm(term, origin_ + time_).status();
}

// The pushes that are open are the only ones that are still needed of a log that is put aside: they go into
// the new one first.
absl::Status LogRecoverer::CarryOver() {
  OpenState state = model_->open_state();
  absl::Status carried;
  VisitPushes(&state, [&](PushRef* ref) {
    if (!carried.ok()) return;
    const absl::StatusOr<Push> push = FetchPush(files_, *ref);
    carried = push.status();
    if (!carried.ok()) return;
    const LoggedCall call{.time = time_, .call = LoggedPush{push->header, push->finite}};
    const absl::StatusOr<LogPlace> place = WriteNow(
        writer_.get(), {.record = RecordOf(call, model_->current()->version), .payload = push->payload});
    carried = place.status();
    if (carried.ok()) ref->log_position = place->position;
  });
  RETURN_IF_ERROR(carried);
  const std::shared_ptr<const ModelVersion> current = model_->current();
  ASSIGN_OR_RETURN(model_, Model::FromImage(current, state, fetch(), environment_));
  return absl::OkStatus();
}

absl::Status LogRecoverer::SaveBehindAll() {
  OpenPlace open{.state = model_->open_state(), .place = place_, .time = time_};
  ShiftTimes(-origin_.time_since_epoch(), &open.state);
  const ModelVersion& version = *model_->current();
  const SnapshotMeta meta{.term = version.version.term,
                          .counter = version.version.counter,
                          .wall_nanos = runtime_->clock()->WallNanos(),
                          .state = ImageRecord(version, image_.created_wall_nanos, &open)};
  ASSIGN_OR_RETURN(const Written written,
                   store_->Write(meta, ImageArrays(version, environment_.backend, &open),
                                 {.allocator = runtime_->pool()}));
  needed_[written.meta.generation] = OldestNeeded(open);
  Log(LogLevel::kWarn, "log_set_aside",
      {{"model", files_.model},
       {"up_to_segment", end_.last_segment},
       {"generation", written.meta.generation},
       {"version", version.version.ToString()}});
  return SetLogSegmentsAside(runtime_->file_system(), files_.directory, end_.last_segment);
}

}  // namespace

absl::StatusOr<ModelLog> CreateLog(Runtime* runtime, const ModelStore* store, const ModelSpec& spec,
                                   const std::shared_ptr<telemetry::ModelMetrics>& metrics) {
  const LogFiles files = FilesOf(runtime, store, spec.name);
  // Of an earlier attempt that a crash ended before the model was there.
  RETURN_IF_ERROR(RemoveLogSegments(runtime->file_system(), files.directory));
  absl::StatusOr<std::unique_ptr<LogWriter>> writer = OpenWriter(runtime, files, {});
  if (absl::IsResourceExhausted(writer.status())) {  // also for memory, whose status does not name the model
    const std::string reason = ReasonOf(writer.status());
    return WithRetryAfter(
        Error(absl::StatusCode::kResourceExhausted, reason.empty() ? "DISK_FULL" : reason,
              fmt::format("model '{}': {}", spec.name, std::string(writer.status().message()))),
        10);
  }
  RETURN_IF_ERROR(writer.status());
  return ModelLog{
      .log = Share(runtime, *std::move(writer), metrics),
      .journal = {.model = spec.name, .clock = runtime->clock(), .origin = runtime->clock()->Now()}};
}

absl::Status CheckDisk(Runtime* runtime, const ModelSpec& spec) {
  if (spec.durability != Durability::kPush) return absl::OkStatus();
  if (!runtime->has_storage()) {
    return Error(absl::StatusCode::kFailedPrecondition, "NO_DATA_DIR",
                 fmt::format("model '{}': durability PUSH needs a server with a data directory", spec.name));
  }
  if (spec.expected_push_bytes_per_s == 0) return absl::OkStatus();
  ASSIGN_OR_RETURN(const double bandwidth, runtime->DiskBandwidth());
  const double most = kDiskShareOfPushes * bandwidth;
  if (spec.expected_push_bytes_per_s <= most) return absl::OkStatus();
  return WithField(
      Error(absl::StatusCode::kFailedPrecondition, "DISK_TOO_SLOW",
            fmt::format(
                "model '{}': spec.expected_push_bytes_per_s is {:.0f}, at most {:.0f} may be: {} of the "
                "{:.0f} bytes per second that the data directory's disk takes",
                spec.name, spec.expected_push_bytes_per_s, most, kDiskShareOfPushes, bandwidth),
            {{"bytes_per_second", fmt::format("{:.0f}", bandwidth)}}),
      "spec.expected_push_bytes_per_s");
}

absl::StatusOr<RecoveredModel> RecoverFromLog(Runtime* runtime, ModelStore* store, LoadedImage image,
                                              const std::shared_ptr<telemetry::ModelMetrics>& metrics) {
  if (!image.open) {
    return Error(absl::StatusCode::kDataLoss, "IMAGE_DAMAGED",
                 fmt::format("model '{}': its snapshot does not say where its log goes on",
                             image.version->spec->name));
  }
  return LogRecoverer(runtime, store, std::move(image), metrics.get()).Recover(metrics);
}

}  // namespace stepback
