#include "server/engine/arena_writer.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "server/base/errors.h"
#include "server/base/status_macros.h"

namespace stepback {
namespace {

constexpr uint64_t kDecodeElements = 16384;

absl::Status DeviceError(kernels::Backend* backend) {
  return Error(absl::StatusCode::kInternal, "DEVICE_ERROR",
               fmt::format("writing weights to {} failed", backend->name()));
}

// What no element covers: the ends of the tensors' 64-byte cells.
kernels::Status ZeroPads(const Layout& layout, kernels::Backend* backend, kernels::Buffer* arena) {
  static constexpr std::byte kZeros[kernels::kArenaAlignFloats * sizeof(float)] = {};
  uint64_t end = 0;
  kernels::Status status = kernels::Status::kOk;
  const auto zero_until = [&](uint64_t begin) {
    for (; end < begin && status == kernels::Status::kOk; end = std::min(begin, end + sizeof(kZeros))) {
      status = backend->Upload(arena, end, kZeros, std::min<uint64_t>(sizeof(kZeros), begin - end));
    }
  };
  for (const TensorPlace& place : layout.tensors()) {
    zero_until(place.arena_begin * sizeof(float));
    end += place.role == Role::kCarried ? place.raw_bytes : place.elements * sizeof(float);
  }
  zero_until(layout.arena_floats() * sizeof(float));
  return status;
}

}  // namespace

absl::StatusOr<std::unique_ptr<ArenaWriter>> ArenaWriter::Make(const std::string& model,
                                                               std::shared_ptr<const Layout> layout,
                                                               const kernels::CodecInfo& codec,
                                                               kernels::Backend* backend) {
  ASSIGN_OR_RETURN(WireLayout wire, WireLayout::Make(*layout, codec, Direction::kPull, {}, {}));
  const uint64_t bytes = layout->arena_floats() * sizeof(float);
  std::unique_ptr<kernels::Buffer> arena = backend->Allocate(bytes);
  if (arena == nullptr) {
    return Error(absl::StatusCode::kResourceExhausted, "MEMORY_FULL",
                 fmt::format("model '{}': no memory for {} bytes of weights", model, bytes));
  }
  if (ZeroPads(*layout, backend, arena.get()) != kernels::Status::kOk) return DeviceError(backend);
  return std::unique_ptr<ArenaWriter>(
      new ArenaWriter(std::move(layout), std::move(wire), backend, std::move(arena)));
}

ArenaWriter::ArenaWriter(std::shared_ptr<const Layout> layout, WireLayout wire, kernels::Backend* backend,
                         std::unique_ptr<kernels::Buffer> arena)
    : layout_(std::move(layout)),
      wire_(std::move(wire)),
      backend_(backend),
      arena_(std::move(arena)),
      walker_(&wire_) {}

absl::Status ArenaWriter::Write(const kernels::EncodedView& bytes) {
  kernels::Status status = kernels::Status::kOk;
  for (const kernels::ByteSpan& span : bytes.spans()) {
    walker_.Feed(span, [&](const WireRun& run, uint64_t first, uint64_t count, const std::byte* data) {
      if (status == kernels::Status::kOk) status = Put(run, first, count, data);
    });
  }
  if (status != kernels::Status::kOk) return DeviceError(backend_);
  written_bytes_ += bytes.size();
  return absl::OkStatus();
}

kernels::Status ArenaWriter::Put(const WireRun& run, uint64_t first, uint64_t count, const std::byte* data) {
  const uint64_t begin = layout_->tensors()[run.tensor].arena_begin;
  if (run.raw) return backend_->Upload(arena_.get(), begin * sizeof(float) + first, data, count);
  if (wire_.codec().name == "f32") {
    return backend_->Upload(arena_.get(), (begin + first) * sizeof(float), data, count * sizeof(float));
  }
  return PutDecoded(begin + first, count, data);
}

kernels::Status ArenaWriter::PutDecoded(uint64_t arena_begin, uint64_t count, const std::byte* data) {
  const kernels::CodecInfo& codec = wire_.codec();
  const uint64_t step = std::max<uint64_t>(kDecodeElements / codec.block_elements, 1) * codec.block_elements;
  decoded_.resize(std::min(step, count));
  kernels::Status status = kernels::Status::kOk;
  for (uint64_t done = 0; done < count && status == kernels::Status::kOk; done += step) {
    const uint64_t take = std::min(step, count - done);
    codec.decode(data + codec.encoded_bytes(done), take, decoded_.data());
    status = backend_->Upload(arena_.get(), (arena_begin + done) * sizeof(float),
                              reinterpret_cast<const std::byte*>(decoded_.data()), take * sizeof(float));
  }
  return status;
}

}  // namespace stepback
