// How a model looks as a safetensors file: every tensor under its name and shape. Float tensors are F32, what
// the server computes in, so that nothing is lost; CARRIED tensors have the trainer's type, bit for bit. When
// a file is read, float tensors may also be F64, F16 or BF16. Pure.
#pragma once

#include <cstdint>

#include "absl/status/statusor.h"
#include "server/core/layout.h"
#include "server/core/spec.h"
#include "server/store/safetensors_header.h"

namespace stepback {

// The header of an exported file; metadata: format, stepback.model, stepback.version.
absl::StatusOr<SafetensorsHeader> FileHeaderOf(const ModelSpec& spec, const std::string& version);

SafetensorsDtype FileTypeOf(DataType type);
// The type that `tensor` has in an exported file.
SafetensorsDtype ExportedTypeOf(const TensorSpec& tensor);
// Whether a file may hold `tensor` as `dtype`.
bool IsReadableAs(const TensorSpec& tensor, SafetensorsDtype dtype);

}  // namespace stepback
