// Walks the bytes of a payload as they arrive, in pieces cut anywhere, and shows them as whole elements: for
// every piece the largest contiguous stretch of whole codec blocks of one run, and a gathered copy of a block
// that a cut goes through. Nothing is kept but the start of such a block.
//
// A value owned by one upload: a copy is a cheap snapshot (a chunk that fails its checksum is walked on a
// copy).
//
//   WireWalker walker(&layout);
//   walker.Feed(slice, [&](const WireRun& run, uint64_t first, uint64_t count, const std::byte* data) { ...
//   });
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "kernels/encoded_view.h"
#include "server/core/wire_layout.h"

namespace stepback {

class WireWalker {
 public:
  // `layout` outlives the walker and its copies.
  explicit WireWalker(const WireLayout* layout) : layout_(layout) {}

  // Visitor(run, first, count, data): elements [first, first + count) of the run's tensor, encoded at `data`;
  // for a raw run `first` and `count` are bytes. The pieces of one payload, fed in order, are at most
  // total_bytes().
  template <typename Visitor>
  void Feed(kernels::ByteSpan piece, Visitor&& visit) {
    while (piece.size > 0 || AtEmptyRun()) {
      const WireRun& run = layout_->runs()[run_];
      const size_t used = run.raw ? FeedRaw(run, piece, visit) : FeedBlocks(run, piece, visit);
      piece.data += used;
      piece.size -= used;
      if (done_bytes_ == run.bytes) NextRun();
    }
  }

 private:
  bool AtEmptyRun() const { return run_ < layout_->runs().size() && layout_->runs()[run_].bytes == 0; }

  void NextRun() {
    ++run_;
    done_bytes_ = done_elements_ = 0;
  }

  template <typename Visitor>
  size_t FeedRaw(const WireRun& run, kernels::ByteSpan piece, Visitor& visit) {
    const size_t take = std::min<uint64_t>(piece.size, run.bytes - done_bytes_);
    if (take > 0) visit(run, done_bytes_, take, piece.data);
    done_bytes_ += take;
    return take;
  }

  // Bytes taken from `piece`: whole blocks in place, or towards the block that a cut went through.
  template <typename Visitor>
  size_t FeedBlocks(const WireRun& run, kernels::ByteSpan piece, Visitor& visit) {
    if (cut_block_.empty()) {
      if (const Stretch whole = WholeBlocks(run, piece.size); whole.bytes > 0) {
        Show(run, whole, piece.data, visit);
        return whole.bytes;
      }
    }
    const Stretch block = NextBlock(run);
    const size_t take = std::min<uint64_t>(piece.size, block.bytes - cut_block_.size());
    cut_block_.insert(cut_block_.end(), piece.data, piece.data + take);
    if (cut_block_.size() == block.bytes) {
      Show(run, block, cut_block_.data(), visit);
      cut_block_.clear();
    }
    return take;
  }

  struct Stretch {
    uint64_t elements = 0;
    uint64_t bytes = 0;
  };

  template <typename Visitor>
  void Show(const WireRun& run, Stretch stretch, const std::byte* data, Visitor& visit) {
    visit(run, run.first + done_elements_, stretch.elements, data);
    done_elements_ += stretch.elements;
    done_bytes_ += stretch.bytes;
  }

  // The next block of `run` (its last one may be short), and all whole blocks that `bytes` bytes hold.
  Stretch NextBlock(const WireRun& run) const;
  Stretch WholeBlocks(const WireRun& run, uint64_t bytes) const;

  const WireLayout* layout_;
  size_t run_ = 0;
  uint64_t done_bytes_ = 0;  // of the run, shown
  uint64_t done_elements_ = 0;
  std::vector<std::byte> cut_block_;  // the first bytes of the block after them
};

}  // namespace stepback
