// Tensor tables from the command line ("weight:7x13:f32:trained") and from the header of a safetensors file.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "stepback/tensor.h"

namespace stepback::cli {

// NAME:SHAPE[:DTYPE[:ROLE]]; SHAPE is dimensions joined by 'x', "scalar" for none. The name may hold dots,
// not colons.
absl::StatusOr<client::Tensor> ParseTensor(const std::string& text);

// Table of a safetensors file, by file offset; floats are trained, integers carried. Only the header is read
// (at most 100,000,000 bytes, as the format says).
absl::StatusOr<std::vector<client::Tensor>> ReadTensorTable(const std::string& path);

}  // namespace stepback::cli
