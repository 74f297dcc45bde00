// The directory that holds all models of one server. Free functions work on it; DataDirectory is the server's
// claim.
//
//   ASSIGN_OR_RETURN(auto claim, DataDirectory::Open(fs, data_dir));     // FAILED_PRECONDITION: another
//   server has it ASSIGN_OR_RETURN(std::vector<std::string> names, ListModels(fs, data_dir));
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/store/file_system.h"

namespace stepback {

class DataDirectory {
 public:
  // Creates `data_dir` when it is not there, locks it, and finishes removals that a crash interrupted.
  static absl::StatusOr<std::unique_ptr<DataDirectory>> Open(FileSystem* fs, const std::string& data_dir);

 private:
  explicit DataDirectory(std::unique_ptr<FileLock> lock) : lock_(std::move(lock)) {}
  std::unique_ptr<FileLock> lock_;
};

// Names of the models that have at least one snapshot (readable or not), sorted.
absl::StatusOr<std::vector<std::string>> ListModels(FileSystem* fs, const std::string& data_dir);

// Removes a model and all its snapshots: renamed aside, made durable, then deleted; a crash leaves the whole
// model or none of it. NOT_FOUND; FAILED_PRECONDITION while a ModelStore has it open.
absl::Status RemoveModel(FileSystem* fs, const std::string& data_dir, const std::string& model_name);

}  // namespace stepback
