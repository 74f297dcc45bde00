// The engine's record inside a snapshot; its arrays are there as it says, or not at all.
#include "server/engine/model_image.h"

#include "server/base/pool.h"
#include "tests/fuzz/input.h"

using namespace stepback;  // NOLINT

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static BufferPool pool({.budget_bytes = 64 << 20});
  static const std::unique_ptr<kernels::Backend> backend = kernels::MakeCpuBackend("generic", &pool);
  fuzz::Input input(data, size);
  ImageLoader loader(backend.get(), &pool);
  SnapshotMeta meta{.generation = 1, .term = 1};
  const uint64_t floats = 16 * uint64_t{input.Byte()}, counters = 80 * uint64_t{input.Byte()};
  for (const char* name : {"phi", "theta", "inner.0", "outer.0", "outer.1", "average.0"})
    meta.arrays.push_back({name, floats * sizeof(float)});
  meta.arrays.push_back({"counters", counters});
  const ArrayAllocator allocate = loader.allocator();
  for (const ArrayInfo& array : meta.arrays) {
    std::byte* const to = allocate(meta, array);
    if (to != nullptr && array.bytes > 0) std::memset(to, 0, array.bytes);
  }
  meta.state = input.Rest();
  loader.Finish(meta).status().IgnoreError();
  return 0;
}
