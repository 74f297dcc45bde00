// A model's version as a snapshot's record and arrays, and back (model_image.proto). Reads immutable versions
// only.
//
//   SnapshotMeta meta{.state = ImageRecord(*version, created)};   store->Write(meta, ImageArrays(*version,
//   backend), {}); ImageLoader loader(backend, allocator); ASSIGN_OR_RETURN(SnapshotMeta meta,
//   store->LoadLatest(loader.allocator(), &report)); ASSIGN_OR_RETURN(LoadedImage image,
//   loader.Finish(meta));
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "server/core/model_version.h"
#include "server/engine/stored_open_state.h"
#include "server/store/snapshot.h"

namespace stepback {

// `open`: of a model with a log.
std::string ImageRecord(const ModelVersion& version, int64_t created_wall_nanos,
                        const OpenPlace* open = nullptr);
// Views of the version's memory; device memory is read part by part through `backend`. The version and `open`
// outlive them.
std::vector<ArrayView> ImageArrays(const ModelVersion& version, kernels::Backend* backend,
                                   const OpenPlace* open = nullptr);

struct LoadedImage {
  std::shared_ptr<const ModelVersion> version;
  int64_t created_wall_nanos = 0;
  uint64_t generation = 0;
  std::optional<OpenPlace> open;  // models with a log
};

// Of a snapshot's record alone: OldestNeeded of a model with a log, nullopt without one.
// DATA_LOSS(IMAGE_DAMAGED).
absl::StatusOr<std::optional<uint64_t>> OldestNeededBy(const SnapshotMeta& meta);

class ImageLoader {
 public:
  // Both outlive the loader and what it loads.
  ImageLoader(kernels::Backend* backend, kernels::HostAllocator* allocator)
      : backend_(backend), allocator_(allocator) {}
  ~ImageLoader();
  ImageLoader(const ImageLoader&) = delete;
  ImageLoader& operator=(const ImageLoader&) = delete;

  ArrayAllocator allocator();
  // DATA_LOSS(IMAGE_DAMAGED), FAILED_PRECONDITION(NEWER_FORMAT), or what ValidateSpec says of the
  // specification.
  absl::StatusOr<LoadedImage> Finish(const SnapshotMeta& meta);

 private:
  struct Target {
    std::unique_ptr<kernels::Buffer> buffer;  // of float arrays
    std::byte* host = nullptr;                // ours, when the buffer is not addressable, or there is none
    uint64_t bytes = 0;
  };
  std::byte* Allocate(const SnapshotMeta& meta, const ArrayInfo& info);
  void Clear();
  absl::StatusOr<Array> TakeArray(const std::string& name);
  absl::Status TakeArrays(const std::string& prefix, std::vector<Array>* arrays);
  absl::Status TakeAverage(const std::string& name, const v1::StoredAverageState& stored, const Array& phi,
                           AverageState* average);
  absl::StatusOr<std::shared_ptr<const std::vector<TensorCounters>>> TakeCounters(size_t tensors);

  kernels::Backend* const backend_;
  kernels::HostAllocator* const allocator_;
  uint64_t generation_ = 0;
  std::map<std::string, Target> targets_;
};

}  // namespace stepback
