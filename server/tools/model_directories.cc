#include "server/tools/model_directories.h"

#include <algorithm>
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "server/base/status_macros.h"
#include "server/store/store_paths.h"

namespace stepback {
namespace {

std::string WithoutSlash(absl::string_view path) {
  while (path.size() > 1 && absl::ConsumeSuffix(&path, "/")) {
  }
  return std::string(path);
}

bool IsModelFile(const std::string& name) {
  return ParseManifestName(name).has_value() || ParseTermName(name).has_value() ||
         ParseLogSegmentName(name).has_value() || ParseEventFileName(name).has_value();
}

absl::StatusOr<std::vector<ModelDirectory>> AllOf(FileSystem* fs, const std::string& models) {
  ASSIGN_OR_RETURN(const std::vector<std::string> ids, fs->List(models));
  std::vector<ModelDirectory> found;
  for (const std::string& id : ids) {
    if (const auto name = UnescapeModelId(id)) found.push_back({*name, JoinPath(models, id)});
  }
  return found;
}

}  // namespace

absl::StatusOr<std::vector<ModelDirectory>> FindModelDirectories(FileSystem* fs, const std::string& path) {
  const std::string directory = WithoutSlash(path);
  ASSIGN_OR_RETURN(const std::vector<std::string> names, fs->List(directory));
  if (std::binary_search(names.begin(), names.end(), "models")) return AllOf(fs, ModelsDirectory(directory));
  const std::string id = directory.substr(directory.find_last_of('/') + 1);
  const std::optional<std::string> model = UnescapeModelId(id);
  if (model.has_value() && std::any_of(names.begin(), names.end(), IsModelFile)) {
    return std::vector<ModelDirectory>{{*model, directory}};
  }
  return absl::InvalidArgumentError(
      absl::StrCat("'", path, "' is neither a data directory (it has no models/) nor a model's directory"));
}

}  // namespace stepback
