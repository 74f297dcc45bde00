// A safetensors file as the weights of a new model: its header checked, its data mapped. F32 is used where it
// lies; F16, BF16 and F64 are converted to fp32; integers become CARRIED tensors.
//
// Refused: holes, overlaps, duplicates, lengths that lie. Immutable once open.
//
//   ASSIGN_OR_RETURN(auto file, SafetensorsFile::Open("model.safetensors"));
//   server->CreateModel({.name = "lm", .tensors = file->tensors()}, file->data());
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "stepback/tensor.h"

namespace stepback::cli {

class SafetensorsFile {
 public:
  static absl::StatusOr<std::unique_ptr<SafetensorsFile>> Open(const std::string& path);
  ~SafetensorsFile();
  SafetensorsFile(const SafetensorsFile&) = delete;
  SafetensorsFile& operator=(const SafetensorsFile&) = delete;

  // In the order of their bytes.
  const std::vector<client::Tensor>& tensors() const { return tensors_; }
  std::span<const client::TensorData> data() const { return data_; }

 private:
  SafetensorsFile() = default;
  absl::Status Map(const std::string& path);
  absl::Status ReadTable(const std::string& path);

  std::byte* map_ = nullptr;
  uint64_t map_bytes_ = 0;
  std::vector<client::Tensor> tensors_;
  std::vector<client::TensorData> data_;
  std::vector<std::unique_ptr<float[]>> converted_;
};

}  // namespace stepback::cli
