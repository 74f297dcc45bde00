#include "stepback/tensor.h"

#include <fmt/format.h>

#include <cstdlib>

namespace stepback::client {
namespace {

constexpr size_t kAlign = 64;

uint64_t RoundUp(uint64_t bytes) { return (bytes + kAlign - 1) / kAlign * kAlign; }

}  // namespace

uint64_t BytesOf(DataType type) {
  switch (type) {
    case DataType::kF64:
    case DataType::kI64:
      return 8;
    case DataType::kF32:
    case DataType::kI32:
      return 4;
    case DataType::kF16:
    case DataType::kBf16:
    case DataType::kI16:
      return 2;
    case DataType::kI8:
    case DataType::kU8:
    case DataType::kBool:
      return 1;
  }
  return 0;
}

uint64_t Tensor::elements() const {
  uint64_t product = 1;
  for (uint64_t dimension : shape) product *= dimension;
  return product;
}

uint64_t Tensor::bytes() const { return elements() * (role == Role::kCarried ? BytesOf(dtype) : 4); }

void TensorBuffers::Release::operator()(std::byte* p) const { std::free(p); }

absl::StatusOr<TensorBuffers> TensorBuffers::Make(std::span<const Tensor> tensors) {
  uint64_t room = kAlign;
  for (const Tensor& tensor : tensors) room += RoundUp(tensor.bytes());
  // calloc: large blocks come as untouched zero pages.
  void* block = std::calloc(room / kAlign + 1, kAlign);
  if (block == nullptr) {
    return absl::ResourceExhaustedError(fmt::format("no memory for tensors of {} bytes", room));
  }
  TensorBuffers buffers;
  buffers.memory_.reset(static_cast<std::byte*>(block));
  std::byte* at = buffers.memory_.get();
  at += (kAlign - reinterpret_cast<uintptr_t>(at) % kAlign) % kAlign;
  for (const Tensor& tensor : tensors) {
    const uint64_t bytes = tensor.bytes();
    buffers.data_.push_back({at, bytes, 0});
    buffers.sinks_.push_back({at, bytes, 0});
    buffers.total_bytes_ += bytes;
    at += RoundUp(bytes);
  }
  return buffers;
}

std::span<float> TensorBuffers::floats(size_t tensor) {
  const TensorSink& sink = sinks_[tensor];
  return {static_cast<float*>(sink.data), sink.bytes / sizeof(float)};
}

std::span<const float> TensorBuffers::floats(size_t tensor) const {
  const TensorSink& sink = sinks_[tensor];
  return {static_cast<const float*>(sink.data), sink.bytes / sizeof(float)};
}

std::span<std::byte> TensorBuffers::bytes(size_t tensor) {
  const TensorSink& sink = sinks_[tensor];
  return {static_cast<std::byte*>(sink.data), sink.bytes};
}

std::span<const std::byte> TensorBuffers::bytes(size_t tensor) const {
  const TensorSink& sink = sinks_[tensor];
  return {static_cast<const std::byte*>(sink.data), sink.bytes};
}

}  // namespace stepback::client
