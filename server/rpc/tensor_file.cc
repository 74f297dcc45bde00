#include "server/rpc/tensor_file.h"

#include <utility>

namespace stepback {

SafetensorsDtype FileTypeOf(DataType type) {
  switch (type) {
    case DataType::kF32:
      return SafetensorsDtype::kF32;
    case DataType::kF64:
      return SafetensorsDtype::kF64;
    case DataType::kF16:
      return SafetensorsDtype::kF16;
    case DataType::kBf16:
      return SafetensorsDtype::kBf16;
    case DataType::kI8:
      return SafetensorsDtype::kI8;
    case DataType::kI16:
      return SafetensorsDtype::kI16;
    case DataType::kI32:
      return SafetensorsDtype::kI32;
    case DataType::kI64:
      return SafetensorsDtype::kI64;
    case DataType::kU8:
      return SafetensorsDtype::kU8;
    case DataType::kBool:
      return SafetensorsDtype::kBool;
  }
  return SafetensorsDtype::kF32;
}

SafetensorsDtype ExportedTypeOf(const TensorSpec& tensor) {
  return tensor.role == Role::kCarried ? FileTypeOf(tensor.dtype) : SafetensorsDtype::kF32;
}

bool IsReadableAs(const TensorSpec& tensor, SafetensorsDtype dtype) {
  if (tensor.role == Role::kCarried) return dtype == FileTypeOf(tensor.dtype);
  return dtype == SafetensorsDtype::kF32 || dtype == SafetensorsDtype::kF64 ||
         dtype == SafetensorsDtype::kF16 || dtype == SafetensorsDtype::kBf16;
}

absl::StatusOr<SafetensorsHeader> FileHeaderOf(const ModelSpec& spec, const std::string& version) {
  std::vector<SafetensorsTensor> tensors;
  for (const TensorSpec& tensor : spec.tensors) {
    tensors.push_back({.name = tensor.name, .dtype = ExportedTypeOf(tensor), .shape = tensor.shape});
  }
  return LayOutSafetensors(std::move(tensors),
                           {{"format", "pt"}, {"stepback.model", spec.name}, {"stepback.version", version}});
}

}  // namespace stepback
