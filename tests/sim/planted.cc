#include "tests/sim/planted.h"

#include <fmt/format.h>

#include <algorithm>

#include "server/base/failpoint.h"

namespace stepback::sim {
namespace {

std::string planted;  // NOLINT: one bug per process

// Says that everything is on disk, and syncs nothing.
class LyingFile final : public WritableFile {
 public:
  explicit LyingFile(std::unique_ptr<WritableFile> file) : file_(std::move(file)) {}
  absl::Status Append(std::span<const std::byte> bytes) override { return file_->Append(bytes); }
  absl::Status WriteAt(uint64_t offset, std::span<const std::byte> bytes) override {
    return file_->WriteAt(offset, bytes);
  }
  absl::Status Allocate(uint64_t bytes) override { return file_->Allocate(bytes); }
  absl::Status Truncate(uint64_t bytes) override { return file_->Truncate(bytes); }
  absl::Status SyncData() override { return absl::OkStatus(); }
  absl::Status Sync() override { return absl::OkStatus(); }
  absl::Status Close() override { return file_->Close(); }
  bool is_direct() const override { return file_->is_direct(); }

 private:
  const std::unique_ptr<WritableFile> file_;
};

class PlantedFileSystem final : public FileSystem {
 public:
  explicit PlantedFileSystem(FileSystem* disk) : disk_(disk) {}
  absl::StatusOr<std::unique_ptr<ReadableFile>> OpenForRead(const std::string& path, ReadMode mode) override {
    return disk_->OpenForRead(path, mode);
  }
  absl::StatusOr<std::unique_ptr<WritableFile>> OpenForWrite(const std::string& path,
                                                             WriteMode mode) override {
    absl::StatusOr<std::unique_ptr<WritableFile>> file = disk_->OpenForWrite(path, mode);
    if (!file.ok() || !IsPlanted("skip_fsync")) return file;
    return std::make_unique<LyingFile>(*std::move(file));
  }
  absl::Status Rename(const std::string& from, const std::string& to) override {
    return disk_->Rename(from, to);
  }
  absl::Status RemoveFile(const std::string& path) override { return disk_->RemoveFile(path); }
  absl::Status RemoveDirectory(const std::string& path) override { return disk_->RemoveDirectory(path); }
  absl::Status CreateDirectory(const std::string& path) override { return disk_->CreateDirectory(path); }
  absl::StatusOr<std::vector<std::string>> List(const std::string& path) override {
    return disk_->List(path);
  }
  absl::Status SyncDirectory(const std::string& path) override { return disk_->SyncDirectory(path); }
  absl::StatusOr<std::unique_ptr<FileLock>> Lock(const std::string& path) override {
    return disk_->Lock(path);
  }
  absl::StatusOr<uint64_t> FreeBytes(const std::string& path) override { return disk_->FreeBytes(path); }

 private:
  FileSystem* const disk_;
};

}  // namespace

std::vector<std::string> PlantedBugs() {
  return {"skip_fsync",       "dedup_entry_dropped", "durable_before_written",
          "term_not_written", "fold_partial_push",   "unfenced_epoch"};
}

bool IsPlanted(const std::string& name) { return planted == name; }

absl::Status Plant(const std::string& name) {
  const std::vector<std::string> bugs = PlantedBugs();
  if (std::find(bugs.begin(), bugs.end(), name) == bugs.end()) {
    std::string all;
    for (const std::string& bug : bugs) all += (all.empty() ? "" : ", ") + bug;
    return absl::NotFoundError(fmt::format("there is no planted bug '{}'; there are {}", name, all));
  }
  planted = name;
  return Failpoints::Set("plant." + name, "on");
}

void Unplant() {
  if (!planted.empty()) Failpoints::Set("plant." + planted, "off").IgnoreError();
  planted.clear();
}

std::unique_ptr<FileSystem> MakePlantedFileSystem(FileSystem* disk) {
  return std::make_unique<PlantedFileSystem>(disk);
}

}  // namespace stepback::sim
