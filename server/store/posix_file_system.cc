#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/base/failpoint.h"
#include "server/base/status_macros.h"
#include "server/store/errno_status.h"
#include "server/store/file_system.h"

namespace stepback {
namespace {

absl::Status Failed(const char* call, const std::string& path) { return ErrnoStatus(errno, call, path); }

// Calls `call` again while a signal interrupts it.
template <typename Call>
auto Uninterrupted(Call call) {
  decltype(call()) result;
  do {
    result = call();
  } while (result < 0 && errno == EINTR);
  return result;
}

// An open descriptor. Closes when dropped.
class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  ~Descriptor() {
    if (fd_ >= 0) close(fd_);
  }
  int get() const { return fd_; }
  int release() { return std::exchange(fd_, -1); }

 private:
  int fd_;
};

absl::StatusOr<Descriptor> OpenDescriptor(const std::string& path, int flags) {
  const int fd = Uninterrupted([&] { return open(path.c_str(), flags | O_CLOEXEC, 0640); });
  if (fd < 0) return Failed("open", path);
  return Descriptor(fd);
}

// A bug to plant: nothing is ever forced to the disk, neither by syncs nor by going around the page cache. As
// kill -9 keeps the page cache, only a power failure shows it (docs/crash_testing.md).
bool SkipsSync() { return FAILPOINT("plant.skip_fsync"); }

// Some file systems accept O_DIRECT at open and refuse it at the first transfer.
bool ClearDirect(int fd) {
  const int flags = fcntl(fd, F_GETFL);
  return flags >= 0 && fcntl(fd, F_SETFL, flags & ~O_DIRECT) == 0;
}

class PosixReadableFile final : public ReadableFile {
 public:
  PosixReadableFile(Descriptor fd, std::string path, bool direct)
      : fd_(std::move(fd)), path_(std::move(path)), direct_(direct) {}

  absl::StatusOr<uint64_t> Size() override {
    struct stat info;
    if (fstat(fd_.get(), &info) != 0) return Failed("fstat", path_);
    if (!S_ISREG(info.st_mode)) return absl::DataLossError(absl::StrCat("'", path_, "' is not a file"));
    return static_cast<uint64_t>(info.st_size);
  }

  absl::Status ReadAt(uint64_t offset, std::span<std::byte> to) override {
    for (uint64_t at = offset; !to.empty();) {
      const ssize_t got = Uninterrupted([&] { return pread(fd_.get(), to.data(), to.size(), at); });
      if (got < 0 && errno == EINVAL && direct_ && ClearDirect(fd_.get())) {
        direct_ = false;
        continue;
      }
      if (got < 0) return Failed("read", path_);
      if (got == 0)
        return absl::DataLossError(
            absl::StrCat("'", path_, "' ends at byte ", at, ", expected ", to.size(), " more"));
      at += got;
      to = to.subspan(got);
    }
    return absl::OkStatus();
  }

 private:
  const Descriptor fd_;
  const std::string path_;
  bool direct_;
};

class PosixWritableFile final : public WritableFile {
 public:
  PosixWritableFile(Descriptor fd, std::string path, uint64_t end, bool direct)
      : fd_(std::move(fd)), path_(std::move(path)), end_(end), direct_(direct) {}

  absl::Status Append(std::span<const std::byte> bytes) override { return WriteAt(end_, bytes); }

  absl::Status WriteAt(uint64_t offset, std::span<const std::byte> bytes) override {
    for (uint64_t at = offset; !bytes.empty();) {
      const ssize_t put = Uninterrupted([&] { return pwrite(fd_.get(), bytes.data(), bytes.size(), at); });
      if (put < 0 && errno == EINVAL && direct_ && ClearDirect(fd_.get())) {
        direct_ = false;
        continue;
      }
      if (put < 0) return Failed("write", path_);
      at += put;
      bytes = bytes.subspan(put);
      end_ = std::max(end_, at);
    }
    return absl::OkStatus();
  }

  absl::Status Allocate(uint64_t bytes) override {
    if (bytes == 0) return absl::OkStatus();
    const int result = Uninterrupted([&] { return fallocate(fd_.get(), 0, 0, static_cast<off_t>(bytes)); });
    if (result == 0 || errno == EOPNOTSUPP || errno == ENOSYS) return absl::OkStatus();
    return Failed("fallocate", path_);
  }

  absl::Status Truncate(uint64_t bytes) override {
    if (Uninterrupted([&] { return ftruncate(fd_.get(), static_cast<off_t>(bytes)); }) != 0)
      return Failed("truncate", path_);
    end_ = bytes;
    return absl::OkStatus();
  }

  absl::Status SyncData() override {
    return SkipsSync() || fdatasync(fd_.get()) == 0 ? absl::OkStatus() : Failed("fdatasync", path_);
  }
  absl::Status Sync() override {
    return SkipsSync() || fsync(fd_.get()) == 0 ? absl::OkStatus() : Failed("fsync", path_);
  }
  absl::Status Close() override {
    // The descriptor is gone even when close reports an error (and after EINTR on Linux).
    const int fd = fd_.release();
    return fd < 0 || close(fd) == 0 || errno == EINTR ? absl::OkStatus() : Failed("close", path_);
  }
  bool is_direct() const override { return direct_; }

