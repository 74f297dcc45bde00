#include "server/base/malloc_tuning.h"

#if defined(__GLIBC__)
#include <malloc.h>
#endif

namespace stepback {

void KeepFreedMemory() {
#if defined(__GLIBC__)
  constexpr int kMiB = 1 << 20;
  mallopt(M_MMAP_THRESHOLD, 32 * kMiB);   // the largest value glibc takes: smaller blocks come from its heaps
  mallopt(M_TRIM_THRESHOLD, 512 * kMiB);  // free memory kept at the top of the main heap
  mallopt(M_TOP_PAD, 16 * kMiB);          // fewer, larger extensions
#endif
}

}  // namespace stepback
