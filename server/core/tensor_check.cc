#include "server/core/tensor_check.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "server/base/status_macros.h"
#include "server/core/field_error.h"
#include "server/core/utf8.h"

namespace stepback {
namespace {

absl::Status CheckName(const TensorSpec& tensor, const std::string& field) {
  const size_t bytes = tensor.name.size();
  if (bytes == 0 || bytes > kMaxTensorNameBytes) {
    return FieldError(field + ".name",
                      fmt::format("has {} bytes, expected 1..{}", bytes, kMaxTensorNameBytes));
  }
  if (!IsUtf8(tensor.name)) return FieldError(field + ".name", "is not UTF-8");
  return absl::OkStatus();
}

absl::Status CheckType(const TensorSpec& tensor, const std::string& field) {
  const int type = static_cast<int>(tensor.dtype), role = static_cast<int>(tensor.role);
  if (type < static_cast<int>(DataType::kF32) || type > static_cast<int>(DataType::kBool)) {
    return FieldError(field + ".dtype",
                      fmt::format("is {} for tensor '{}', expected 1..10", type, tensor.name));
  }
  if (role < static_cast<int>(Role::kTrained) || role > static_cast<int>(Role::kFrozen)) {
    return FieldError(field + ".role",
                      fmt::format("is {} for tensor '{}', expected 1..4", role, tensor.name));
  }
  if (!IsFloat(tensor.dtype) && tensor.role != Role::kCarried) {
    return FieldError(field + ".role", fmt::format("of tensor '{}' must be CARRIED: its dtype is {}",
                                                   tensor.name, NameOf(tensor.dtype)));
  }
  return absl::OkStatus();
}

absl::StatusOr<uint64_t> CheckShape(const TensorSpec& tensor, const std::string& field) {
  if (tensor.shape.size() > kMaxRank) {
    return FieldError(field + ".shape", fmt::format("of tensor '{}' has rank {}, at most {}", tensor.name,
                                                    tensor.shape.size(), kMaxRank));
  }
  uint64_t elements = 1;
  bool fits = true;
  for (const uint64_t dim : tensor.shape) {
    fits = fits && dim <= kMaxElements && (dim == 0 || elements <= kMaxElements / dim);
    elements = fits ? elements * dim : 0;
  }
  if (fits) return elements;
  return FieldError(field + ".shape", fmt::format("of tensor '{}' is [{}], at most 2^40 elements",
                                                  tensor.name, fmt::join(tensor.shape, ", ")));
}

}  // namespace

absl::StatusOr<uint64_t> CheckTensor(const TensorSpec& tensor, const std::string& field) {
  RETURN_IF_ERROR(CheckName(tensor, field));
  RETURN_IF_ERROR(CheckType(tensor, field));
  return CheckShape(tensor, field);
}

bool IsFloat(DataType type) {
  return type == DataType::kF32 || type == DataType::kF64 || type == DataType::kF16 ||
         type == DataType::kBf16;
}

const char* NameOf(DataType type) {
  constexpr const char* kNames[] = {"unknown", "f32", "f64", "f16", "bf16", "i8",
                                    "i16",     "i32", "i64", "u8",  "bool"};
  const auto index = static_cast<size_t>(type);
  return index < std::size(kNames) ? kNames[index] : kNames[0];
}

}  // namespace stepback
