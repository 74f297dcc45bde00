// Fills a model's arena from bytes in wire order: initial weights and imports. Decodes as the bytes come,
// into a buffer of the back-end; pads are zero.
//
// One owner at a time.
//
//   ASSIGN_OR_RETURN(auto writer, ArenaWriter::Make("lm", layout, codec, backend));
//   RETURN_IF_ERROR(writer->Write(payload.view()));  ...  std::unique_ptr<kernels::Buffer> weights =
//   writer->Take();
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/backend.h"
#include "server/core/layout.h"
#include "server/core/wire_layout.h"
#include "server/engine/wire_walker.h"

namespace stepback {

class ArenaWriter {
 public:
  // All tensors, frozen ones too. RESOURCE_EXHAUSTED(MEMORY_FULL), INTERNAL(DEVICE_ERROR). `backend` outlives
  // it.
  static absl::StatusOr<std::unique_ptr<ArenaWriter>> Make(const std::string& model,
                                                           std::shared_ptr<const Layout> layout,
                                                           const kernels::CodecInfo& codec,
                                                           kernels::Backend* backend);

  uint64_t total_bytes() const { return wire_.total_bytes(); }
  uint64_t written_bytes() const { return written_bytes_; }
  // The next bytes; at most total_bytes() in all.
  absl::Status Write(const kernels::EncodedView& bytes);
  std::unique_ptr<kernels::Buffer> Take() { return std::move(arena_); }

 private:
  ArenaWriter(std::shared_ptr<const Layout> layout, WireLayout wire, kernels::Backend* backend,
              std::unique_ptr<kernels::Buffer> arena);
  kernels::Status Put(const WireRun& run, uint64_t first, uint64_t count, const std::byte* data);
  kernels::Status PutDecoded(uint64_t arena_begin, uint64_t count, const std::byte* data);

  const std::shared_ptr<const Layout> layout_;
  const WireLayout wire_;
  kernels::Backend* const backend_;
  std::unique_ptr<kernels::Buffer> arena_;
  WireWalker walker_;
  uint64_t written_bytes_ = 0;
  std::vector<float> decoded_;  // a few blocks
};

}  // namespace stepback
