#include "tests/fakes/file_system.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "server/base/check.h"
#include "server/base/status_macros.h"

namespace stepback {
namespace {

constexpr size_t kSector = 512;

// Whoever writes at a place has allocated it.
bool TakesRoom(const std::string& call) {
  return call == "create" || call == "append" || call == "allocate" || call == "mkdir";
}

void CheckAligned(uint64_t offset, const void* address, size_t bytes) {
  SB_CHECK(offset % kDirectIoAlign == 0 && bytes % kDirectIoAlign == 0 &&
               reinterpret_cast<uintptr_t>(address) % kDirectIoAlign == 0,
           "direct transfer of %zu bytes is not aligned", bytes);
}

}  // namespace

struct FakeFileSystem::Node {
  bool is_directory = false;
  bool is_locked = false;
  // A directory's names, now and as of the last crash-proof moment.
  std::map<std::string, std::shared_ptr<Node>, std::less<>> names, durable_names;
  // A file's bytes, the same way. Within [changed_from, changed_to) they may differ, beyond in length only: a
  // sync of a file of megabytes costs what was written since.
  std::string bytes, durable_bytes;
  size_t changed_from = SIZE_MAX, changed_to = 0;

  void Changed(size_t from, size_t to) {
    changed_from = std::min(changed_from, from);
    changed_to = std::max(changed_to, to);
  }
  void Resize(size_t size) {
    if (size > bytes.size()) Changed(bytes.size(), size);
    bytes.resize(size);
  }
  bool same() const { return changed_from >= changed_to && bytes.size() == durable_bytes.size(); }
  void MakeDurable() {
    durable_bytes.resize(bytes.size());
    const size_t to = std::min(changed_to, bytes.size());
    if (changed_from < to)
      std::memcpy(durable_bytes.data() + changed_from, bytes.data() + changed_from, to - changed_from);
    changed_from = SIZE_MAX;
    changed_to = 0;
  }
  void Forget() {
    bytes = durable_bytes;
    changed_from = SIZE_MAX;
    changed_to = 0;
  }
};

// One atomic step in the namespace: names that get another node (or none).
struct FakeFileSystem::NameChange {
  struct Assignment {
    std::shared_ptr<Node> directory;
    std::string name;
    std::shared_ptr<Node> node;  // null: removed
  };
  std::vector<Assignment> assignments;
};

class FakeFileSystem::ReadHandle final : public ReadableFile {
 public:
  ReadHandle(FakeFileSystem* fs, std::shared_ptr<Node> node, std::string path, uint64_t incarnation,
             bool direct)
      : fs_(fs), node_(std::move(node)), path_(std::move(path)), incarnation_(incarnation), direct_(direct) {}

  absl::StatusOr<uint64_t> Size() override {
    MutexLock lock(&fs_->mu_);
    RETURN_IF_ERROR(Enter("size"));
    return node_->bytes.size();
  }

  absl::Status ReadAt(uint64_t offset, std::span<std::byte> to) override {
    MutexLock lock(&fs_->mu_);
    if (direct_) CheckAligned(offset, to.data(), to.size());
    RETURN_IF_ERROR(Enter("read"));
    const uint64_t size = node_->bytes.size();
    if (offset > size || to.size() > size - offset) {
      return absl::DataLossError(absl::StrCat("'", path_, "' ends at byte ", size));
    }
    if (!to.empty()) std::memcpy(to.data(), node_->bytes.data() + offset, to.size());
    return absl::OkStatus();
  }

 private:
  absl::Status Enter(const char* what) REQUIRES(fs_->mu_) {
    if (incarnation_ != fs_->incarnation_) return absl::InternalError("this file's process has died");
    return fs_->Enter(what, path_);
  }

  FakeFileSystem* const fs_;
  const std::shared_ptr<Node> node_;
  const std::string path_;
  const uint64_t incarnation_;
  const bool direct_;
};

class FakeFileSystem::WriteHandle final : public WritableFile {
 public:
  WriteHandle(FakeFileSystem* fs, std::shared_ptr<Node> node, std::string path, uint64_t incarnation,
              bool direct)
      : fs_(fs), node_(std::move(node)), path_(std::move(path)), incarnation_(incarnation), direct_(direct) {}