 private:
  Descriptor fd_;
  const std::string path_;
  uint64_t end_;
  bool direct_;
};

class PosixFileLock final : public FileLock {
 public:
  explicit PosixFileLock(Descriptor fd) : fd_(std::move(fd)) {}

 private:
  const Descriptor fd_;
};

int OpenFlags(WriteMode mode) {
  switch (mode) {
    case WriteMode::kCreate:
      return O_CREAT | O_EXCL;
    case WriteMode::kCreateDirect:
      return O_CREAT | O_EXCL | O_DIRECT;
    case WriteMode::kAppend:
      return O_CREAT;
    case WriteMode::kTruncate:
      return O_CREAT | O_TRUNC;
  }
  return O_CREAT | O_EXCL;
}

class PosixFileSystem final : public FileSystem {
 public:
  absl::StatusOr<std::unique_ptr<ReadableFile>> OpenForRead(const std::string& path, ReadMode mode) override {
    bool direct = mode == ReadMode::kDirect && !SkipsSync();
    int fd = Open(path, O_RDONLY | (direct ? O_DIRECT : 0));
    if (fd < 0 && errno == EINVAL && direct) {
      direct = false;
      fd = Open(path, O_RDONLY);
    }
    if (fd < 0) return Failed("open", path);
    if (!direct) posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
    return std::make_unique<PosixReadableFile>(Descriptor(fd), path, direct);
  }

  absl::StatusOr<std::unique_ptr<WritableFile>> OpenForWrite(const std::string& path,
                                                             WriteMode mode) override {
    bool direct = mode == WriteMode::kCreateDirect && !SkipsSync();
    int fd = Open(path, O_WRONLY | (OpenFlags(mode) & (direct ? ~0 : ~O_DIRECT)));
    if (fd < 0 && errno == EINVAL && direct) {
      direct = false;
      // The refused open may have left the new name behind: not O_EXCL this time.
      fd = Open(path, O_WRONLY | O_CREAT);
    }
    if (fd < 0) return Failed("open", path);
    const off_t end = mode == WriteMode::kAppend ? lseek(fd, 0, SEEK_END) : 0;
    auto file = std::make_unique<PosixWritableFile>(Descriptor(fd), path, std::max<off_t>(end, 0), direct);
    if (end < 0) return Failed("seek", path);
    return file;
  }

  absl::Status Rename(const std::string& from, const std::string& to) override {
    return rename(from.c_str(), to.c_str()) == 0 ? absl::OkStatus() : Failed("rename", from);
  }
  absl::Status RemoveFile(const std::string& path) override {
    return unlink(path.c_str()) == 0 ? absl::OkStatus() : Failed("unlink", path);
  }
  absl::Status RemoveDirectory(const std::string& path) override {
    return rmdir(path.c_str()) == 0 ? absl::OkStatus() : Failed("rmdir", path);
  }
  absl::Status CreateDirectory(const std::string& path) override {
    return mkdir(path.c_str(), 0750) == 0 ? absl::OkStatus() : Failed("mkdir", path);
  }

  absl::StatusOr<std::vector<std::string>> List(const std::string& path) override {
    DIR* const directory = opendir(path.c_str());
    if (directory == nullptr) return Failed("opendir", path);
    std::vector<std::string> names;
    errno = 0;
    while (const dirent* entry = readdir(directory)) {
      const std::string_view name = entry->d_name;
      if (name != "." && name != "..") names.emplace_back(name);
      errno = 0;
    }
    const int error = errno;
    closedir(directory);
    if (error != 0) return ErrnoStatus(error, "readdir", path);
    std::sort(names.begin(), names.end());
    return names;
  }

  absl::Status SyncDirectory(const std::string& path) override {
    ASSIGN_OR_RETURN(const Descriptor fd, OpenDescriptor(path, O_RDONLY | O_DIRECTORY));
    return SkipsSync() || fsync(fd.get()) == 0 ? absl::OkStatus() : Failed("fsync of directory", path);
  }

  absl::StatusOr<std::unique_ptr<FileLock>> Lock(const std::string& path) override {
    ASSIGN_OR_RETURN(Descriptor fd, OpenDescriptor(path, O_RDWR | O_CREAT));
    if (Uninterrupted([&] { return flock(fd.get(), LOCK_EX | LOCK_NB); }) == 0) {
      return std::make_unique<PosixFileLock>(std::move(fd));
    }
    if (errno != EWOULDBLOCK) return Failed("flock", path);
    return absl::FailedPreconditionError(
        absl::StrCat("'", path, "' is locked: another server or tool is using the directory"));
  }

  absl::StatusOr<uint64_t> FreeBytes(const std::string& path) override {
    struct statvfs info;
    if (Uninterrupted([&] { return statvfs(path.c_str(), &info); }) != 0) return Failed("statvfs", path);
    return static_cast<uint64_t>(info.f_bavail) * info.f_frsize;
  }

 private:
  static int Open(const std::string& path, int flags) {
    return Uninterrupted([&] { return open(path.c_str(), O_CLOEXEC | flags, 0640); });
  }
};

}  // namespace

FileSystem* FileSystem::Posix() {
  static auto* const file_system = new PosixFileSystem;
  return file_system;
}

}  // namespace stepback
