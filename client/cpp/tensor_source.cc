#include "client/cpp/tensor_source.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "kernels/encode_with.h"

namespace stepback::client {
namespace {

// Shorter pieces are copied: a slice of its own costs the transport more than the copy.
constexpr uint64_t kReferenceBytesMin = 16 * 1024;

// A pooled buffer that returns to its pool with the last payload that refers to it.
std::shared_ptr<std::byte> PooledBuffer(const std::shared_ptr<BufferPool>& pool, uint64_t bytes) {
  std::byte* buffer = pool->Allocate(bytes);
  if (buffer == nullptr) return nullptr;
  return std::shared_ptr<std::byte>(buffer, [pool, bytes](std::byte* p) { pool->Free(p, bytes); });
}

uint64_t ElementBytes(const Run& run, const Tensor& tensor) {
  return run.raw ? BytesOf(tensor.dtype) : sizeof(float);
}

}  // namespace

absl::Status CheckTensors(const PayloadLayout& layout, std::span<const Tensor> tensors,
                          std::span<const TensorData> data) {
  if (data.size() != tensors.size()) {
    return absl::InvalidArgumentError(
        fmt::format("{} tensors given, the table has {}", data.size(), tensors.size()));
  }
  for (const Run& run : layout.runs()) {
    const Tensor& tensor = tensors[run.tensor];
    const TensorData& given = data[run.tensor];
    const uint64_t begin = run.first - std::min(given.first, run.first);
    const uint64_t needed = (begin + run.count) * ElementBytes(run, tensor);
    const bool whole = run.first == 0 && run.count == tensor.elements() && given.first == 0;
    if (given.data == nullptr || given.first > run.first || given.bytes < needed ||
        (whole && given.bytes != needed)) {
      return absl::InvalidArgumentError(fmt::format(
          "tensor '{}' has {} bytes from element {}, expected {} bytes for elements [{}, +{}) as {}",
          tensor.name, given.data == nullptr ? 0 : given.bytes, given.first, needed, run.first, run.count,
          run.raw ? NameOf(tensor.dtype) : "f32"));
    }
  }
  return absl::OkStatus();
}

// Bytes [begin, end) of the encoded form of `run`.
struct TensorSource::Piece {
  const Run* run;
  uint64_t begin;
  uint64_t end;
};

TensorSource::TensorSource(const PayloadLayout* layout, std::span<const TensorData> data,
                           std::shared_ptr<BufferPool> pool, Options options)
    : layout_(layout),
      data_(data),
      pool_(std::move(pool)),
      options_(std::move(options)),
      values_(kStepElements) {
  const kernels::CodecInfo& codec = layout->codec();
  encoded_.resize(codec.encoded_bytes(std::max<uint64_t>(codec.block_elements, 1)));
}

absl::StatusOr<Payload> TensorSource::Read(uint64_t offset, uint64_t bytes) {
  Payload out;
  std::shared_ptr<std::byte> buffer;
  uint64_t used = 0, joined = 0;  // buffer bytes [joined, used) are not in `out` yet
  const auto flush = [&] {
    if (joined < used) out.Append({buffer.get() + joined, used - joined}, buffer);
    joined = used;
  };
  for (uint64_t at = offset; at < offset + bytes;) {
    const Run& run = *layout_->RunAt(at);
    const uint64_t end = std::min(run.byte_offset + run.bytes, offset + bytes);
    const Piece piece{&run, at - run.byte_offset, end - run.byte_offset};
    at = end;
    if (AsItIs(run) && !options_.copy && piece.end - piece.begin >= kReferenceBytesMin) {
      flush();
      const TensorData& given = data_[run.tensor];
      const uint64_t element_bytes = run.bytes / run.count;
      const auto* base =
          static_cast<const std::byte*>(given.data) + (run.first - given.first) * element_bytes;
      out.Append({base + piece.begin, piece.end - piece.begin}, options_.caller_memory);
      continue;
    }
    if (buffer == nullptr && (buffer = PooledBuffer(pool_, bytes)) == nullptr) {
      return absl::ResourceExhaustedError(fmt::format("no memory for a chunk of {} bytes", bytes));
    }
    Write(piece, buffer.get() + used);
    used += piece.end - piece.begin;
  }
  flush();
  return out;
}

// Whether the bytes on the wire are the caller's own.
bool TensorSource::AsItIs(const Run& run) const {
  if (run.raw) return true;
  if (layout_->codec().name != "f32") return false;
  return options_.base == nullptr || options_.base->Find(run.tensor, run.first, run.count) == nullptr;
}

void TensorSource::Write(const Piece& piece, std::byte* out) {
  const Run& run = *piece.run;
  if (AsItIs(run)) {
    const TensorData& given = data_[run.tensor];
    const uint64_t element_bytes = run.bytes / run.count;
    const auto* from = static_cast<const std::byte*>(given.data) + (run.first - given.first) * element_bytes;
    std::memcpy(out, from + piece.begin, piece.end - piece.begin);
    return;
  }
  // Whole blocks go straight to the chunk; a block that one of its ends cuts goes through `encoded_`.
  const uint64_t block = layout_->codec().block_elements, block_bytes = encoded_.size();
  for (uint64_t at = piece.begin; at < piece.end;) {
    const uint64_t index = at / block_bytes, skip = at % block_bytes;
    const uint64_t element = index * block;
    const uint64_t whole = skip == 0 ? (piece.end - at) / block_bytes : 0;
    if (whole > 0) {
      const uint64_t count = std::min(whole * block, run.count - element);
      WriteBlocks(run, element, count, out);
      at += whole * block_bytes;
      out += whole * block_bytes;
      continue;
    }
    const uint64_t take = std::min(block_bytes - skip, piece.end - at);
    WriteBlocks(run, element, std::min(block, run.count - element), encoded_.data());
    std::memcpy(out, encoded_.data() + skip, take);
    at += take;
    out += take;
  }
}

void TensorSource::WriteBlocks(const Run& run, uint64_t element, uint64_t count, std::byte* out) {
  const kernels::CodecInfo& codec = layout_->codec();
  const uint64_t step = std::max<uint64_t>(kStepElements / codec.block_elements, 1) * codec.block_elements;
  for (uint64_t done = 0; done < count; done += step) {
    const uint64_t n = std::min(step, count - done);
    const float* values = AddResidual(run, element + done, n, Prepare(run, element + done, n));
    kernels::EncodeWith(codec, values, n, {options_.draw_key, run.tensor, run.first + element + done}, out);
    if (options_.residual != nullptr) KeepRest(run, element + done, n, values, out);
    out += codec.encoded_bytes(n);
  }
}

const float* TensorSource::AddResidual(const Run& run, uint64_t element, uint64_t count,
                                       const float* values) {
  if (options_.residual == nullptr) return values;
  values_.resize(std::max<uint64_t>(values_.size(), count));
  const float* const rest = options_.residual->Now(run.tensor, run.first + element);
  const float beta = options_.residual->beta();
  float* const sum = values_.data();
  for (uint64_t i = 0; i < count; ++i) sum[i] = beta * rest[i] + values[i];
  return sum;
}

// A pure function of the residual before, so a part that is read again gives the same rest again.
void TensorSource::KeepRest(const Run& run, uint64_t element, uint64_t count, const float* values,
                            const std::byte* sent) {
  decoded_.resize(std::max<uint64_t>(decoded_.size(), count));
  layout_->codec().decode(sent, count, decoded_.data());
  float* const rest = options_.residual->Next(run.tensor, run.first + element);
  for (uint64_t i = 0; i < count; ++i) rest[i] = values[i] - decoded_[i];
}

// The floats to encode for elements [element, element + count) of the run: the caller's, or base - value.
const float* TensorSource::Prepare(const Run& run, uint64_t element, uint64_t count) {
  const float* value = ValuesAt(run, element);
  const float* base =
      options_.base == nullptr ? nullptr : options_.base->Find(run.tensor, run.first + element, count);
  if (base == nullptr) return value;
  values_.resize(std::max<uint64_t>(values_.size(), count));
  const float scale = options_.difference_scale;
  float* difference = values_.data();
  if (scale == 1) {
    for (uint64_t i = 0; i < count; ++i) difference[i] = base[i] - value[i];
  } else {
    for (uint64_t i = 0; i < count; ++i) difference[i] = scale * (base[i] - value[i]);
  }
  return difference;
}

const float* TensorSource::ValuesAt(const Run& run, uint64_t element) const {
  const TensorData& given = data_[run.tensor];
  return static_cast<const float*>(given.data) + (run.first - given.first) + element;
}

}  // namespace stepback::client
