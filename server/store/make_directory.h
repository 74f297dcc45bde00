// Makes one directory durable: created when it is not there, and its name synced either way.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "server/base/failpoint.h"
#include "server/base/status_macros.h"
#include "server/store/file_system.h"

namespace stepback {

inline absl::Status MakeDirectory(FileSystem* fs, const std::string& path) {
  FAILPOINT("directory.before_create");
  const absl::Status made = fs->CreateDirectory(path);
  FAILPOINT("directory.after_create");
  if (!made.ok() && !absl::IsAlreadyExists(made)) return made;
  const size_t slash = path.find_last_of('/');
  const std::string parent = slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
  // Also when it was there: a crash may have come between its creation and its sync.
  return fs->SyncDirectory(parent);
}

}  // namespace stepback
