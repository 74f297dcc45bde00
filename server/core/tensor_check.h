// Checks one entry of a tensor table as it comes from outside, and counts its elements. Pure.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/core/spec.h"

namespace stepback {

inline constexpr uint64_t kMaxElements = uint64_t{1} << 40;  // of one tensor, and of a model
inline constexpr uint64_t kMaxTensors = 1'000'000;
inline constexpr size_t kMaxRank = 16;
inline constexpr size_t kMaxTensorNameBytes = 512;

// Elements of the tensor: the product of its shape, 1 for a scalar. INVALID_ARGUMENT on a bad name, dtype,
// role or shape; `field` is its path ("spec.tensors[3]").
absl::StatusOr<uint64_t> CheckTensor(const TensorSpec& tensor, const std::string& field);

bool IsFloat(DataType type);
// "f32", "i64", ...; "unknown" outside the enumeration.
const char* NameOf(DataType type);

}  // namespace stepback
