#include "client/cli/safetensors_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <functional>
#include <map>
#include <new>
#include <nlohmann/json.hpp>
#include <optional>
#include <tuple>

#include "kernels/codec_info.h"
#include "server/base/little_endian.h"
#include "server/base/status_macros.h"

namespace stepback::cli {
namespace {

using client::DataType;
using nlohmann::json;

constexpr uint64_t kPrefixBytes = 8;
constexpr uint64_t kHeaderBytesMax = 100'000'000;
constexpr uint64_t kElementsMax = uint64_t{1} << 40;

absl::Status Bad(const std::string& path, const std::string& what) {
  return absl::InvalidArgumentError(fmt::format("'{}' is no safetensors file: {}", path, what));
}

struct Entry {
  std::string name;
  std::vector<uint64_t> shape;
  DataType dtype = DataType::kF32;
  uint64_t begin = 0, end = 0;  // of the data, after the header

  uint64_t elements() const { return client::Tensor{.shape = shape}.elements(); }
};

std::optional<DataType> TypeNamed(const std::string& name) {
  static const std::map<std::string, DataType> kTypes = {
      {"F32", DataType::kF32}, {"F64", DataType::kF64},  {"F16", DataType::kF16}, {"BF16", DataType::kBf16},
      {"I8", DataType::kI8},   {"I16", DataType::kI16},  {"I32", DataType::kI32}, {"I64", DataType::kI64},
      {"U8", DataType::kU8},   {"BOOL", DataType::kBool}};
  const auto found = kTypes.find(name);
  return found == kTypes.end() ? std::nullopt : std::optional(found->second);
}

bool IsFloat(DataType type) {
  return type == DataType::kF32 || type == DataType::kF64 || type == DataType::kF16 ||
         type == DataType::kBf16;
}

bool IsCount(const json& value) { return value.is_number_unsigned(); }

absl::StatusOr<Entry> ReadEntry(const std::string& path, const std::string& name, const json& value) {
  const bool shaped = value.is_object() && value.contains("dtype") && value["dtype"].is_string() &&
                      value.contains("shape") && value["shape"].is_array() &&
                      value.contains("data_offsets") && value["data_offsets"].is_array() &&
                      value["data_offsets"].size() == 2 && IsCount(value["data_offsets"][0]) &&
                      IsCount(value["data_offsets"][1]);
  if (!shaped) return Bad(path, fmt::format("tensor '{}' lacks dtype, shape or data_offsets", name));
  const std::optional<DataType> dtype = TypeNamed(value["dtype"].get<std::string>());
  if (!dtype) return Bad(path, fmt::format("tensor '{}' has dtype {}", name, value["dtype"].dump()));
  Entry entry{
      .name = name, .dtype = *dtype, .begin = value["data_offsets"][0], .end = value["data_offsets"][1]};
  uint64_t elements = 1;
  for (const json& dimension : value["shape"]) {
    if (!IsCount(dimension))
      return Bad(path, fmt::format("tensor '{}' has shape {}", name, value["shape"].dump()));
    const uint64_t size = dimension;
    if (size != 0 && elements > kElementsMax / size)
      return Bad(path, fmt::format("tensor '{}' is too large", name));
    elements *= size;
    entry.shape.push_back(size);
  }
  if (entry.end < entry.begin || entry.end - entry.begin != elements * client::BytesOf(entry.dtype)) {
    return Bad(path, fmt::format("tensor '{}' has {} elements of {} at bytes [{}, {})", name, elements,
                                 client::NameOf(entry.dtype), entry.begin, entry.end));
  }
  return entry;
}

// Refuses the same name twice, which a JSON library would merge silently.
class NoDuplicates {
 public:
  bool operator()(int depth, json::parse_event_t event, json& parsed) {
    if (event == json::parse_event_t::key && depth == 1)
      twice_ = twice_ || !names_.emplace(parsed, true).second;
    return true;
  }
  bool twice() const { return twice_; }

