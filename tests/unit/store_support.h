// What the store's tests share: a snapshot made from a seed, and a catcher that says which snapshot came
// back.
#pragma once

#include <cstddef>
#include <cstring>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "server/store/model_store.h"
#include "server/store/snapshot.h"
#include "tests/fakes/file_system.h"

namespace stepback {

// Contents that follow from `seed` alone: a few arrays of odd sizes, one of them empty.
struct TestSnapshot {
  SnapshotMeta meta;
  std::vector<std::pair<std::string, std::vector<std::byte>>> arrays;

  explicit TestSnapshot(uint64_t seed, std::vector<size_t> sizes = {5000, 0, 4096, 12'345},
                        std::string label = "") {
    std::mt19937_64 random(seed);
    meta.term = 1;
    meta.counter = seed;
    meta.label = std::move(label);
    meta.wall_nanos = -static_cast<int64_t>(seed);
    meta.state = "state of " + std::to_string(seed) + std::string("\0\xff", 2);
    for (size_t i = 0; i < sizes.size(); ++i) {
      std::vector<std::byte> bytes(sizes[i]);
      for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
      arrays.emplace_back("array " + std::to_string(i), std::move(bytes));
    }
  }

  std::vector<ArrayView> Views() const {
    std::vector<ArrayView> views;
    for (const auto& [name, bytes] : arrays) views.push_back({name, bytes.size(), bytes.data(), {}});
    return views;
  }

  absl::StatusOr<Written> WriteTo(ModelStore* store, const WriteOptions& options = {}) const {
    return store->Write(meta, Views(), options);
  }
};

// Gives buffers to a load and keeps the last generation's.
class Catcher {
 public:
  ArrayAllocator Allocator() {
    return [this](const SnapshotMeta& meta, const ArrayInfo& array) {
      if (meta.generation != generation_) arrays_.clear();
      generation_ = meta.generation;
      // A sentinel after the end: nothing may be written there.
      std::vector<std::byte>& bytes = arrays_[array.name];
      bytes.assign(array.bytes + 1, std::byte{0x5b});
      return bytes.data();
    };
  }

  // Whether meta and arrays are those of `snapshot`, bit for bit.
  bool Is(const TestSnapshot& snapshot, const SnapshotMeta& meta) const {
    if (meta.term != snapshot.meta.term || meta.counter != snapshot.meta.counter ||
        meta.label != snapshot.meta.label || meta.state != snapshot.meta.state ||
        meta.wall_nanos != snapshot.meta.wall_nanos || meta.arrays.size() != snapshot.arrays.size()) {
      return false;
    }
    for (size_t i = 0; i < snapshot.arrays.size(); ++i) {
      const auto& [name, bytes] = snapshot.arrays[i];
      if (!(meta.arrays[i] == ArrayInfo{name, bytes.size()}) || !Holds(name, bytes)) return false;
    }
    return true;
  }

 private:
  bool Holds(const std::string& name, const std::vector<std::byte>& bytes) const {
    const auto found = arrays_.find(name);
    if (bytes.empty()) return found == arrays_.end();
    return found != arrays_.end() && found->second.size() == bytes.size() + 1 &&
           std::memcmp(found->second.data(), bytes.data(), bytes.size()) == 0 &&
           found->second.back() == std::byte{0x5b};
  }

  uint64_t generation_ = 0;
  std::map<std::string, std::vector<std::byte>> arrays_;
};

inline constexpr char kDataDir[] = "/data";
inline constexpr char kModel[] = "lm";
inline constexpr char kModelDir[] = "/data/models/lm";

// A store of model "lm" under term 1, in a fake file system that has a root and nothing else.
inline std::unique_ptr<ModelStore> OpenTestStore(FileSystem* fs, const std::string& data_dir = kDataDir) {
  absl::StatusOr<std::unique_ptr<ModelStore>> store =
      ModelStore::Open(fs, data_dir, kModel, {.create = true});
  if (!store.ok() || ((*store)->term() == 0 && !(*store)->RaiseTerm(1).ok())) return nullptr;
  return *std::move(store);
}

}  // namespace stepback
