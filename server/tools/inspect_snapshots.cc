#include "server/tools/inspect_snapshots.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/base/status_macros.h"
#include "server/store/snapshot_reader.h"
#include "server/store/store_paths.h"

namespace stepback {

absl::StatusOr<std::vector<InspectedSnapshot>> InspectManifests(FileSystem* fs, const ModelDirectory& model) {
  ASSIGN_OR_RETURN(const std::vector<std::string> names, fs->List(model.path));
  std::vector<InspectedSnapshot> snapshots;
  SnapshotReader reader(fs, model.path, model.model);
  for (const std::string& name : names) {
    const auto generation = ParseManifestName(name);
    if (!generation.has_value()) continue;
    absl::StatusOr<Manifest> manifest = reader.ReadManifest(*generation);
    InspectedSnapshot& snapshot = snapshots.emplace_back();
    snapshot.generation = *generation;
    snapshot.status = manifest.status();
    if (manifest.ok()) snapshot.manifest = *std::move(manifest);
  }
  std::sort(snapshots.begin(), snapshots.end(),
            [](const auto& a, const auto& b) { return a.generation > b.generation; });
  return snapshots;
}

absl::StatusOr<std::vector<InspectedSnapshot>> VerifySnapshots(FileSystem* fs, const ModelDirectory& model) {
  ASSIGN_OR_RETURN(std::vector<InspectedSnapshot> snapshots, InspectManifests(fs, model));
  if (snapshots.empty())
    return absl::NotFoundError(absl::StrCat("model '", model.model, "' has no snapshot"));
  SnapshotReader reader(fs, model.path, model.model);
  for (InspectedSnapshot& snapshot : snapshots) {
    if (snapshot.status.ok()) snapshot.status = reader.Verify(snapshot.manifest);
  }
  return snapshots;
}

}  // namespace stepback
