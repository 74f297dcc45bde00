// Immutable bytes in pieces, each kept alive by whoever owns it: received slices are the staging area of a
// push and are never joined. Copying a Payload copies references, not bytes.
//
// Threads: a value; the bytes never change, so many threads may read one. The last copy to go frees them.
//
//   Payload payload;
//   payload.Append({slice.begin(), slice.size()}, owner_of_slice);
//   kernel.Read(payload.view());
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/backend.h"
#include "kernels/encoded_view.h"

namespace stepback {

// Below this size a payload is copied out of its slices (CopyOf): a slice of a few bytes can pin a whole read
// buffer of the transport.
inline constexpr size_t kPayloadCopyBytes = 64 * 1024;

class Payload {
 public:
  Payload() = default;

  // `span` stays valid and unchanged while `owner` lives.
  void Append(kernels::ByteSpan span, std::shared_ptr<const void> owner) {
    if (span.size == 0) return;
    view_.Append(span);
    if (owners_.empty() || owners_.back() != owner) owners_.push_back(std::move(owner));
  }
  void Append(const Payload& other) {
    for (const kernels::ByteSpan& span : other.view_.spans()) view_.Append(span);
    owners_.insert(owners_.end(), other.owners_.begin(), other.owners_.end());
  }

  uint64_t size() const { return view_.size(); }
  bool empty() const { return view_.size() == 0; }
  const kernels::EncodedView& view() const { return view_; }

  // One contiguous copy in memory of `allocator`, which must outlive it. RESOURCE_EXHAUSTED when there is
  // none.
  static absl::StatusOr<Payload> CopyOf(const kernels::EncodedView& view, kernels::HostAllocator* allocator);

 private:
  kernels::EncodedView view_;
  std::vector<std::shared_ptr<const void>> owners_;
};

}  // namespace stepback
