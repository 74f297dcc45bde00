// SB_CHECK: a broken promise inside the program ends it, with the values in the message. Never for outside input.
#pragma once

#include <cstdio>
#include <cstdlib>

#define SB_CHECK(condition, ...)                                                      \
  do {                                                                                \
    if (!(condition)) [[unlikely]] {                                                  \
      std::fprintf(stderr, "%s:%d: check failed: %s", __FILE__, __LINE__, #condition); \
      __VA_OPT__(std::fprintf(stderr, ": " __VA_ARGS__);)                             \
      std::fputc('\n', stderr);                                                       \
      std::abort();                                                                   \
    }                                                                                 \
  } while (false)
