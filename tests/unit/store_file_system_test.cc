// One body on the real file system and on the fake one: what the tests of the store rely on is what the OS
// does.
#include "server/store/file_system.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "server/store/direct_buffer.h"
#include "server/store/errno_status.h"
#include "tests/fakes/file_system.h"

namespace stepback {
namespace {

using absl::StatusCode;

std::span<const std::byte> Bytes(const std::string& text) { return std::as_bytes(std::span(text)); }

class FileSystemTest : public testing::TestWithParam<bool> {
 protected:
  FileSystemTest() {
    if (!GetParam()) {
      fs_ = &fake_;
      root_ = "/root";
      EXPECT_TRUE(fs_->CreateDirectory(root_).ok());
      return;
    }
    fs_ = FileSystem::Posix();
    std::string pattern = testing::TempDir() + "/stepback_fs_XXXXXX";
    root_ = mkdtemp(pattern.data());
  }
  ~FileSystemTest() override {
    if (GetParam()) std::filesystem::remove_all(root_);
  }

  std::string Path(const std::string& name) { return root_ + "/" + name; }

  void Write(const std::string& name, const std::string& text) {
    auto file = fs_->OpenForWrite(Path(name), WriteMode::kTruncate);
    ASSERT_TRUE(file.ok()) << file.status();
    ASSERT_TRUE((*file)->Append(Bytes(text)).ok());
    ASSERT_TRUE((*file)->Sync().ok());
    ASSERT_TRUE((*file)->Close().ok());
  }

  std::string Read(const std::string& name) {
    auto file = fs_->OpenForRead(Path(name), ReadMode::kBuffered);
    EXPECT_TRUE(file.ok()) << file.status();
    std::string text(*(*file)->Size(), '\0');
    EXPECT_TRUE((*file)->ReadAt(0, std::as_writable_bytes(std::span(text))).ok());
    return text;
  }

