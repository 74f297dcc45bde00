#include "server/store/safetensors_header.h"

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "server/base/little_endian.h"
#include "server/base/status_macros.h"
#include "server/store/safetensors_json.h"

namespace stepback {
namespace {

absl::Status InvalidTensor(const SafetensorsTensor& tensor, absl::string_view what) {
  return InvalidSafetensors(absl::StrCat("tensor ", QuotedForMessage(tensor.name), ": ", what));
}

absl::StatusOr<uint64_t> TensorBytes(const SafetensorsTensor& tensor) {
  if (tensor.shape.size() > kSafetensorsRankMax) {
    return InvalidTensor(tensor,
                         absl::StrCat(tensor.shape.size(), " dimensions, at most ", kSafetensorsRankMax));
  }
  uint64_t bytes = BytesOf(tensor.dtype);
  for (const uint64_t dimension : tensor.shape) {
    if (__builtin_mul_overflow(bytes, dimension, &bytes))
      return InvalidTensor(tensor, "its size overflows 64 bits");
  }
  return bytes;
}

// Sorted by offset: every tensor starts where the one before ends, and has the size its shape says.
absl::Status CheckTiling(const std::vector<SafetensorsTensor>& tensors) {
  uint64_t next = 0;
  for (const SafetensorsTensor& tensor : tensors) {
    ASSIGN_OR_RETURN(const uint64_t bytes, TensorBytes(tensor));
    if (tensor.begin != next) {
      return InvalidTensor(
          tensor, absl::StrCat(tensor.begin < next ? "overlaps" : "leaves a hole after",
                               " the tensor before it: starts at ", tensor.begin, ", expected ", next));
    }
    if (tensor.end < tensor.begin || tensor.end - tensor.begin != bytes) {
      return InvalidTensor(tensor, absl::StrCat("offsets [", tensor.begin, ", ", tensor.end,
                                                "], dtype and shape need ", bytes, " bytes"));
    }
    next = tensor.end;
  }
  return absl::OkStatus();
}

std::string QuotedJson(const std::string& text) { return nlohmann::json(text).dump(); }

// Written directly: an ordered JSON tree looks every new key up by walking all others.
std::string ToJson(const SafetensorsHeader& header) {
  std::vector<std::string> members;
  if (!header.metadata.empty()) {
    const nlohmann::json metadata = header.metadata;
    members.push_back(absl::StrCat(QuotedJson(kSafetensorsMetadataKey), ":", metadata.dump()));
  }
  for (const SafetensorsTensor& tensor : header.tensors) {
    members.push_back(absl::StrCat(
        QuotedJson(tensor.name), ":{\"dtype\":\"", std::string(NameOf(tensor.dtype)), "\",\"shape\":[",
        absl::StrJoin(tensor.shape, ","), "],\"data_offsets\":[", tensor.begin, ",", tensor.end, "]}"));
  }
  return absl::StrCat("{", absl::StrJoin(members, ","), "}");
}

// A lower bound of the header's size, before work is spent on its texts.
uint64_t TextBytes(const SafetensorsHeader& header) {
  uint64_t bytes = 0;
  for (const SafetensorsTensor& tensor : header.tensors) bytes += tensor.name.size();
  for (const auto& [key, value] : header.metadata) bytes += key.size() + value.size();
  return bytes;
}

absl::Status CheckHeaderBytes(uint64_t bytes) {
  if (bytes <= kSafetensorsHeaderBytesMax) return absl::OkStatus();
  return InvalidSafetensors(absl::StrCat("header of ", bytes, " bytes, at most ", kSafetensorsHeaderBytesMax));
}

absl::Status CheckNames(const SafetensorsHeader& header) {
  RETURN_IF_ERROR(CheckHeaderBytes(TextBytes(header)));
  std::set<std::string_view> names;
  for (const SafetensorsTensor& tensor : header.tensors) {
    if (tensor.name == kSafetensorsMetadataKey) return InvalidTensor(tensor, "the name is reserved");
    if (!IsJsonString(tensor.name)) return InvalidTensor(tensor, "the name is not UTF-8");
    if (!names.insert(tensor.name).second) return InvalidTensor(tensor, "the name appears twice");
  }
  for (const auto& [key, value] : header.metadata) {
    if (!IsJsonString(key) || !IsJsonString(value)) {
      return InvalidSafetensors(absl::StrCat("metadata ", QuotedForMessage(key), " is not UTF-8"));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<SafetensorsHeader> LayOutSafetensors(std::vector<SafetensorsTensor> tensors,
                                                    std::map<std::string, std::string> metadata) {
  std::stable_sort(tensors.begin(), tensors.end(),
                   [](const auto& a, const auto& b) { return BytesOf(a.dtype) > BytesOf(b.dtype); });
  SafetensorsHeader header{std::move(tensors), std::move(metadata), 0};
  RETURN_IF_ERROR(CheckNames(header));
  for (SafetensorsTensor& tensor : header.tensors) {
    ASSIGN_OR_RETURN(const uint64_t bytes, TensorBytes(tensor));
    tensor.begin = header.data_bytes;
    if (__builtin_add_overflow(tensor.begin, bytes, &tensor.end))
      return InvalidTensor(tensor, "the file overflows 64 bits");
    header.data_bytes = tensor.end;
  }
  RETURN_IF_ERROR(CheckHeaderBytes(EncodeSafetensorsHeader(header).size() - kSafetensorsLengthBytes));
  return header;
}

std::string EncodeSafetensorsHeader(const SafetensorsHeader& header) {
  std::string json = ToJson(header);
  json.append((8 - json.size() % 8) % 8, ' ');
  std::string bytes(kSafetensorsLengthBytes, '\0');
  StoreLittle64(json.size(), bytes.data());
  return bytes + json;
}

absl::StatusOr<SafetensorsHeader> DecodeSafetensorsHeader(std::string_view json) {
  RETURN_IF_ERROR(CheckHeaderBytes(json.size()));
  if (json.empty() || json.front() != '{') return InvalidSafetensors("the header does not start with '{'");
  // The JSON parser takes a zero byte for the end of its input and would not look at what follows.
  if (json.find('\0') != std::string_view::npos) return InvalidSafetensors("the header has a zero byte in it");
  ASSIGN_OR_RETURN(SafetensorsHeader header, ParseSafetensorsJson(json));
  std::stable_sort(header.tensors.begin(), header.tensors.end(), [](const auto& a, const auto& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });
  RETURN_IF_ERROR(CheckTiling(header.tensors));
  header.data_bytes = header.tensors.empty() ? 0 : header.tensors.back().end;
  return header;
}

}  // namespace stepback
