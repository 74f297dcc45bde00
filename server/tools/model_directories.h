// Which models a directory holds, for commands that look at files without a server. Reads only: takes no
// lock, removes nothing, so that it may look on while a server runs.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "server/store/file_system.h"

namespace stepback {

struct ModelDirectory {
  std::string model;  // its name
  std::string path;
};

// `path` is a server's data directory (all its models, by name) or the directory of one model. NOT_FOUND;
// INVALID_ARGUMENT when it is neither.
absl::StatusOr<std::vector<ModelDirectory>> FindModelDirectories(FileSystem* fs, const std::string& path);

}  // namespace stepback
