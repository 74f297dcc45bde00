#include "server/store/data_directory.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "server/base/failpoint.h"
#include "server/base/status_macros.h"
#include "server/store/make_directory.h"
#include "server/store/remove_tree.h"
#include "server/store/store_paths.h"

namespace stepback {
namespace {

absl::StatusOr<bool> HasSnapshot(FileSystem* fs, const std::string& model_directory) {
  ASSIGN_OR_RETURN(const std::vector<std::string> names, fs->List(model_directory));
  return std::any_of(names.begin(), names.end(),
                     [](const std::string& name) { return ParseManifestName(name).has_value(); });
}

// A name next to `id` that is not taken: an earlier removal of the same model may have left one.
std::string AsideName(const std::vector<std::string>& taken, const std::string& id) {
  for (int k = 0;; ++k) {
    std::string aside = absl::StrCat(kRemovedPrefix, k, "-", id);
    if (!std::binary_search(taken.begin(), taken.end(), aside)) return aside;
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<DataDirectory>> DataDirectory::Open(FileSystem* fs,
                                                                   const std::string& data_dir) {
  RETURN_IF_ERROR(MakeDirectory(fs, data_dir));
  FAILPOINT("lock.before_data_directory");
  ASSIGN_OR_RETURN(auto lock, fs->Lock(JoinPath(data_dir, kLockName)));
  FAILPOINT("lock.after_data_directory");
  const std::string models = ModelsDirectory(data_dir);
  RETURN_IF_ERROR(MakeDirectory(fs, models));
  ASSIGN_OR_RETURN(const std::vector<std::string> names, fs->List(models));
  std::vector<std::string> removed;
  std::copy_if(names.begin(), names.end(), std::back_inserter(removed),
               [](const std::string& name) { return absl::StartsWith(name, kRemovedPrefix); });
  // A kill may have come between the renaming and its sync: then the disk still knows the model.
  if (!removed.empty()) RETURN_IF_ERROR(fs->SyncDirectory(models));
  for (const std::string& name : removed) RETURN_IF_ERROR(RemoveTree(fs, JoinPath(models, name)));
  return std::unique_ptr<DataDirectory>(new DataDirectory(std::move(lock)));
}

absl::StatusOr<std::vector<std::string>> ListModels(FileSystem* fs, const std::string& data_dir) {
  const std::string models = ModelsDirectory(data_dir);
  const absl::StatusOr<std::vector<std::string>> ids = fs->List(models);
  if (absl::IsNotFound(ids.status())) return std::vector<std::string>();
  RETURN_IF_ERROR(ids.status());
  std::vector<std::string> found;
  for (const std::string& id : *ids) {
    const std::optional<std::string> name = UnescapeModelId(id);
    if (!name.has_value()) continue;  // not ours
    ASSIGN_OR_RETURN(const bool has_snapshot, HasSnapshot(fs, JoinPath(models, id)));
    if (has_snapshot) found.push_back(*name);
  }
  std::sort(found.begin(), found.end());
  return found;
}

absl::Status RemoveModel(FileSystem* fs, const std::string& data_dir, const std::string& model_name) {
  ASSIGN_OR_RETURN(const std::string id, EscapeModelName(model_name));
  const std::string models = ModelsDirectory(data_dir);
  const std::string directory = JoinPath(models, id);
  ASSIGN_OR_RETURN(const std::vector<std::string> taken, fs->List(models));
  if (!std::binary_search(taken.begin(), taken.end(), id)) {
    // Perhaps moved aside by an attempt whose sync failed: gone for this process, not yet for the disk.
    RETURN_IF_ERROR(fs->SyncDirectory(models));
    return absl::NotFoundError(absl::StrCat("model '", model_name, "' is not in '", data_dir, "'"));
  }
  ASSIGN_OR_RETURN(const auto lock, fs->Lock(JoinPath(directory, kLockName)));
  const std::string aside = JoinPath(models, AsideName(taken, id));
  FAILPOINT("delete.before_rename");
  RETURN_IF_ERROR(fs->Rename(directory, aside));
  FAILPOINT("delete.after_rename");
  RETURN_IF_ERROR(fs->SyncDirectory(models));
  FAILPOINT("delete.after_sync");
  return RemoveTree(fs, aside);
}

}  // namespace stepback
