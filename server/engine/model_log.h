// The log of a model of durability PUSH on its disk: made with the model, and found again by a recovery,
// which brings the model from a snapshot to the last call that was logged (decision record 107).
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "server/core/model.h"
#include "server/engine/journal.h"
#include "server/engine/model_image.h"
#include "server/engine/runtime.h"
#include "server/store/model_store.h"

namespace stepback {

// What a model's worker goes on with.
struct ModelLog {
  std::shared_ptr<GroupLog> log;
  Journal::Options journal;
  // What the snapshots on disk need of the log: position by generation, labelled ones left out.
  std::map<uint64_t, uint64_t> needed;
  // Snapshots that calls in the log restored, by the position of the call.
  std::map<uint64_t, uint64_t> restored;
};

// Of a new model, in the directory of its store. RESOURCE_EXHAUSTED(DISK_FULL).
absl::StatusOr<ModelLog> CreateLog(Runtime* runtime, const ModelStore* store, const ModelSpec& spec,
                                   const std::shared_ptr<telemetry::ModelMetrics>& metrics);

// FAILED_PRECONDITION(NO_DATA_DIR) for a model with a log on a server that keeps nothing;
// FAILED_PRECONDITION(DISK_TOO_SLOW) when spec.expected_push_bytes_per_s is more than kDiskShareOfPushes of
// what the disk takes. Blocks for half a second when the disk was not measured before.
absl::Status CheckDisk(Runtime* runtime, const ModelSpec& spec);

struct RecoveredModel {
  std::unique_ptr<Model> model;
  ModelLog log;
  uint64_t calls = 0;  // made again
};
// From `image` on. Every version that was published before is as it was; the term that the model is in
// afterwards is durable. DATA_LOSS(LOG_DAMAGED) when the log is damaged and the server runs with strict
// recovery; otherwise what could not be read is reported, and the outcome is a snapshot of its own.
absl::StatusOr<RecoveredModel> RecoverFromLog(Runtime* runtime, ModelStore* store, LoadedImage image,
                                              const std::shared_ptr<telemetry::ModelMetrics>& metrics);

}  // namespace stepback
