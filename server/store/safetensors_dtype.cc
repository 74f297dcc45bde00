#include "server/store/safetensors_dtype.h"

#include <iterator>

namespace stepback {
namespace {

struct Row {
  SafetensorsDtype dtype;
  std::string_view name;
  size_t bytes;
};

constexpr Row kTable[] = {
    {SafetensorsDtype::kBool, "BOOL", 1},      {SafetensorsDtype::kU8, "U8", 1},
    {SafetensorsDtype::kI8, "I8", 1},          {SafetensorsDtype::kF8E5M2, "F8_E5M2", 1},
    {SafetensorsDtype::kF8E4M3, "F8_E4M3", 1}, {SafetensorsDtype::kI16, "I16", 2},
    {SafetensorsDtype::kU16, "U16", 2},        {SafetensorsDtype::kF16, "F16", 2},
    {SafetensorsDtype::kBf16, "BF16", 2},      {SafetensorsDtype::kI32, "I32", 4},
    {SafetensorsDtype::kU32, "U32", 4},        {SafetensorsDtype::kF32, "F32", 4},
    {SafetensorsDtype::kI64, "I64", 8},        {SafetensorsDtype::kU64, "U64", 8},
    {SafetensorsDtype::kF64, "F64", 8},
};

constexpr bool TableIsInOrder() {
  for (size_t i = 0; i < std::size(kTable); ++i) {
    if (kTable[i].dtype != static_cast<SafetensorsDtype>(i)) return false;
  }
  return true;
}
static_assert(TableIsInOrder());

}  // namespace

std::string_view NameOf(SafetensorsDtype dtype) { return kTable[static_cast<size_t>(dtype)].name; }
size_t BytesOf(SafetensorsDtype dtype) { return kTable[static_cast<size_t>(dtype)].bytes; }

std::optional<SafetensorsDtype> SafetensorsDtypeNamed(std::string_view name) {
  for (const Row& row : kTable) {
    if (row.name == name) return row.dtype;
  }
  return std::nullopt;
}

}  // namespace stepback
