#include "client/cli/tensor_argument.h"

#include <algorithm>
#include <charconv>
#include <fstream>
#include <map>
#include <optional>

#include "fmt/core.h"
#include "nlohmann/json.hpp"
#include "server/base/status_macros.h"

namespace stepback::cli {
namespace {

using client::DataType;
using client::Role;

constexpr uint64_t kHeaderBytesMax = 100'000'000;

template <typename Enum>
std::optional<Enum> EnumOf(const std::string& word, int count) {
  for (int i = 1; i <= count; ++i) {
    if (NameOf(static_cast<Enum>(i)) == word) return static_cast<Enum>(i);
  }
  return std::nullopt;
}

bool IsFloat(DataType type) { return type <= DataType::kBf16; }

std::vector<std::string> Split(const std::string& text, char separator) {
  std::vector<std::string> parts(1);
  for (char c : text) {
    if (c == separator) {
      parts.emplace_back();
    } else {
      parts.back() += c;
    }
  }
  return parts;
}

absl::StatusOr<std::vector<uint64_t>> ParseShape(const std::string& text) {
  std::vector<uint64_t> shape;
  if (text == "scalar") return shape;
  for (const std::string& part : Split(text, 'x')) {
    uint64_t value = 0;
    const auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), value);
    if (error != std::errc() || end != part.data() + part.size()) {
      return absl::InvalidArgumentError(
          fmt::format("shape '{}': expected dimensions joined by 'x', like 7x13", text));
    }
    shape.push_back(value);
  }
  return shape;
}

absl::StatusOr<DataType> SafetensorsType(const std::string& name) {
  static const std::map<std::string, DataType> kTypes = {
      {"F32", DataType::kF32}, {"F64", DataType::kF64},  {"F16", DataType::kF16}, {"BF16", DataType::kBf16},
      {"I8", DataType::kI8},   {"I16", DataType::kI16},  {"I32", DataType::kI32}, {"I64", DataType::kI64},
      {"U8", DataType::kU8},   {"BOOL", DataType::kBool}};
  const auto found = kTypes.find(name);
  if (found == kTypes.end())
    return absl::InvalidArgumentError(fmt::format("dtype '{}' is not supported", name));
  return found->second;
}

absl::StatusOr<nlohmann::json> ReadHeader(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  unsigned char prefix[8];
  if (!file.read(reinterpret_cast<char*>(prefix), sizeof(prefix))) {
    return absl::InvalidArgumentError(fmt::format("{}: not a safetensors file (shorter than 8 bytes)", path));
  }
  uint64_t size = 0;
  for (int i = 7; i >= 0; --i) size = size << 8 | prefix[i];
  if (size > kHeaderBytesMax) {
    return absl::InvalidArgumentError(
        fmt::format("{}: header of {} bytes, at most {}", path, size, kHeaderBytesMax));
  }
  std::string text(size, 0);
  if (!file.read(text.data(), static_cast<std::streamsize>(size))) {
    return absl::InvalidArgumentError(fmt::format("{}: the header is cut off", path));
  }
  nlohmann::json header = nlohmann::json::parse(text, nullptr, false);
  if (!header.is_object()) return absl::InvalidArgumentError(fmt::format("{}: the header is not JSON", path));
  return header;
}

}  // namespace

absl::StatusOr<client::Tensor> ParseTensor(const std::string& text) {
  const std::vector<std::string> parts = Split(text, ':');
  if (parts.size() < 2 || parts.size() > 4 || parts[0].empty()) {
    return absl::InvalidArgumentError(
        fmt::format("tensor '{}': expected NAME:SHAPE[:DTYPE[:ROLE]], e.g. weight:7x13:f32:trained", text));
  }
  client::Tensor tensor{.name = parts[0]};
  ASSIGN_OR_RETURN(tensor.shape, ParseShape(parts[1]));
  const auto dtype = parts.size() > 2 ? EnumOf<DataType>(parts[2], 10) : DataType::kF32;
  if (!dtype)
    return absl::InvalidArgumentError(fmt::format("tensor '{}': unknown dtype '{}'", text, parts[2]));
  tensor.dtype = *dtype;
  const auto role = parts.size() > 3 ? EnumOf<Role>(parts[3], 4)
                                     : std::optional(IsFloat(*dtype) ? Role::kTrained : Role::kCarried);
  if (!role) return absl::InvalidArgumentError(fmt::format("tensor '{}': unknown role '{}'", text, parts[3]));
  tensor.role = *role;
  return tensor;
}

absl::StatusOr<std::vector<client::Tensor>> ReadTensorTable(const std::string& path) {
  ASSIGN_OR_RETURN(const nlohmann::json header, ReadHeader(path));
  std::vector<std::pair<uint64_t, client::Tensor>> placed;
  try {
    for (const auto& [name, entry] : header.items()) {
      if (name == "__metadata__") continue;
      client::Tensor tensor{.name = name, .shape = entry.at("shape").get<std::vector<uint64_t>>()};
      ASSIGN_OR_RETURN(tensor.dtype, SafetensorsType(entry.at("dtype").get<std::string>()));
      tensor.role = IsFloat(tensor.dtype) ? Role::kTrained : Role::kCarried;
      placed.emplace_back(entry.at("data_offsets").at(0).get<uint64_t>(), std::move(tensor));
    }
  } catch (const nlohmann::json::exception& error) {
    return absl::InvalidArgumentError(fmt::format("{}: bad header: {}", path, error.what()));
  }
  std::stable_sort(placed.begin(), placed.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<client::Tensor> tensors;
  for (auto& [offset, tensor] : placed) tensors.push_back(std::move(tensor));
  return tensors;
}

}  // namespace stepback::cli
