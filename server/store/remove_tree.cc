#include "server/store/remove_tree.h"

#include "server/store/store_paths.h"

namespace stepback {
namespace {

constexpr int kDepthMax = 2;

absl::Status Remove(FileSystem* fs, const std::string& path, int depth) {
  const absl::StatusOr<std::vector<std::string>> names = fs->List(path);
  if (absl::IsNotFound(names.status())) return absl::OkStatus();
  if (!names.ok()) return names.status();
  absl::Status first_error;
  for (const std::string& name : *names) {
    const std::string child = JoinPath(path, name);
    absl::Status status = fs->RemoveFile(child);
    // Refused: a directory, or a real error.
    const bool is_directory = !status.ok() && depth > 0 && fs->List(child).ok();
    if (is_directory) status = Remove(fs, child, depth - 1);
    first_error.Update(status);
  }
  first_error.Update(fs->RemoveDirectory(path));
  return first_error;
}

}  // namespace

absl::Status RemoveTree(FileSystem* fs, const std::string& path) { return Remove(fs, path, kDepthMax); }

}  // namespace stepback
