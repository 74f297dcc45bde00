// A file system in memory that does what disks do on a bad day: it forgets what was not synced, tears writes,
// fails any call with any error, fills up, and rots.
//
// Durability model, on purpose harsher than most real file systems: a file's bytes survive Crash() only as of
// its last sync, a name only as of its directory's last SyncDirectory. What is not synced may survive in
// part: of the bytes any 512-byte sectors, of the changes of names a beginning, or any of them.
//
// Every call of the interface is counted, from 1 after ResetCalls(). Threads: any (one lock); locks held
// survive until dropped or Crash().
//
//   FakeFileSystem fs;
//   fs.FailCall(3, absl::ResourceExhaustedError("disk full"));
//   fs.FailCallsFrom(7); ... fs.Crash(FakeFileSystem::Unsynced::kLost);     // the machine dies at call 7
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "server/base/mutex.h"
#include "server/store/file_system.h"

namespace stepback {

class FakeFileSystem final : public FileSystem {
 public:
  // kTorn: parts survive, chosen by the seed. kKept: the process died and the machine did not.
  enum class Unsynced { kLost, kTorn, kKept };

  explicit FakeFileSystem(uint64_t seed = 1);
  ~FakeFileSystem() override;

  absl::StatusOr<std::unique_ptr<ReadableFile>> OpenForRead(const std::string& path, ReadMode mode) override;
  absl::StatusOr<std::unique_ptr<WritableFile>> OpenForWrite(const std::string& path,
                                                             WriteMode mode) override;
  absl::Status Rename(const std::string& from, const std::string& to) override;
  absl::Status RemoveFile(const std::string& path) override;
  absl::Status RemoveDirectory(const std::string& path) override;
  absl::Status CreateDirectory(const std::string& path) override;
  absl::StatusOr<std::vector<std::string>> List(const std::string& path) override;
  absl::Status SyncDirectory(const std::string& path) override;
  absl::StatusOr<std::unique_ptr<FileLock>> Lock(const std::string& path) override;
  absl::StatusOr<uint64_t> FreeBytes(const std::string& path) override;

  // Faults. A call that fails has no effect, except that a failing write may leave a part of its bytes (whole
  // sectors, where it by-passes the page cache) and a rename that fails for another reason than a full disk
  // may have happened. FailCallsFrom with RESOURCE_EXHAUSTED is a full disk: what takes no room succeeds.
  int64_t calls() const;
  void ResetCalls();
  std::vector<std::string> call_log() const;  // "sync /data/x", in order since ResetCalls
  void FailCall(int64_t n, absl::Status status);
  void FailCallsFrom(int64_t n, absl::Status status = absl::UnavailableError("the machine is down"));
  void FailCallsMatching(std::string prefix, absl::Status status);  // of the log's form; "" switches it off
  void StopFailing();
  // A slow disk: calls whose log form begins so ("": all) wait until LetGo; the others go on. Not across a
  // Crash.
  void HoldCallsMatching(std::string prefix);
  void AwaitHeld();  // until one waits
  void LetGo();
  void SetCapacity(uint64_t bytes);  // of all files together
  void SupportDirectIo(bool supported);

  // Power off and on, or a killed process: what is not durable goes, or may go later; open files and locks
  // die with their process, faults stop.
  void Crash(Unsynced unsynced);

  // Straight to the disk, past faults and counting. Paths must exist.
  std::string Contents(const std::string& path) const;
  void SetContents(const std::string& path, const std::string& bytes);  // durable at once
  void FlipBit(const std::string& path, uint64_t bit);
  bool Exists(const std::string& path) const;
  std::vector<std::string> AllFiles() const;  // full paths, sorted

 private:
  struct Node;
  struct NameChange;
  class ReadHandle;
  class WriteHandle;
  class LockHandle;

  absl::Status Enter(const std::string& what, const std::string& path) REQUIRES(mu_);
  void WaitWhileHeld(const std::string& call) REQUIRES(mu_);
  absl::StatusOr<std::shared_ptr<Node>> Find(const std::string& path) const REQUIRES(mu_);
  absl::StatusOr<std::pair<std::shared_ptr<Node>, std::string>> Parent(const std::string& path) const
      REQUIRES(mu_);
  void Apply(const NameChange& change, bool durable) REQUIRES(mu_);
  void Change(NameChange change) REQUIRES(mu_);
  absl::Status Remove(const std::string& what, const std::string& path, bool directory) REQUIRES(mu_);
  uint64_t UsedBytes() const REQUIRES(mu_);
  bool HasRoom(uint64_t bytes) const REQUIRES(mu_);
  uint64_t RoomBytes() const REQUIRES(mu_);  // 0 when the capacity is below what is in use
  absl::Status Write(Node* node, uint64_t offset, std::span<const std::byte> bytes) REQUIRES(mu_);
  void PutBytes(Node* node, uint64_t offset, std::span<const std::byte> bytes) REQUIRES(mu_);
  void SurviveInPart() REQUIRES(mu_);
  void CrashFile(Node* node, Unsynced unsynced) REQUIRES(mu_);
  void Visit(const std::string& path, const std::shared_ptr<Node>& node,
             const std::function<void(const std::string&, Node*)>& visit) const REQUIRES(mu_);

  mutable Mutex mu_;
  std::mt19937_64 random_ GUARDED_BY(mu_);
  std::shared_ptr<Node> root_ GUARDED_BY(mu_);
  std::vector<NameChange> pending_ GUARDED_BY(mu_);  // not durable yet, in order
  uint64_t incarnation_ GUARDED_BY(mu_) = 0;  // rises with every crash; handles of an older one are dead
  std::vector<std::string> log_ GUARDED_BY(mu_);
  std::map<int64_t, absl::Status> failing_ GUARDED_BY(mu_);
  int64_t fail_from_ GUARDED_BY(mu_) = INT64_MAX;
  absl::Status fail_from_status_ GUARDED_BY(mu_);
  std::string fail_prefix_ GUARDED_BY(mu_);
  absl::Status fail_prefix_status_ GUARDED_BY(mu_);
  std::optional<std::string> hold_prefix_ GUARDED_BY(mu_);
  int held_ GUARDED_BY(mu_) = 0;  // calls that wait
  CondVar held_or_let_go_;
  uint64_t capacity_bytes_ GUARDED_BY(mu_) = UINT64_MAX;
  bool direct_io_ GUARDED_BY(mu_) = true;
};

}  // namespace stepback
