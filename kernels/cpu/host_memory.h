// Host buffers. The default allocator staggers large arrays, so that same-index elements of several arrays
// never sit a power of two apart (a step over such arrays is up to five times slower), and asks for huge
// pages.
#pragma once

#include <memory>

#include "kernels/backend.h"

namespace stepback::kernels::cpu {

// Process-wide, any thread.
HostAllocator* DefaultHostAllocator();

// nullptr when the allocator has no memory. Owned by the caller, freed to `allocator`, which outlives it.
std::unique_ptr<Buffer> AllocateHostBuffer(HostAllocator* allocator, size_t bytes);

}  // namespace stepback::kernels::cpu
