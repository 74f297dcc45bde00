#include "server/rpc/import_sink.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "kernels/codec_info.h"
#include "server/base/errors.h"
#include "server/base/status_macros.h"
#include "server/rpc/float_convert.h"
#include "server/rpc/tensor_file.h"
#include "server/rpc/to_grpc.h"

namespace stepback {
namespace {

constexpr uint64_t kHeaderBytesPerTensor = 4096;  // name (escaped), shape, offsets
constexpr uint64_t kHeaderBytesBase = 1 << 20;    // metadata

absl::Status Mismatch(const ModelSpec& spec, const std::string& what) {
  return Error(absl::StatusCode::kInvalidArgument, "FILE_MISMATCH",
               fmt::format("model '{}': {}", spec.name, what));
}

}  // namespace

ImportSink::ImportSink(std::shared_ptr<const ModelSpec> spec, std::shared_ptr<const Layout> layout,
                       kernels::HostAllocator* allocator)
    : spec_(std::move(spec)), allocator_(allocator) {
  for (size_t i = 0; i < spec_->tensors.size(); ++i) {
    const TensorSpec& tensor = spec_->tensors[i];
    const TensorPlace& place = layout->tensors()[i];
    places_[tensor.name] = {&tensor, dense_bytes_, place.elements};
    dense_bytes_ += tensor.role == Role::kCarried ? place.raw_bytes : place.elements * sizeof(float);
  }
}

SafetensorsReader::Limits ImportSink::limits() const {
  const uint64_t header = kHeaderBytesBase + kHeaderBytesPerTensor * spec_->tensors.size();
  return {.header_bytes_max = std::min(header, kSafetensorsHeaderBytesMax),
          .data_bytes_max = 2 * dense_bytes_};
}

uint64_t ImportSink::file_bytes_max() const {
  const SafetensorsReader::Limits most = limits();
  return kSafetensorsLengthBytes + most.header_bytes_max + most.data_bytes_max;
}

absl::Status ImportSink::OnHeader(const SafetensorsHeader& header) {
  if (header.tensors.size() != places_.size()) {
    return Mismatch(
        *spec_, fmt::format("the file has {} tensors, expected {}", header.tensors.size(), places_.size()));
  }
  for (const SafetensorsTensor& tensor : header.tensors) RETURN_IF_ERROR(CheckTensor(tensor));
  return Allocate();
}

absl::Status ImportSink::CheckTensor(const SafetensorsTensor& tensor) const {
  const std::string name = Shortened(tensor.name, 128);
  const auto found = places_.find(tensor.name);
  if (found == places_.end())
    return Mismatch(*spec_, fmt::format("the file's tensor '{}' is not the model's", name));
  const TensorSpec& expected = *found->second.spec;
  if (tensor.shape != expected.shape) {
    return Mismatch(*spec_, fmt::format("tensor '{}' is [{}] in the file, expected [{}]", name,
                                        fmt::join(tensor.shape, ", "), fmt::join(expected.shape, ", ")));
  }
  if (IsReadableAs(expected, tensor.dtype)) return absl::OkStatus();
  return Mismatch(*spec_, fmt::format("tensor '{}' is {} in the file, expected {}", name,
                                      NameOf(tensor.dtype), NameOf(ExportedTypeOf(expected))));
}

absl::Status ImportSink::Allocate() {
  if (dense_bytes_ == 0) return absl::OkStatus();
  std::byte* const dense = allocator_->Allocate(dense_bytes_);
  if (dense == nullptr) {
    return Error(
        absl::StatusCode::kResourceExhausted, "NO_MEMORY",
        fmt::format("model '{}': no memory for {} bytes of imported weights", spec_->name, dense_bytes_));
  }
  dense_ = std::shared_ptr<std::byte>(
      dense, [allocator = allocator_, bytes = dense_bytes_](std::byte* p) { allocator->Free(p, bytes); });
  return absl::OkStatus();
}

absl::Status ImportSink::OnData(const SafetensorsTensor& tensor, uint64_t offset,
                                std::span<const std::byte> bytes) {
  const Place& place = places_.at(tensor.name);
  const size_t size = BytesOf(tensor.dtype);
  if (cut_bytes_ > 0) {
    const size_t missing = std::min(size - cut_bytes_, bytes.size());
    std::memcpy(cut_.data() + cut_bytes_, bytes.data(), missing);
    cut_bytes_ += missing;
    if (cut_bytes_ < size) return absl::OkStatus();
    RETURN_IF_ERROR(Convert(tensor, place, offset / size, {cut_.data(), size}));
    offset += missing;
    bytes = bytes.subspan(missing);
  }
  cut_bytes_ = bytes.size() % size;
  std::memcpy(cut_.data(), bytes.data() + bytes.size() - cut_bytes_, cut_bytes_);
  return Convert(tensor, place, offset / size, bytes.first(bytes.size() - cut_bytes_));
}

absl::Status ImportSink::Convert(const SafetensorsTensor& tensor, const Place& place, uint64_t first,
                                 std::span<const std::byte> whole) {
  const size_t size = BytesOf(tensor.dtype), count = whole.size() / size;
  if (count == 0) return absl::OkStatus();
  const bool carried = place.spec->role == Role::kCarried;
  std::byte* const to = dense_.get() + place.dense_offset + first * (carried ? size : sizeof(float));
  if (carried) {
    std::memcpy(to, whole.data(), whole.size());
    return absl::OkStatus();
  }
  ConvertToFloat(tensor.dtype, whole.data(), count, to);
  if (kernels::FindCodec("f32")->all_finite(to, count)) return absl::OkStatus();
  return Error(absl::StatusCode::kInvalidArgument, "NONFINITE",
               fmt::format("model '{}': tensor '{}' of the file has NaN or infinity in elements {}..{}",
                           spec_->name, Shortened(tensor.name, 128), first, first + count - 1));
}

Payload ImportSink::TakeDense() {
  Payload payload;
  const kernels::ByteSpan bytes = {dense_.get(), dense_bytes_};
  if (bytes.data != nullptr) payload.Append(bytes, std::move(dense_));
  return payload;
}

}  // namespace stepback
