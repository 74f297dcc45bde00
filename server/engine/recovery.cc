#include "server/engine/recovery.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "server/base/errors.h"
#include "server/base/status_macros.h"
#include "server/core/spec_check.h"
#include "server/engine/creation_check.h"
#include "server/engine/model_image.h"
#include "server/engine/model_log.h"
#include "server/store/model_store.h"
#include "server/telemetry/log.h"

namespace stepback {
namespace {

void ReportDamage(const std::string& name, const LoadReport& report, telemetry::ModelMetrics* metrics) {
  for (const LoadReport::Damage& damage : report.damaged) {
    metrics->OnCheckpointFailure(telemetry::CheckpointOp::kRestore, telemetry::CheckpointFailure::kCorrupt);
    Log(LogLevel::kError, "snapshot_damaged",
        {{"model", name}, {"generation", damage.generation}, {"what", damage.what}});
  }
}

// Generations that nobody can read any more still carry terms that readers may have seen.
absl::StatusOr<uint64_t> RaiseTerm(ModelStore* store, uint64_t image_term) {
  const uint64_t term = std::max(store->term(), image_term) + 1;
  RETURN_IF_ERROR(store->RaiseTerm(term));
  return term;
}

SnapshotInfo SavedAs(const SnapshotMeta& meta, const ModelVersion& version) {
  return {.generation = meta.generation,
          .label = meta.label,
          .version = version.version,
          .wall_nanos = meta.wall_nanos,
          .bytes = meta.DataBytes(),
          .inner_steps = version.inner_steps,
          .outer_steps = version.outer_steps,
          .samples = version.samples};
}

}  // namespace

absl::StatusOr<std::shared_ptr<ModelWorker>> RecoverModel(const std::shared_ptr<Runtime>& runtime,
                                                          const std::string& name) {
  const TimePoint began = runtime->clock()->Now();
  const std::shared_ptr<telemetry::ModelMetrics> metrics = runtime->metrics()->ForModel(name);
  ASSIGN_OR_RETURN(std::unique_ptr<ModelStore> store,
                   ModelStore::Open(runtime->file_system(), runtime->options().data_dir, name, {}));
  for (const std::string& swept : store->swept())
    Log(LogLevel::kInfo, "leftover_removed", {{"model", name}, {"name", swept}});
  ImageLoader loader(runtime->backend(), runtime->pool());
  LoadReport report;
  const absl::StatusOr<SnapshotMeta> meta = store->LoadLatest(loader.allocator(), &report);
  ReportDamage(name, report, metrics.get());
  RETURN_IF_ERROR(meta.status());
  ASSIGN_OR_RETURN(LoadedImage image, loader.Finish(*meta));
  RETURN_IF_ERROR(CheckDevice(*image.version->spec, *runtime->backend()));
  ASSIGN_OR_RETURN(const uint64_t budget, StagingBudget(*image.version->spec, *image.version->layout));
  ModelWorker::Parts parts{.runtime = runtime,
                           .budget_bytes = budget,
                           .created_wall_nanos = image.created_wall_nanos,
                           .saved = SavedAs(*meta, *image.version),
                           .saved_settings_version = image.version->settings_version};
  uint64_t calls = 0;
  if (image.version->spec->durability == Durability::kPush) {
    if (image.open) parts.saved_log_position = image.open->place.end;
    ASSIGN_OR_RETURN(RecoveredModel recovered,
                     RecoverFromLog(runtime.get(), store.get(), std::move(image), metrics));
    parts.model = std::move(recovered.model);
    parts.log = std::move(recovered.log);
    calls = recovered.calls;
  } else {
    ASSIGN_OR_RETURN(const uint64_t term, RaiseTerm(store.get(), image.version->version.term));
    ASSIGN_OR_RETURN(parts.model,
                     Model::FromImage(image.version, term, {runtime->backend(), runtime->executor()}));
  }
  parts.store = std::move(store);
  const double seconds = std::chrono::duration<double>(runtime->clock()->Now() - began).count();
  metrics->OnCheckpoint(telemetry::CheckpointOp::kRestore, seconds);
  Log(LogLevel::kInfo, "model_recovered",
      {{"model", name},
       {"version", parts.model->current()->version.ToString()},
       {"generation", meta->generation},
       {"damaged_generations", report.damaged.size()},
       {"calls_from_log", calls},
       {"seconds", seconds}});
  return ModelWorker::Make(std::move(parts));
}

}  // namespace stepback