  absl::Status Append(std::span<const std::byte> bytes) override {
    MutexLock lock(&fs_->mu_);
    return WriteLocked("append", node_->bytes.size(), bytes);
  }
  absl::Status WriteAt(uint64_t offset, std::span<const std::byte> bytes) override {
    MutexLock lock(&fs_->mu_);
    return WriteLocked("write", offset, bytes);
  }
  absl::Status Allocate(uint64_t bytes) override {
    MutexLock lock(&fs_->mu_);
    RETURN_IF_ERROR(Enter("allocate"));
    if (bytes <= node_->bytes.size()) return absl::OkStatus();
    if (!fs_->HasRoom(bytes - node_->bytes.size())) {
      return absl::ResourceExhaustedError(absl::StrCat("allocate '", path_, "': No space left on device"));
    }
    node_->Resize(bytes);
    return absl::OkStatus();
  }
  absl::Status Truncate(uint64_t bytes) override {
    MutexLock lock(&fs_->mu_);
    RETURN_IF_ERROR(Enter("truncate"));
    node_->Resize(bytes);
    return absl::OkStatus();
  }
  absl::Status SyncData() override { return SyncAs("syncdata"); }
  absl::Status Sync() override { return SyncAs("sync"); }
  absl::Status Close() override {
    MutexLock lock(&fs_->mu_);
    return Enter("close");
  }
  bool is_direct() const override { return direct_; }

 private:
  absl::Status Enter(const char* what) REQUIRES(fs_->mu_) {
    if (incarnation_ != fs_->incarnation_) return absl::InternalError("this file's process has died");
    return fs_->Enter(what, path_);
  }

  absl::Status WriteLocked(const char* what, uint64_t offset, std::span<const std::byte> bytes)
      REQUIRES(fs_->mu_) {
    if (direct_) {
      const auto address = reinterpret_cast<uintptr_t>(bytes.data());
      SB_CHECK(
          offset % kDirectIoAlign == 0 && bytes.size() % kDirectIoAlign == 0 && address % kDirectIoAlign == 0,
          "direct write of %zu bytes is not aligned", bytes.size());
    }
    if (absl::Status status = Enter(what); !status.ok()) {
      if (incarnation_ == fs_->incarnation_ && !bytes.empty()) {  // a part of it may have got through
        // Past the page cache a write stops between two sectors, not within one.
        fs_->PutBytes(
            node_.get(), offset,
            bytes.first(fs_->random_() % bytes.size() / (direct_ ? kSector : 1) * (direct_ ? kSector : 1)));
      }
      return status;
    }
    return fs_->Write(node_.get(), offset, bytes);
  }

  absl::Status SyncAs(const char* what) {
    MutexLock lock(&fs_->mu_);
    RETURN_IF_ERROR(Enter(what));
    node_->MakeDurable();
    return absl::OkStatus();
  }

  FakeFileSystem* const fs_;
  const std::shared_ptr<Node> node_;
  const std::string path_;
  const uint64_t incarnation_;
  const bool direct_;
};

class FakeFileSystem::LockHandle final : public FileLock {
 public:
  LockHandle(FakeFileSystem* fs, std::shared_ptr<Node> node, uint64_t incarnation)
      : fs_(fs), node_(std::move(node)), incarnation_(incarnation) {}
  ~LockHandle() override {
    MutexLock lock(&fs_->mu_);
    if (incarnation_ == fs_->incarnation_) node_->is_locked = false;
  }