  FakeFileSystem fake_;
  FileSystem* fs_;
  std::string root_;
};

TEST_P(FileSystemTest, WhatWasWrittenIsRead) {
  Write("a", "hello");
  EXPECT_EQ(Read("a"), "hello");
}

TEST_P(FileSystemTest, WriteAtOverwritesAndExtends) {
  auto file = fs_->OpenForWrite(Path("a"), WriteMode::kCreate);
  ASSERT_TRUE(file.ok());
  EXPECT_TRUE((*file)->Append(Bytes("aaaa")).ok());
  EXPECT_TRUE((*file)->WriteAt(2, Bytes("bbb")).ok());
  EXPECT_TRUE((*file)->Append(Bytes("c")).ok());
  EXPECT_TRUE((*file)->WriteAt(8, Bytes("d")).ok());
  EXPECT_EQ(Read("a"), std::string("aabbbc\0\0d", 9));
  EXPECT_TRUE((*file)->Truncate(3).ok());
  EXPECT_TRUE((*file)->SyncData().ok());
  EXPECT_EQ(Read("a"), "aab");
}

TEST_P(FileSystemTest, ModesSayWhatHappensToAnExistingFile) {
  Write("a", "old");
  EXPECT_EQ(fs_->OpenForWrite(Path("a"), WriteMode::kCreate).status().code(), StatusCode::kAlreadyExists);
  EXPECT_EQ(fs_->OpenForWrite(Path("a"), WriteMode::kCreateDirect).status().code(),
            StatusCode::kAlreadyExists);
  {
    auto appended = fs_->OpenForWrite(Path("a"), WriteMode::kAppend);
    ASSERT_TRUE(appended.ok());
    EXPECT_TRUE((*appended)->Append(Bytes("+new")).ok());
  }
  EXPECT_EQ(Read("a"), "old+new");
  ASSERT_TRUE(fs_->OpenForWrite(Path("a"), WriteMode::kTruncate).ok());
  EXPECT_EQ(Read("a"), "");
}

TEST_P(FileSystemTest, AReadBeyondTheEndIsDataLoss) {
  Write("a", "12345");
  auto file = fs_->OpenForRead(Path("a"), ReadMode::kBuffered);
  std::byte buffer[4];
  EXPECT_TRUE((*file)->ReadAt(1, buffer).ok());
  EXPECT_EQ((*file)->ReadAt(2, buffer).code(), StatusCode::kDataLoss);
  EXPECT_EQ((*file)->ReadAt(100, buffer).code(), StatusCode::kDataLoss);
}

TEST_P(FileSystemTest, AllocateReservesTheSize) {
  auto file = fs_->OpenForWrite(Path("a"), WriteMode::kCreate);
  ASSERT_TRUE(file.ok());
  EXPECT_TRUE((*file)->Allocate(100'000).ok());
  EXPECT_TRUE((*file)->WriteAt(99'999, Bytes("x")).ok());
  EXPECT_EQ(Read("a").size(), 100'000u);
}

TEST_P(FileSystemTest, DirectWritesArriveWhereTheFileSystemHasThem) {
  auto file = fs_->OpenForWrite(Path("a"), WriteMode::kCreateDirect);
  ASSERT_TRUE(file.ok());
  auto buffer = DirectBuffer::Make(nullptr, 3 * kDirectIoAlign);
  ASSERT_TRUE(buffer.ok());
  std::memset(buffer->bytes().data(), 'x', buffer->bytes().size());
  EXPECT_TRUE((*file)->Allocate(buffer->bytes().size()).ok());
  EXPECT_TRUE((*file)->WriteAt(0, buffer->bytes()).ok());
  EXPECT_TRUE((*file)->SyncData().ok());
  EXPECT_TRUE((*file)->Close().ok());
  EXPECT_EQ(Read("a"), std::string(3 * kDirectIoAlign, 'x'));
  std::memset(buffer->bytes().data(), 0, buffer->bytes().size());
  auto again = fs_->OpenForRead(Path("a"), ReadMode::kDirect);
  ASSERT_TRUE(again.ok());
  EXPECT_TRUE((*again)->ReadAt(kDirectIoAlign, buffer->bytes().first(2 * kDirectIoAlign)).ok());
  EXPECT_EQ(buffer->bytes()[2 * kDirectIoAlign - 1], std::byte{'x'});
  EXPECT_EQ(buffer->bytes()[2 * kDirectIoAlign], std::byte{0});
  EXPECT_EQ((*again)->ReadAt(kDirectIoAlign, buffer->bytes()).code(), StatusCode::kDataLoss);
  std::cout << "direct I/O: " << (*file)->is_direct() << std::endl;
}

TEST_P(FileSystemTest, RenameReplaces) {
  Write("a", "new");
  Write("b", "old");
  EXPECT_TRUE(fs_->Rename(Path("a"), Path("b")).ok());
  EXPECT_EQ(Read("b"), "new");
  EXPECT_EQ(fs_->OpenForRead(Path("a"), ReadMode::kBuffered).status().code(), StatusCode::kNotFound);
  EXPECT_EQ(fs_->Rename(Path("a"), Path("b")).code(), StatusCode::kNotFound);
}

TEST_P(FileSystemTest, DirectoriesListAndGoWhenEmpty) {
  ASSERT_TRUE(fs_->CreateDirectory(Path("d")).ok());
  EXPECT_EQ(fs_->CreateDirectory(Path("d")).code(), StatusCode::kAlreadyExists);
  EXPECT_EQ(fs_->CreateDirectory(Path("x/y")).code(), StatusCode::kNotFound);
  Write("d/two", "");
  Write("d/one", "");
  EXPECT_EQ(*fs_->List(Path("d")), (std::vector<std::string>{"one", "two"}));
  EXPECT_TRUE(fs_->SyncDirectory(Path("d")).ok());
  EXPECT_EQ(fs_->RemoveDirectory(Path("d")).code(), StatusCode::kAlreadyExists);
  EXPECT_TRUE(fs_->RemoveFile(Path("d/one")).ok());
  EXPECT_EQ(fs_->RemoveFile(Path("d/one")).code(), StatusCode::kNotFound);
  EXPECT_TRUE(fs_->RemoveFile(Path("d/two")).ok());
  EXPECT_FALSE(fs_->RemoveFile(Path("d")).ok());
  EXPECT_TRUE(fs_->RemoveDirectory(Path("d")).ok());
  EXPECT_EQ(fs_->List(Path("d")).status().code(), StatusCode::kNotFound);
}

TEST_P(FileSystemTest, ALockIsHeldOnceUntilItIsDropped) {
  auto lock = fs_->Lock(Path("LOCK"));
  ASSERT_TRUE(lock.ok());
  EXPECT_EQ(fs_->Lock(Path("LOCK")).status().code(), StatusCode::kFailedPrecondition);
  lock->reset();
  EXPECT_TRUE(fs_->Lock(Path("LOCK")).ok());
}

TEST_P(FileSystemTest, SaysHowMuchSpaceIsLeft) {
  EXPECT_GT(*fs_->FreeBytes(root_), 0u);
  EXPECT_EQ(fs_->FreeBytes(Path("nowhere")).ok(), !GetParam());
}

INSTANTIATE_TEST_SUITE_P(FileSystems, FileSystemTest, testing::Bool(),
                         [](const auto& info) { return info.param ? "posix" : "fake"; });

TEST(PosixLock, AnotherProcessCannotTakeItAndDeathReleasesIt) {
  std::string pattern = testing::TempDir() + "/stepback_lock_XXXXXX";
  const std::string root = mkdtemp(pattern.data());
  const std::string path = root + "/LOCK";
  int ready[2];
  ASSERT_EQ(pipe(ready), 0);
  const pid_t child = fork();
  if (child == 0) {
    auto lock = FileSystem::Posix()->Lock(path);
    const char held = lock.ok() ? 'y' : 'n';
    if (write(ready[1], &held, 1) != 1) _exit(1);
    pause();
    _exit(0);
  }
  char held = '?';
  ASSERT_EQ(read(ready[0], &held, 1), 1);
  EXPECT_EQ(held, 'y');
  EXPECT_EQ(FileSystem::Posix()->Lock(path).status().code(), StatusCode::kFailedPrecondition);
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  EXPECT_TRUE(FileSystem::Posix()->Lock(path).ok());
  std::filesystem::remove_all(root);
}

TEST(ErrnoStatus, EveryErrorSaysWhatTheCallerCanDo) {
  EXPECT_EQ(CodeOfErrno(ENOSPC), StatusCode::kResourceExhausted);
  EXPECT_EQ(CodeOfErrno(EDQUOT), StatusCode::kResourceExhausted);
  EXPECT_EQ(CodeOfErrno(EMFILE), StatusCode::kResourceExhausted);
  EXPECT_EQ(CodeOfErrno(EIO), StatusCode::kDataLoss);
  EXPECT_EQ(CodeOfErrno(EUCLEAN), StatusCode::kDataLoss);
  EXPECT_EQ(CodeOfErrno(ENOENT), StatusCode::kNotFound);
  EXPECT_EQ(CodeOfErrno(EEXIST), StatusCode::kAlreadyExists);
  EXPECT_EQ(CodeOfErrno(EROFS), StatusCode::kPermissionDenied);
  EXPECT_EQ(CodeOfErrno(12345), StatusCode::kInternal);
  EXPECT_EQ(ErrnoStatus(ENOSPC, "write", "/data/x").message(), "write '/data/x': No space left on device");
}

}  // namespace
}  // namespace stepback
