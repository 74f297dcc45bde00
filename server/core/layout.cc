#include "server/core/layout.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <string_view>
#include <unordered_set>

#include "kernels/backend.h"
#include "server/base/sha256.h"
#include "server/base/status_macros.h"
#include "server/core/field_error.h"
#include "server/core/tensor_check.h"

namespace stepback {
namespace {

uint64_t AlignUp(uint64_t floats) {
  return (floats + kernels::kArenaAlignFloats - 1) / kernels::kArenaAlignFloats * kernels::kArenaAlignFloats;
}

// Numbers go in as they lie in memory: every supported platform is little-endian (kernels/codecs/codec.h).
template <typename Number>
void Put(Sha256* sha, Number value) {
  sha->Update(&value, sizeof value);
}

std::array<uint8_t, 32> FingerprintOf(const std::vector<TensorSpec>& tensors) {
  Sha256 sha;
  for (const TensorSpec& tensor : tensors) {
    Put(&sha, static_cast<uint32_t>(tensor.name.size()));
    sha.Update(tensor.name);
    Put(&sha, static_cast<uint8_t>(tensor.dtype));
    Put(&sha, static_cast<uint32_t>(tensor.shape.size()));
    for (const uint64_t dim : tensor.shape) Put(&sha, dim);
    Put(&sha, static_cast<uint8_t>(tensor.role));
  }
  const std::string digest = sha.Finish();
  std::array<uint8_t, 32> fingerprint;
  std::memcpy(fingerprint.data(), digest.data(), fingerprint.size());
  return fingerprint;
}

absl::Status CheckCount(size_t count) {
  if (count >= 1 && count <= kMaxTensors) return absl::OkStatus();
  return FieldError("spec.tensors", fmt::format("has {} entries, expected 1..{}", count, kMaxTensors));
}

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

absl::StatusOr<std::shared_ptr<const Layout>> Layout::Make(const std::vector<TensorSpec>& tensors,
                                                           const FragmentSpec& fragments) {
  RETURN_IF_ERROR(CheckCount(tensors.size()));
  auto layout = std::make_shared<Layout>();
  layout->tensors_.reserve(tensors.size());
  std::unordered_set<std::string_view> names;
  for (size_t t = 0; t < tensors.size(); ++t) {
    const std::string field = fmt::format("spec.tensors[{}]", t);
    ASSIGN_OR_RETURN(const uint64_t elements, CheckTensor(tensors[t], field));
    if (!names.insert(tensors[t].name).second) {
      return FieldError(field + ".name", fmt::format("'{}' is there twice", tensors[t].name));
    }
    if (elements > kMaxElements - layout->elements_) {
      return FieldError(field + ".shape",
                        fmt::format("of tensor '{}' brings the model above 2^40 elements", tensors[t].name));
    }
    TensorPlace place{.elements = elements,
                      .element_begin = layout->elements_,
                      .arena_begin = layout->arena_floats_,
                      .raw_bytes = elements * BytesOf(tensors[t].dtype),
                      .role = tensors[t].role};
    place.arena_floats = place.role == Role::kCarried ? (place.raw_bytes + 3) / 4 : elements;
    layout->elements_ += elements;
    layout->arena_floats_ = AlignUp(place.arena_begin + place.arena_floats);
    layout->tensors_.push_back(place);
  }
  ASSIGN_OR_RETURN(layout->fragments_, FragmentTable::Make(tensors, layout->tensors_, fragments));
  layout->fingerprint_ = FingerprintOf(tensors);
  return layout;
}

std::string Layout::fingerprint_hex() const { return fmt::format("{:02x}", fmt::join(fingerprint_, "")); }

}  // namespace stepback
