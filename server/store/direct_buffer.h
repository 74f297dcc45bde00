// A buffer that direct I/O accepts: aligned to kDirectIoAlign. Taken from an allocator that promises less, or
// from the C library; then one of kHugePage bytes and more lies on huge pages where the kernel allows: a
// transfer to scattered small pages is cut into many requests (decisions 121). Owned by one thread.
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
#include "server/store/file_system.h"

namespace stepback {

class DirectBuffer {
 public:
  static constexpr size_t kHugePage = 2 << 20;

  // RESOURCE_EXHAUSTED when there is no memory. `allocator` (null: the C library) outlives the buffer.
  static absl::StatusOr<DirectBuffer> Make(kernels::HostAllocator* allocator, size_t bytes) {
    const size_t room = bytes + kDirectIoAlign;
    void* const raw = allocator != nullptr ? allocator->Allocate(room) : Allocate(bytes);
    if (raw == nullptr)
      return absl::ResourceExhaustedError(absl::StrCat("no memory for an I/O buffer of ", bytes, " bytes"));
    return DirectBuffer(static_cast<std::byte*>(raw), Deleter{allocator, room}, bytes);
  }

  std::span<std::byte> bytes() const { return bytes_; }

 private:
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

  static void* Allocate(size_t bytes) {
    const size_t align = bytes >= kHugePage ? kHugePage : kDirectIoAlign;
    const size_t whole = (bytes + align - 1) / align * align;
    void* const raw = std::aligned_alloc(align, whole);
#if defined(__linux__)
    if (raw != nullptr && align == kHugePage) (void)madvise(raw, whole, MADV_HUGEPAGE);  // costs only speed
#endif
    return raw;
  }

  DirectBuffer(std::byte* raw, Deleter deleter, size_t bytes) : raw_(raw, deleter) {
    const uintptr_t address = reinterpret_cast<uintptr_t>(raw);
    bytes_ = {raw + (kDirectIoAlign - address % kDirectIoAlign) % kDirectIoAlign, bytes};
  }

  std::unique_ptr<std::byte, Deleter> raw_;
  std::span<std::byte> bytes_;
};

}  // namespace stepback
