#include "server/base/malloc_tuning.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <cstdlib>
#include <cstring>

namespace stepback {
namespace {

// The sanitizers bring their own allocator.
#if defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__) && !defined(STEPBACK_TSAN)

long FaultsOfOneMessage() {
  constexpr size_t kBytes = 8 << 20;
  rusage before, after;
  getrusage(RUSAGE_SELF, &before);
  void* const message = std::malloc(kBytes);
  std::memset(message, 1, kBytes);
  std::free(message);
  getrusage(RUSAGE_SELF, &after);
  return after.ru_minflt - before.ru_minflt;
}

TEST(KeepFreedMemory, ASecondMessageTouchesNoFreshPages) {
  KeepFreedMemory();
  FaultsOfOneMessage();
  EXPECT_LT(FaultsOfOneMessage(), 64);  // 2,048 pages of fresh memory otherwise
}

#endif

}  // namespace
}  // namespace stepback
