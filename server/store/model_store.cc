#include "server/store/model_store.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "server/base/failpoint.h"
#include "server/base/status_macros.h"
#include "server/store/make_directory.h"
#include "server/store/remove_tree.h"
#include "server/store/snapshot_reader.h"
#include "server/store/snapshot_writer.h"
#include "server/store/store_paths.h"

namespace stepback {
namespace {

absl::Status CreateModelDirectory(FileSystem* fs, const std::string& data_dir, const std::string& directory) {
  RETURN_IF_ERROR(MakeDirectory(fs, data_dir));
  RETURN_IF_ERROR(MakeDirectory(fs, ModelsDirectory(data_dir)));
  return MakeDirectory(fs, directory);
}

std::vector<ArrayInfo> InfosOf(std::span<const ArrayView> arrays) {
  std::vector<ArrayInfo> infos;
  for (const ArrayView& array : arrays) infos.push_back({array.name, array.bytes});
  return infos;
}

// Code and reason stay, the model is named.
absl::Status Named(const std::string& model_name, const absl::Status& status) {
  absl::Status named(status.code(), absl::StrCat("model '", model_name, "': ", status.message()));
  status.ForEachPayload(
      [&named](absl::string_view type, const absl::Cord& payload) { named.SetPayload(type, payload); });
  return named;
}

}  // namespace

absl::StatusOr<std::unique_ptr<ModelStore>> ModelStore::Open(FileSystem* fs, const std::string& data_dir,
                                                             const std::string& model_name,
                                                             OpenOptions options) {
  ASSIGN_OR_RETURN(const std::string id, EscapeModelName(model_name));
  const std::string directory = JoinPath(ModelsDirectory(data_dir), id);
  if (options.create) RETURN_IF_ERROR(CreateModelDirectory(fs, data_dir, directory));
  if (absl::Status listed = fs->List(directory).status(); !listed.ok()) return Named(model_name, listed);
  std::unique_ptr<ModelStore> store(new ModelStore(fs, directory, model_name));
  FAILPOINT("lock.before_model");
  ASSIGN_OR_RETURN(store->lock_, fs->Lock(JoinPath(directory, kLockName)));
  FAILPOINT("lock.after_model");
  RETURN_IF_ERROR(store->Recover());
  return store;
}

ModelStore::ModelStore(FileSystem* fs, std::string directory, std::string model_name)
    : fs_(fs), directory_(std::move(directory)), model_name_(std::move(model_name)), terms_(fs, directory_) {}

absl::StatusOr<Written> ModelStore::Write(const SnapshotMeta& meta, std::span<const ArrayView> arrays,
                                          const WriteOptions& options) {
  SnapshotMeta complete = meta;
  complete.model_name = model_name_;
  complete.arrays = InfosOf(arrays);
  RETURN_IF_ERROR(CheckWrite(complete));
  complete.generation = next_generation_++;

  SnapshotWriter writer(fs_, directory_, complete.generation, options);
  absl::StatusOr<Written> written = writer.Write(complete, arrays);
  if (written.ok()) {
    verified_.insert(complete.generation);
    return written;
  }
  if (writer.outcome() == SnapshotWriter::Outcome::kUncertain) return Fatal(written.status());
  writer.RemoveLeftovers();
  return Named(model_name_, written.status());
}

absl::StatusOr<SnapshotMeta> ModelStore::LoadLatest(const ArrayAllocator& allocate, LoadReport* report) {
  ASSIGN_OR_RETURN(const std::vector<uint64_t> generations, Generations());
  if (generations.empty())
    return absl::NotFoundError(absl::StrCat("model '", model_name_, "' has no snapshot"));
  for (auto generation = generations.rbegin(); generation != generations.rend(); ++generation) {
    absl::StatusOr<SnapshotMeta> meta = LoadWhole(*generation, allocate);
    // Once more: an older generation lacks what was promised to be on disk, and a read error may pass.
    if (absl::IsDataLoss(meta.status())) meta = LoadWhole(*generation, allocate);
    if (!absl::IsDataLoss(meta.status())) return meta;
    report->damaged.push_back({*generation, std::string(meta.status().message())});
  }
  return absl::DataLossError(absl::StrCat("model '", model_name_, "': none of ", generations.size(),
                                          " snapshots verifies; the newest: ", report->damaged.front().what));
}

absl::StatusOr<SnapshotMeta> ModelStore::Load(uint64_t generation, const ArrayAllocator& allocate) {
  RETURN_IF_ERROR(CheckExists(generation));
  return LoadWhole(generation, allocate);
}

// DATA_LOSS means that this generation is damaged, and nothing else.
absl::StatusOr<SnapshotMeta> ModelStore::LoadWhole(uint64_t generation, const ArrayAllocator& allocate) {
  ASSIGN_OR_RETURN(Manifest manifest, ReadManifest(generation));
  const absl::Status read = SnapshotReader(fs_, directory_, model_name_).ReadArrays(manifest, allocate);
  if (absl::IsDataLoss(read)) MarkDamaged(generation);
  if (absl::IsResourceExhausted(read)) return Named(model_name_, read);
  RETURN_IF_ERROR(read);
  verified_.insert(generation);
  damaged_.erase(generation);
  return std::move(manifest.meta);
}

absl::StatusOr<uint64_t> ModelStore::FindLabel(const std::string& label) {
  LoadReport unreadable;
  ASSIGN_OR_RETURN(const std::vector<SnapshotMeta> snapshots, List(&unreadable));
  for (const SnapshotMeta& snapshot : snapshots) {
    if (!label.empty() && snapshot.label == label) return snapshot.generation;
  }
  return absl::NotFoundError(
      absl::StrCat("model '", model_name_, "' has no snapshot labelled '", label, "'"));
}

absl::StatusOr<SnapshotMeta> ModelStore::Describe(uint64_t generation) {
  RETURN_IF_ERROR(CheckExists(generation));
  ASSIGN_OR_RETURN(Manifest manifest, ReadManifest(generation));
  return std::move(manifest.meta);
}

absl::StatusOr<std::vector<SnapshotMeta>> ModelStore::List(LoadReport* report) {
  ASSIGN_OR_RETURN(std::vector<uint64_t> generations, Generations());
  std::reverse(generations.begin(), generations.end());
  std::vector<SnapshotMeta> snapshots;
  for (const uint64_t generation : generations) {
    absl::StatusOr<Manifest> manifest = ReadManifest(generation);
    if (absl::IsDataLoss(manifest.status())) {
      report->damaged.push_back({generation, std::string(manifest.status().message())});
      continue;
    }
    RETURN_IF_ERROR(manifest.status());
    manifest->meta.state.clear();
    snapshots.push_back(std::move(manifest->meta));
  }
  return snapshots;
}

absl::StatusOr<Manifest> ModelStore::ReadManifest(uint64_t generation) {
  absl::StatusOr<Manifest> manifest = SnapshotReader(fs_, directory_, model_name_).ReadManifest(generation);
  if (absl::IsDataLoss(manifest.status())) MarkDamaged(generation);
  // Where the term's own files are lost, the snapshots still say how far it got.
  if (manifest.ok()) terms_.NoteDurable(manifest->meta.term);
  return manifest;
}

void ModelStore::MarkDamaged(uint64_t generation) {
  damaged_.insert(generation);
  verified_.erase(generation);
}

absl::Status ModelStore::Prune(uint32_t keep, const std::set<uint64_t>& needed) {
  RETURN_IF_ERROR(writable_);
  ASSIGN_OR_RETURN(std::vector<StoredGeneration> stored, Stored());
  std::vector<uint64_t> removals = ChooseRemovals(std::move(stored), keep);
  std::erase_if(removals, [&](uint64_t generation) { return needed.contains(generation); });
  return RemoveGenerations(removals);
}

absl::Status ModelStore::Delete(uint64_t generation) {
  RETURN_IF_ERROR(writable_);
  RETURN_IF_ERROR(CheckExists(generation));
  ASSIGN_OR_RETURN(const std::vector<StoredGeneration> stored, Stored());
  if (!MayRemove(stored, generation)) {
    return absl::FailedPreconditionError(absl::StrCat("model '", model_name_, "': snapshot ", generation,
                                                      " is the last one known to verify, it stays"));
  }
  return RemoveGenerations({generation});
}

absl::Status ModelStore::RaiseTerm(uint64_t term) {
  RETURN_IF_ERROR(writable_);
  bool sync_failed = false;
  const absl::Status raised = terms_.Raise(term, &sync_failed);
  if (raised.ok()) return raised;
  return sync_failed ? Fatal(raised) : Named(model_name_, raised);
}

// Reads what is there and removes what an interrupted write or removal left.
absl::Status ModelStore::Recover() {
  ASSIGN_OR_RETURN(const std::vector<std::string> names, fs_->List(directory_));
  std::set<uint64_t> manifests, snapshots;
  for (const std::string& name : names) {
    if (auto generation = ParseManifestName(name)) manifests.insert(*generation);
    if (auto generation = ParseSnapshotName(name)) snapshots.insert(*generation);
    if (absl::EndsWith(name, kTemporarySuffix)) Sweep(name);
  }
  std::vector<uint64_t> unnamed;
  std::set_difference(snapshots.begin(), snapshots.end(), manifests.begin(), manifests.end(),
                      std::back_inserter(unnamed));
  // A kill may have come between the removal of a manifest and its sync: then the disk still knows the
  // snapshot.
  if (!unnamed.empty()) RETURN_IF_ERROR(fs_->SyncDirectory(directory_));
  for (const uint64_t generation : unnamed) Sweep(SnapshotName(generation));
  for (const uint64_t generation : snapshots) {
    next_generation_ = std::max(next_generation_, generation + 1);
  }
  if (!manifests.empty()) next_generation_ = std::max(next_generation_, *manifests.rbegin() + 1);
  RETURN_IF_ERROR(terms_.Recover(names));
  return term() == 0 ? TermFromSnapshots() : absl::OkStatus();
}

// Removes what nothing refers to. What resists is tried again at the next start.
void ModelStore::Sweep(const std::string& name) {
  const std::string path = JoinPath(directory_, name);
  const absl::Status removed =
      absl::EndsWith(name, kTemporarySuffix) ? fs_->RemoveFile(path) : RemoveTree(fs_, path);
  swept_.push_back(removed.ok() ? name : absl::StrCat(name, " (not removed: ", removed.message(), ")"));
}

// Without term files (someone removed them) the snapshots say how far the term got.
absl::Status ModelStore::TermFromSnapshots() {
  LoadReport unreadable;
  return List(&unreadable).status();  // reading a manifest notes its term
}

// Sorted, oldest first. A snapshot exists when its manifest's name does.
absl::StatusOr<std::vector<uint64_t>> ModelStore::Generations() {
  ASSIGN_OR_RETURN(const std::vector<std::string> names, fs_->List(directory_));
  std::vector<uint64_t> generations;
  for (const std::string& name : names) {
    if (auto generation = ParseManifestName(name)) generations.push_back(*generation);
  }
  std::sort(generations.begin(), generations.end());
  return generations;
}

absl::StatusOr<std::vector<StoredGeneration>> ModelStore::Stored() {
  LoadReport unreadable;
  ASSIGN_OR_RETURN(const std::vector<SnapshotMeta> snapshots, List(&unreadable));
  std::vector<StoredGeneration> stored;
  for (const SnapshotMeta& meta : snapshots) {
    stored.push_back({.generation = meta.generation,
                      .is_labelled = !meta.label.empty(),
                      .is_verified = verified_.count(meta.generation) != 0,
                      .is_damaged = damaged_.count(meta.generation) != 0});
  }
  for (const LoadReport::Damage& damage : unreadable.damaged) {
    stored.push_back({.generation = damage.generation, .is_readable = false, .is_damaged = true});
  }
  return stored;
}

absl::Status ModelStore::CheckWrite(const SnapshotMeta& meta) {
  RETURN_IF_ERROR(writable_);
  if (absl::Status status = CheckMeta(meta); !status.ok()) return Named(model_name_, status);
  if (meta.term > term()) {
    return absl::FailedPreconditionError(absl::StrCat("model '", model_name_, "': snapshot of term ",
                                                      meta.term, ", the durable term is ", term(),
                                                      "; RaiseTerm first"));
  }
  if (meta.label.empty()) return absl::OkStatus();
  const absl::StatusOr<uint64_t> taken = FindLabel(meta.label);
  if (absl::IsNotFound(taken.status())) return absl::OkStatus();
  RETURN_IF_ERROR(taken.status());
  return absl::AlreadyExistsError(
      absl::StrCat("model '", model_name_, "': label '", meta.label, "' is taken by snapshot ", *taken));
}

// Manifests first, durably; then nothing refers to the data.
absl::Status ModelStore::RemoveGenerations(const std::vector<uint64_t>& generations) {
  if (generations.empty()) return absl::OkStatus();
  FAILPOINT("prune.before_manifests");
  for (const uint64_t generation : generations) {
    RETURN_IF_ERROR(fs_->RemoveFile(JoinPath(directory_, ManifestName(generation))));
    verified_.erase(generation);
    damaged_.erase(generation);
  }
  FAILPOINT("prune.before_sync");
  if (absl::Status synced = fs_->SyncDirectory(directory_); !synced.ok()) return Fatal(synced);
  FAILPOINT("prune.after_sync");
  for (const uint64_t generation : generations) {
    RETURN_IF_ERROR(RemoveTree(fs_, JoinPath(directory_, SnapshotName(generation))));
  }
  FAILPOINT("prune.after_data");
  return absl::OkStatus();
}

// After a failed sync nobody knows what the disk holds, and a second sync that succeeds would prove nothing.
absl::Status ModelStore::Fatal(const absl::Status& status) {
  writable_ = absl::DataLossError(
      absl::StrCat("model '", model_name_, "': no more writes until a restart, because: ", status.message()));
  return writable_;
}

absl::Status ModelStore::CheckExists(uint64_t generation) {
  ASSIGN_OR_RETURN(const std::vector<uint64_t> generations, Generations());
  if (std::binary_search(generations.begin(), generations.end(), generation)) return absl::OkStatus();
  return absl::NotFoundError(absl::StrCat("model '", model_name_, "' has no snapshot ", generation));
}

}  // namespace stepback
