// Tensors as the SDK sees them: the entries of a model's table, and pointers to the caller's memory in table
// order.
//
// Element type of the caller's memory: fp32, little-endian, row-major, for every TRAINED, AVERAGED and FROZEN
// tensor, whatever the trainer's dtype says; the raw bytes of the trainer's dtype for CARRIED tensors.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace stepback::client {

// The trainer's element type. Numbers are those of the proto.
enum class DataType : uint8_t { kF32 = 1, kF64, kF16, kBf16, kI8, kI16, kI32, kI64, kU8, kBool };

// What happens to a tensor when a round closes.
enum class Role : uint8_t {
  kTrained = 1,  // inner and outer rules
  kAveraged,     // mean of the contributions, no optimizer (BatchNorm statistics)
  kCarried,      // bytes of the newest contributor (integer buffers, counters)
  kFrozen,       // served, never pushed (LoRA bases)
};

uint64_t BytesOf(DataType type);
// "f32", "bf16", "i64", ...; "trained", "carried", ...
std::string NameOf(DataType type);
std::string NameOf(Role role);

// One entry of a model's tensor table.
struct Tensor {
  std::string name;
  std::vector<uint64_t> shape;  // empty: a scalar
  DataType dtype = DataType::kF32;
  Role role = Role::kTrained;

  uint64_t elements() const;
  // Bytes of the caller's memory for the whole tensor: 4 per element, or the dtype's size for CARRIED.
  uint64_t bytes() const;
  friend bool operator==(const Tensor&, const Tensor&) = default;
};

// The caller's memory for one tensor, read by the SDK until the call returns. data = nullptr: the tensor is
// not there (no gradient, or outside this rank's ranges). FROZEN tensors are never read.
struct TensorData {
  const void* data = nullptr;
  uint64_t bytes = 0;
  uint64_t first = 0;  // element that `data` starts with: a rank that holds only a shard points at its shard
};

// The caller's memory for one tensor, written by the SDK. data = nullptr: not wanted. Contents are undefined
// after a call that failed.
struct TensorSink {
  void* data = nullptr;
  uint64_t bytes = 0;
  uint64_t first = 0;
};

// Elements [begin, begin + count) of the dense concatenation of all tensors in table order.
struct ElementRange {
  uint64_t begin = 0;
  uint64_t count = 0;
  friend bool operator==(const ElementRange&, const ElementRange&) = default;
};

// Memory for a whole table, for programs that have none of their own. Zeros at first. Movable.
//
//   auto weights = TensorBuffers::Make(model.tensors());
//   worker->Pull(weights->sinks());
//   weights->floats(0)[7] -= 0.1f;
//   worker->PushWeights(weights->data());
class TensorBuffers {
 public:
  // RESOURCE_EXHAUSTED when there is no memory.
  static absl::StatusOr<TensorBuffers> Make(std::span<const Tensor> tensors);

  std::span<const TensorData> data() const { return data_; }
  std::span<const TensorSink> sinks() const { return sinks_; }
  size_t size() const { return data_.size(); }
  // Of a tensor that is not CARRIED.
  std::span<float> floats(size_t tensor);
  std::span<const float> floats(size_t tensor) const;
  std::span<std::byte> bytes(size_t tensor);
  std::span<const std::byte> bytes(size_t tensor) const;
  uint64_t total_bytes() const { return total_bytes_; }

 private:
  TensorBuffers() = default;
  struct Release {
    void operator()(std::byte* p) const;
  };
  std::unique_ptr<std::byte[], Release> memory_;
  std::vector<TensorData> data_;
  std::vector<TensorSink> sinks_;
  uint64_t total_bytes_ = 0;
};

}  // namespace stepback::client