 private:
  std::map<std::string, bool> names_;
  bool twice_ = false;
};

float HalfToFloat(uint16_t half) {
  const float sign = half & 0x8000 ? -1.0f : 1.0f;
  const int exponent = half >> 10 & 0x1f, fraction = half & 0x3ff;
  if (exponent == 31) return fraction == 0 ? sign * HUGE_VALF : NAN;
  return sign * (exponent == 0 ? std::ldexp(static_cast<float>(fraction), -24)
                               : std::ldexp(static_cast<float>(fraction | 0x400), exponent - 25));
}

void ToFloats(DataType dtype, const std::byte* from, uint64_t elements, float* to) {
  if (dtype == DataType::kBf16) return kernels::FindCodec("bf16")->decode(from, elements, to);
  for (uint64_t i = 0; i < elements; ++i) {
    if (dtype == DataType::kF16) {
      uint16_t half;
      std::memcpy(&half, from + 2 * i, 2);
      to[i] = HalfToFloat(half);
    } else if (dtype == DataType::kF64) {
      double x;
      std::memcpy(&x, from + 8 * i, 8);
      to[i] = static_cast<float>(x);
    } else {
      std::memcpy(&to[i], from + 4 * i, 4);  // F32 that is not aligned
    }
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<SafetensorsFile>> SafetensorsFile::Open(const std::string& path) {
  std::unique_ptr<SafetensorsFile> file(new SafetensorsFile);
  RETURN_IF_ERROR(file->Map(path));
  RETURN_IF_ERROR(file->ReadTable(path));
  return file;
}

SafetensorsFile::~SafetensorsFile() {
  if (map_ != nullptr) munmap(map_, map_bytes_);
}

absl::Status SafetensorsFile::Map(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  struct stat info = {};
  if (fd < 0 || fstat(fd, &info) != 0) {
    const int error = errno;
    if (fd >= 0) close(fd);
    return absl::NotFoundError(fmt::format("cannot read '{}': {}", path, std::strerror(error)));
  }
  map_bytes_ = static_cast<uint64_t>(info.st_size);
  void* map =
      map_bytes_ < kPrefixBytes ? MAP_FAILED : mmap(nullptr, map_bytes_, PROT_READ, MAP_PRIVATE, fd, 0);
  close(fd);
  if (map == MAP_FAILED) return Bad(path, fmt::format("it has {} bytes", map_bytes_));
  map_ = static_cast<std::byte*>(map);
  return absl::OkStatus();
}

absl::Status SafetensorsFile::ReadTable(const std::string& path) {
  const uint64_t header_bytes = LoadLittle64(map_);
  if (header_bytes > std::min(kHeaderBytesMax, map_bytes_ - kPrefixBytes)) {
    return Bad(path, fmt::format("a header of {} bytes in a file of {}", header_bytes, map_bytes_));
  }
  const char* text = reinterpret_cast<const char*>(map_) + kPrefixBytes;
  NoDuplicates names;
  const json header = json::parse(text, text + header_bytes, std::ref(names), /*allow_exceptions=*/false);
  if (!header.is_object()) return Bad(path, "its header is no JSON object");
  if (names.twice()) return Bad(path, "two tensors have the same name");
  std::vector<Entry> entries;
  for (const auto& [name, value] : header.items()) {
    if (name == "__metadata__") continue;
    ASSIGN_OR_RETURN(Entry entry, ReadEntry(path, name, value));
    entries.push_back(std::move(entry));
  }
  if (entries.empty()) return Bad(path, "it has no tensors");
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    return std::tie(a.begin, a.end, a.name) < std::tie(b.begin, b.end, b.name);
  });
  const std::byte* base = map_ + kPrefixBytes + header_bytes;
  uint64_t next = 0;
  for (const Entry& entry : entries) {
    if (entry.begin != next) {
      return Bad(path,
                 fmt::format("tensor '{}' begins at byte {}, expected {}", entry.name, entry.begin, next));
    }
    next = entry.end;
  }
  if (next != map_bytes_ - kPrefixBytes - header_bytes) {
    return Bad(path, fmt::format("its tensors end at byte {} of {}", next,
                                 map_bytes_ - kPrefixBytes - header_bytes));
  }
  for (const Entry& entry : entries) {
    const client::Role role = IsFloat(entry.dtype) ? client::Role::kTrained : client::Role::kCarried;
    tensors_.push_back({entry.name, entry.shape, entry.dtype, role});
    const std::byte* from = base + entry.begin;
    const bool as_it_is = !IsFloat(entry.dtype) || (entry.dtype == DataType::kF32 &&
                                                    reinterpret_cast<uintptr_t>(from) % alignof(float) == 0);
    if (!as_it_is) {
      converted_.emplace_back(new (std::nothrow) float[entry.elements()]);
      if (converted_.back() == nullptr) {
        return absl::ResourceExhaustedError(fmt::format("no memory for tensor '{}'", entry.name));
      }
      ToFloats(entry.dtype, from, entry.elements(), converted_.back().get());
      from = reinterpret_cast<const std::byte*>(converted_.back().get());
    }
    data_.push_back({from, tensors_.back().bytes(), 0});
  }
  return absl::OkStatus();
}

}  // namespace stepback::cli