 private:
  FakeFileSystem* const fs_;
  const std::shared_ptr<Node> node_;
  const uint64_t incarnation_;
};

FakeFileSystem::FakeFileSystem(uint64_t seed) : random_(seed), root_(std::make_shared<Node>()) {
  root_->is_directory = true;
}
FakeFileSystem::~FakeFileSystem() = default;

absl::StatusOr<std::unique_ptr<ReadableFile>> FakeFileSystem::OpenForRead(const std::string& path,
                                                                          ReadMode mode) {
  MutexLock lock(&mu_);
  RETURN_IF_ERROR(Enter("open", path));
  ASSIGN_OR_RETURN(std::shared_ptr<Node> node, Find(path));
  return std::make_unique<ReadHandle>(this, std::move(node), path, incarnation_,
                                      mode == ReadMode::kDirect && direct_io_);
}

absl::StatusOr<std::unique_ptr<WritableFile>> FakeFileSystem::OpenForWrite(const std::string& path,
                                                                           WriteMode mode) {
  MutexLock lock(&mu_);
  RETURN_IF_ERROR(Enter("create", path));
  ASSIGN_OR_RETURN(const auto parent, Parent(path));
  std::shared_ptr<Node> node = parent.first->names[parent.second];
  const bool fresh = node == nullptr;
  if (fresh) parent.first->names.erase(parent.second);
  if (!fresh && (mode == WriteMode::kCreate || mode == WriteMode::kCreateDirect)) {
    return absl::AlreadyExistsError(absl::StrCat("'", path, "' exists"));
  }
  if (fresh) {
    node = std::make_shared<Node>();
    Change({{{parent.first, parent.second, node}}});
  }
  if (mode == WriteMode::kTruncate) node->bytes.clear();
  const bool direct = mode == WriteMode::kCreateDirect && direct_io_;
  return std::make_unique<WriteHandle>(this, std::move(node), path, incarnation_, direct);
}

absl::Status FakeFileSystem::Rename(const std::string& from, const std::string& to) {
  MutexLock lock(&mu_);
  const absl::Status failure = Enter("rename", from);
  // A rename that reports an I/O error may have happened.
  if (!failure.ok() && (absl::IsResourceExhausted(failure) || random_() % 2 == 0)) return failure;
  ASSIGN_OR_RETURN(const auto old_place, Parent(from));
  ASSIGN_OR_RETURN(const auto new_place, Parent(to));
  ASSIGN_OR_RETURN(std::shared_ptr<Node> node, Find(from));
  SB_CHECK(old_place.first == new_place.first, "rename stays in one directory");
  if (auto replaced = Find(to); replaced.ok() && (*replaced)->is_directory && !(*replaced)->names.empty()) {
    return absl::AlreadyExistsError(absl::StrCat("'", to, "' is a directory with names in it"));
  }
  Change({{{old_place.first, old_place.second, nullptr}, {new_place.first, new_place.second, node}}});
  return failure;
}

absl::Status FakeFileSystem::RemoveFile(const std::string& path) {
  MutexLock lock(&mu_);
  return Remove("remove", path, /*directory=*/false);
}

absl::Status FakeFileSystem::RemoveDirectory(const std::string& path) {
  MutexLock lock(&mu_);
  return Remove("rmdir", path, /*directory=*/true);
}

absl::Status FakeFileSystem::Remove(const std::string& what, const std::string& path, bool directory) {
  RETURN_IF_ERROR(Enter(what, path));
  ASSIGN_OR_RETURN(const auto parent, Parent(path));
  ASSIGN_OR_RETURN(std::shared_ptr<Node> node, Find(path));
  if (node->is_directory != directory)
    return absl::InternalError(absl::StrCat("'", path, "' is of another kind"));
  if (!node->names.empty()) return absl::AlreadyExistsError(absl::StrCat("'", path, "' is not empty"));
  Change({{{parent.first, parent.second, nullptr}}});
  return absl::OkStatus();
}

absl::Status FakeFileSystem::CreateDirectory(const std::string& path) {
  MutexLock lock(&mu_);
  RETURN_IF_ERROR(Enter("mkdir", path));
  ASSIGN_OR_RETURN(const auto parent, Parent(path));
  if (parent.first->names.count(parent.second) != 0)
    return absl::AlreadyExistsError(absl::StrCat("'", path, "' exists"));
  auto node = std::make_shared<Node>();
  node->is_directory = true;
  Change({{{parent.first, parent.second, std::move(node)}}});
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::string>> FakeFileSystem::List(const std::string& path) {
  MutexLock lock(&mu_);
  RETURN_IF_ERROR(Enter("list", path));
  ASSIGN_OR_RETURN(std::shared_ptr<Node> node, Find(path));
  if (!node->is_directory) return absl::NotFoundError(absl::StrCat("'", path, "' is not a directory"));
  std::vector<std::string> names;
  for (const auto& [name, child] : node->names) names.push_back(name);
  return names;
}

absl::Status FakeFileSystem::SyncDirectory(const std::string& path) {
  MutexLock lock(&mu_);
  RETURN_IF_ERROR(Enter("syncdir", path));
  ASSIGN_OR_RETURN(std::shared_ptr<Node> node, Find(path));
  for (const NameChange& change : pending_) {
    if (change.assignments.front().directory == node) Apply(change, /*durable=*/true);
  }
  std::erase_if(pending_,
                [&](const NameChange& change) { return change.assignments.front().directory == node; });
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<FileLock>> FakeFileSystem::Lock(const std::string& path) {
  MutexLock lock(&mu_);
  RETURN_IF_ERROR(Enter("lock", path));
  ASSIGN_OR_RETURN(const auto parent, Parent(path));
  if (parent.first->names.count(parent.second) == 0)
    Change({{{parent.first, parent.second, std::make_shared<Node>()}}});
  const std::shared_ptr<Node> node = parent.first->names[parent.second];
  if (node->is_locked) return absl::FailedPreconditionError(absl::StrCat("'", path, "' is locked"));
  node->is_locked = true;
  return std::make_unique<LockHandle>(this, node, incarnation_);
}

absl::StatusOr<uint64_t> FakeFileSystem::FreeBytes(const std::string& path) {
  MutexLock lock(&mu_);
  RETURN_IF_ERROR(Enter("free", path));
  return RoomBytes();
}

int64_t FakeFileSystem::calls() const {
  MutexLock lock(&mu_);
  return log_.size();
}

void FakeFileSystem::ResetCalls() {
  MutexLock lock(&mu_);
  log_.clear();
}

std::vector<std::string> FakeFileSystem::call_log() const {
  MutexLock lock(&mu_);
  return log_;
}

void FakeFileSystem::FailCall(int64_t n, absl::Status status) {
  MutexLock lock(&mu_);
  failing_[n] = std::move(status);
}

void FakeFileSystem::FailCallsFrom(int64_t n, absl::Status status) {
  MutexLock lock(&mu_);
  fail_from_ = n;
  fail_from_status_ = std::move(status);
}

void FakeFileSystem::FailCallsMatching(std::string prefix, absl::Status status) {
  MutexLock lock(&mu_);
  fail_prefix_ = std::move(prefix);
  fail_prefix_status_ = std::move(status);
}

void FakeFileSystem::StopFailing() {
  MutexLock lock(&mu_);
  failing_.clear();
  fail_from_ = INT64_MAX;
  fail_prefix_.clear();
}

void FakeFileSystem::HoldCallsMatching(std::string prefix) {
  MutexLock lock(&mu_);
  hold_prefix_ = std::move(prefix);
}

void FakeFileSystem::AwaitHeld() {
  MutexLock lock(&mu_);
  while (held_ == 0) held_or_let_go_.Wait(&mu_);
}

void FakeFileSystem::LetGo() {
  MutexLock lock(&mu_);
  hold_prefix_.reset();
  held_or_let_go_.NotifyAll();
}

void FakeFileSystem::WaitWhileHeld(const std::string& call) {
  const auto is_held = [&]() REQUIRES(mu_) {
    return hold_prefix_.has_value() && absl::StartsWith(call, *hold_prefix_);
  };
  if (!is_held()) return;
  ++held_;
  held_or_let_go_.NotifyAll();
  while (is_held()) held_or_let_go_.Wait(&mu_);
  --held_;
}

void FakeFileSystem::SetCapacity(uint64_t bytes) {
  MutexLock lock(&mu_);
  capacity_bytes_ = bytes;
}

void FakeFileSystem::SupportDirectIo(bool supported) {
  MutexLock lock(&mu_);
  direct_io_ = supported;
}

void FakeFileSystem::Crash(Unsynced unsynced) {
  StopFailing();
  MutexLock lock(&mu_);
  ++incarnation_;
  log_.clear();
  if (unsynced == Unsynced::kTorn) SurviveInPart();
  if (unsynced != Unsynced::kKept) pending_.clear();
  // Follow the durable names only: what they do not reach is gone.
  std::vector<std::shared_ptr<Node>> left = {root_};
  while (!left.empty()) {
    const std::shared_ptr<Node> node = left.back();
    left.pop_back();
    node->is_locked = false;
    if (unsynced != Unsynced::kKept) {
      node->names = node->durable_names;
      CrashFile(node.get(), unsynced);
    }
    for (const auto& [name, child] : node->names) left.push_back(child);
  }
}

// A file system with an ordered journal keeps a beginning of the changes; one without keeps any of them.
void FakeFileSystem::SurviveInPart() {
  const bool ordered = random_() % 2 == 0;
  const size_t beginning = random_() % (pending_.size() + 1);
  for (size_t i = 0; i < pending_.size(); ++i) {
    if (ordered ? i < beginning : random_() % 2 == 0) Apply(pending_[i], /*durable=*/true);
  }
}

// Sectors that differ keep the old or the new bytes; the end is the old one, the new one, or a sector in
// between.
void FakeFileSystem::CrashFile(Node* node, Unsynced unsynced) {
  if (node->same()) return;
  if (unsynced == Unsynced::kTorn && node->bytes != node->durable_bytes) {
    std::string after = node->durable_bytes;
    const size_t old_size = after.size(), new_size = node->bytes.size();
    const size_t size = std::min(old_size, new_size) +
                        random_() % (std::max(old_size, new_size) - std::min(old_size, new_size) + 1);
    after.resize(size, '\0');
    for (size_t at = 0; at < std::min(size, new_size); at += kSector) {
      const size_t count = std::min({kSector, size - at, new_size - at});
      if (random_() % 2 == 0) after.replace(at, count, node->bytes, at, count);
    }
    node->durable_bytes = std::move(after);
  }
  node->Forget();
}

std::string FakeFileSystem::Contents(const std::string& path) const {
  MutexLock lock(&mu_);
  auto node = Find(path);
  SB_CHECK(node.ok(), "%s", path.c_str());
  return (*node)->bytes;
}

void FakeFileSystem::SetContents(const std::string& path, const std::string& bytes) {
  MutexLock lock(&mu_);
  auto node = Find(path);
  SB_CHECK(node.ok(), "%s", path.c_str());
  (*node)->durable_bytes = bytes;
  (*node)->Forget();
}

void FakeFileSystem::FlipBit(const std::string& path, uint64_t bit) {
  std::string bytes = Contents(path);
  bytes.at(bit / 8) ^= static_cast<char>(1 << (bit % 8));
  SetContents(path, bytes);
}

bool FakeFileSystem::Exists(const std::string& path) const {
  MutexLock lock(&mu_);
  return Find(path).ok();
}

std::vector<std::string> FakeFileSystem::AllFiles() const {
  MutexLock lock(&mu_);
  std::vector<std::string> files;
  Visit("", root_, [&](const std::string& path, Node* node) {
    if (!node->is_directory) files.push_back(path);
  });
  return files;
}

absl::Status FakeFileSystem::Enter(const std::string& what, const std::string& path) {
  const std::string call = absl::StrCat(what, " ", path);
  WaitWhileHeld(call);
  log_.push_back(call);
  const int64_t n = log_.size();
  // Named as the operating system's errors are (errno_status.h).
  const auto failure = [&](const absl::Status& status) {
    return absl::Status(status.code(), absl::StrCat(what, " '", path, "': ", status.message()));
  };
  // A disk that is full from there on refuses what takes room.
  if (n >= fail_from_ && (!absl::IsResourceExhausted(fail_from_status_) || TakesRoom(what)))
    return failure(fail_from_status_);
  if (!fail_prefix_.empty() && absl::StartsWith(log_.back(), fail_prefix_))
    return failure(fail_prefix_status_);
  const auto failing = failing_.find(n);
  return failing == failing_.end() ? absl::OkStatus() : failure(failing->second);
}

absl::StatusOr<std::shared_ptr<FakeFileSystem::Node>> FakeFileSystem::Find(const std::string& path) const {
  std::shared_ptr<Node> node = root_;
  for (const absl::string_view name : absl::StrSplit(path, '/', absl::SkipEmpty())) {
    const auto child = node->names.find(std::string_view(name.data(), name.size()));
    if (child == node->names.end()) return absl::NotFoundError(absl::StrCat("'", path, "' is not there"));
    node = child->second;
  }
  return node;
}

absl::StatusOr<std::pair<std::shared_ptr<FakeFileSystem::Node>, std::string>> FakeFileSystem::Parent(
    const std::string& path) const {
  const size_t slash = path.rfind('/');
  SB_CHECK(slash != std::string::npos && slash + 1 < path.size(), "%s", path.c_str());
  ASSIGN_OR_RETURN(std::shared_ptr<Node> parent, Find(path.substr(0, slash)));
  if (!parent->is_directory) return absl::NotFoundError(absl::StrCat("'", path, "': not a directory"));
  return std::make_pair(std::move(parent), path.substr(slash + 1));
}

void FakeFileSystem::Apply(const NameChange& change, bool durable) {
  for (const NameChange::Assignment& a : change.assignments) {
    auto& names = durable ? a.directory->durable_names : a.directory->names;
    if (a.node == nullptr) {
      names.erase(a.name);
    } else {
      names[a.name] = a.node;
    }
  }
}

void FakeFileSystem::Change(NameChange change) {
  Apply(change, /*durable=*/false);
  pending_.push_back(std::move(change));
}

// The files are not counted where there is no end of room.
bool FakeFileSystem::HasRoom(uint64_t bytes) const {
  return capacity_bytes_ == UINT64_MAX || bytes <= RoomBytes();
}

uint64_t FakeFileSystem::RoomBytes() const {
  return capacity_bytes_ - std::min(capacity_bytes_, UsedBytes());
}

uint64_t FakeFileSystem::UsedBytes() const {
  uint64_t used = 0;
  Visit("", root_, [&](const std::string&, Node* node) { used += node->bytes.size(); });
  return used;
}

absl::Status FakeFileSystem::Write(Node* node, uint64_t offset, std::span<const std::byte> bytes) {
  const uint64_t end = offset + bytes.size();
  const uint64_t growth = end > node->bytes.size() ? end - node->bytes.size() : 0;
  if (!HasRoom(growth)) {
    PutBytes(node, offset, bytes.first(std::min<uint64_t>(bytes.size(), RoomBytes())));
    return absl::ResourceExhaustedError("write: No space left on device");
  }
  PutBytes(node, offset, bytes);
  return absl::OkStatus();
}

void FakeFileSystem::PutBytes(Node* node, uint64_t offset, std::span<const std::byte> bytes) {
  if (bytes.empty()) return;
  if (node->bytes.size() < offset + bytes.size()) node->Resize(offset + bytes.size());
  node->Changed(offset, offset + bytes.size());
  std::memcpy(node->bytes.data() + offset, bytes.data(), bytes.size());
}

void FakeFileSystem::Visit(const std::string& path, const std::shared_ptr<Node>& node,
                           const std::function<void(const std::string&, Node*)>& visit) const {
  visit(path, node.get());
  for (const auto& [name, child] : node->names) Visit(absl::StrCat(path, "/", name), child, visit);
}

}  // namespace stepback
