#include "server/engine/wire_walker.h"

#include <algorithm>

namespace stepback {

WireWalker::Stretch WireWalker::NextBlock(const WireRun& run) const {
  const kernels::CodecInfo& codec = layout_->codec();
  const uint64_t elements = std::min<uint64_t>(codec.block_elements, run.count - done_elements_);
  return {elements, codec.encoded_bytes(elements)};
}

WireWalker::Stretch WireWalker::WholeBlocks(const WireRun& run, uint64_t bytes) const {
  if (bytes >= run.bytes - done_bytes_) return {run.count - done_elements_, run.bytes - done_bytes_};
  const kernels::CodecInfo& codec = layout_->codec();
  const uint64_t block_bytes = codec.encoded_bytes(codec.block_elements);
  const uint64_t blocks = bytes / block_bytes;
  return {blocks * codec.block_elements, blocks * block_bytes};
}

}  // namespace stepback
