// Makes the weights of a model of durability PUSH again, bit for bit, from its oldest snapshot and its log,
// by the calls of a recovery (engine/replay.h); or what they would have become under another outer rule.
// Reads only: no lock, no term, no file of the model is touched.
//
//   ASSIGN_OR_RETURN(auto replay, WeightReplay::Open(fs, model, {}));
//   ASSIGN_OR_RETURN(ReplayedWeights result, replay->Run(to, [](const ReplayedVersion& version) { ... }));
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "kernels/backend.h"
#include "server/base/pool.h"
#include "server/base/thread_executor.h"
#include "server/core/model.h"
#include "server/engine/log_history.h"
#include "server/engine/model_image.h"
#include "server/store/file_system.h"
#include "server/tools/model_directories.h"

namespace stepback {

// "outer=nesterov,lr=0.5,momentum=0.9": another outer rule, or other hyperparameters of the same one.
struct OuterChange {
  std::string rule;  // empty: the model's
  std::map<std::string, double> values;
};
absl::StatusOr<OuterChange> ParseOuterChange(const std::string& text);

struct ReplayedVersion {
  Version version;
  double update_norm = 0, weight_norm = 0;
  double distance = 0;  // |phi - phi of what happened|, with another rule
};

struct ReplayedWeights {
  uint64_t generation = 0;  // of the snapshot
  Version from;
  std::shared_ptr<const ModelVersion> version;  // valid while the replay lives
  std::string state_hash;                       // hex, as Model::StateHash
  std::string real_hash;                        // with another rule: of what happened
  uint64_t calls = 0;
};

class WeightReplay {
 public:
  // FAILED_PRECONDITION when the model keeps no log; DATA_LOSS when snapshot or log are damaged;
  // INVALID_ARGUMENT when the model cannot have that rule.
  static absl::StatusOr<std::unique_ptr<WeightReplay>> Open(FileSystem* fs, const ModelDirectory& model,
                                                            const std::optional<OuterChange>& change);

  ~WeightReplay();

  // Once. `seen` is called for each version in turn. Without `to`, as far as the log goes. NOT_FOUND when it
  // does not reach `to` (term 0: of any term), or begins behind it.
  absl::StatusOr<ReplayedWeights> Run(const std::optional<Version>& to,
                                      const std::function<void(const ReplayedVersion&)>& seen);
  // The slow weights of a version as a safetensors file: fp32, carried tensors as they are.
  absl::Status WriteFile(const ModelVersion& version, const std::string& path) const;

 private:
  struct Line;  // one trajectory
  WeightReplay(FileSystem* fs, const ModelDirectory& model);

  absl::Status FindSnapshot();
  absl::StatusOr<LoadedImage> Load(uint64_t generation);
  absl::StatusOr<std::unique_ptr<Line>> Begin(const std::optional<OuterChange>& change);
  absl::StatusOr<double> Distance(const Array& a, const Array& b) const;
  absl::Status Compare(Line* line, const Line* real, const std::function<void(const ReplayedVersion&)>& seen);

  FileSystem* const fs_;
  const ModelDirectory model_;
  BufferPool pool_{BufferPool::Options{}};
  const std::unique_ptr<kernels::Backend> backend_;
  ThreadExecutor executor_;
  const LogFiles files_;
  uint64_t generation_ = 0;
  LoadedImage image_;
  LogScan scan_;
  std::unique_ptr<Line> real_, other_;
};

}  // namespace stepback
