// Puts the tensors of a safetensors file where the wire form of the model has them: table order, fp32,
// carried tensors raw. Names, shapes and types must be the model's, checked before memory is taken.
//
// Owner: an ImportModel stream. Thread: one at a time.
//
//   ImportSink sink(spec, layout, pool);
//   SafetensorsReader reader(&sink, sink.limits());   // feed, finish
//   model->Import(sink.TakeDense(), done);
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "kernels/backend.h"
#include "server/base/payload.h"
#include "server/core/layout.h"
#include "server/core/spec.h"
#include "server/store/safetensors_reader.h"

namespace stepback {

class ImportSink final : public SafetensorsReader::Sink {
 public:
  // The allocator outlives every payload taken from the sink.
  ImportSink(std::shared_ptr<const ModelSpec> spec, std::shared_ptr<const Layout> layout,
             kernels::HostAllocator* allocator);

  SafetensorsReader::Limits limits() const;
  // The largest file that can be the model.
  uint64_t file_bytes_max() const;

  absl::Status OnHeader(const SafetensorsHeader& header) override;
  absl::Status OnData(const SafetensorsTensor& tensor, uint64_t offset,
                      std::span<const std::byte> bytes) override;
  Payload TakeDense();

 private:
  struct Place {
    const TensorSpec* spec = nullptr;
    uint64_t dense_offset = 0;  // of its first byte in the dense form
    uint64_t elements = 0;
  };

  absl::Status CheckTensor(const SafetensorsTensor& tensor) const;
  absl::Status Allocate();
  absl::Status Convert(const SafetensorsTensor& tensor, const Place& place, uint64_t first,
                       std::span<const std::byte> whole);

  const std::shared_ptr<const ModelSpec> spec_;
  kernels::HostAllocator* const allocator_;
  std::map<std::string, Place> places_;
  uint64_t dense_bytes_ = 0;
  std::shared_ptr<std::byte> dense_;
  std::array<std::byte, 8> cut_;  // an element that two pieces share
  size_t cut_bytes_ = 0;
};

}  // namespace stepback
