// A buffer that direct I/O accepts: aligned to kDirectIoAlign. Taken from an allocator that promises less, or
// from the C library. Owned by one thread.
#pragma once

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <span>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "kernels/backend.h"
#include "server/base/errors.h"
#include "server/store/file_system.h"

namespace stepback {

class DirectBuffer {
 public:
  // RESOURCE_EXHAUSTED(NO_MEMORY) when there is no memory. `allocator` (null: the C library) outlives the buffer.
  static absl::StatusOr<DirectBuffer> Make(kernels::HostAllocator* allocator, size_t bytes) {
    const size_t room = bytes + kDirectIoAlign;
    void* const raw = allocator != nullptr ? allocator->Allocate(room) : std::malloc(room);
    if (raw == nullptr) {
      return Error(absl::StatusCode::kResourceExhausted, "NO_MEMORY",
                   absl::StrCat("no memory for an I/O buffer of ", bytes, " bytes"));
    }
    return DirectBuffer(static_cast<std::byte*>(raw), Deleter{allocator, room}, bytes);
  }

  // From the C library, on huge pages where the kernel allows: a transfer to or from scattered small pages is
  // cut into many requests, which takes a virtual disk several times as long (decisions 121).
  static absl::StatusOr<DirectBuffer> MakeOnHugePages(size_t bytes) {
    const size_t room = (bytes + kHugePageBytes - 1) / kHugePageBytes * kHugePageBytes;
    void* const raw = std::aligned_alloc(kHugePageBytes, room);
    if (raw == nullptr)
      return absl::ResourceExhaustedError(absl::StrCat("no memory for an I/O buffer of ", bytes, " bytes"));
#if defined(__linux__)
    (void)madvise(raw, room, MADV_HUGEPAGE);  // advice: a refusal costs only speed
#endif
    return DirectBuffer(static_cast<std::byte*>(raw), Deleter{nullptr, room}, bytes);
  }

  std::span<std::byte> bytes() const { return bytes_; }

 private:
  static constexpr size_t kHugePageBytes = 2 << 20;

  struct Deleter {
    kernels::HostAllocator* allocator;
    size_t room;
    void operator()(std::byte* raw) const {
      if (allocator != nullptr) {
        allocator->Free(raw, room);
      } else {
        std::free(raw);
      }
    }
  };

  DirectBuffer(std::byte* raw, Deleter deleter, size_t bytes) : raw_(raw, deleter) {
    const uintptr_t address = reinterpret_cast<uintptr_t>(raw);
    bytes_ = {raw + (kDirectIoAlign - address % kDirectIoAlign) % kDirectIoAlign, bytes};
  }

  std::unique_ptr<std::byte, Deleter> raw_;
  std::span<std::byte> bytes_;
};

}  // namespace stepback
