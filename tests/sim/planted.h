// Bugs planted on purpose, to show that the simulator finds their kind: it is given one by name and must
// fail.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "server/store/file_system.h"

namespace stepback::sim {

// Names of all of them.
std::vector<std::string> PlantedBugs();
bool IsPlanted(const std::string& name);
void Unplant();
// For the whole process, until Unplant; NOT_FOUND names those that there are.
absl::Status Plant(const std::string& name);

// `disk`, or a file system that lies about it when the planted bug is of the disk's kind. `disk` outlives it.
std::unique_ptr<FileSystem> MakePlantedFileSystem(FileSystem* disk);

}  // namespace stepback::sim
