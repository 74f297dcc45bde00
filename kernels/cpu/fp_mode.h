// The floating-point mode that every kernel computes in: round to nearest, denormals kept, no traps.
// Processes that load us may have set flush-to-zero (Python extensions do), and the compute pool's threads
// inherit anything, so each task sets the mode on the thread it runs on and puts the caller's back.
#pragma once

#if defined(__x86_64__)
#include <xmmintrin.h>
#elif defined(__aarch64__)
#include <cstdint>
#endif

namespace stepback::kernels::cpu {

class FpMode {
 public:
  FpMode() : saved_(Get()) { Set(kDefault); }
  ~FpMode() { Set(saved_); }
  FpMode(const FpMode&) = delete;
  FpMode& operator=(const FpMode&) = delete;

 private:
#if defined(__x86_64__)
  using Word = unsigned;
  static constexpr Word kDefault = 0x1f80;
  static Word Get() { return _mm_getcsr(); }
  static void Set(Word word) { _mm_setcsr(word); }
#elif defined(__aarch64__)
  using Word = uint64_t;
  static constexpr Word kDefault = 0;
  static Word Get() {
    Word word;
    __asm__ volatile("mrs %0, fpcr" : "=r"(word));
    return word;
  }
  static void Set(Word word) { __asm__ volatile("msr fpcr, %0" : : "r"(word)); }
#else
  using Word = int;
  static constexpr Word kDefault = 0;
  static Word Get() { return 0; }
  static void Set(Word) {}
#endif

  const Word saved_;
};

// Makes streamed (non-temporal) stores visible before the executor says that the task is done.
inline void FenceStreams() {
#if defined(__x86_64__)
  _mm_sfence();
#endif
}

}  // namespace stepback::kernels::cpu
