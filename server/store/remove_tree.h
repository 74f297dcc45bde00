// Removes a directory and the files in it, one level of sub-directories deep: a model holds snapshots, which
// hold files.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "server/store/file_system.h"

namespace stepback {

// Removes as much as it can and returns the first error. A path that is not there is fine.
absl::Status RemoveTree(FileSystem* fs, const std::string& path);

}  // namespace stepback
