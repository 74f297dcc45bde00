// RETURN_IF_ERROR and ASSIGN_OR_RETURN for absl::Status: the packaged Abseil has neither.
#pragma once

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#define SB_CONCAT_INNER(a, b) a##b
#define SB_CONCAT(a, b) SB_CONCAT_INNER(a, b)

#define RETURN_IF_ERROR(expr)                              \
  do {                                                     \
    if (absl::Status sb_status = (expr); !sb_status.ok()) { \
      return sb_status;                                    \
    }                                                      \
  } while (false)

#define ASSIGN_OR_RETURN(lhs, expr) SB_ASSIGN_OR_RETURN(SB_CONCAT(sb_statusor_, __LINE__), lhs, expr)
#define SB_ASSIGN_OR_RETURN(tmp, lhs, expr) \
  auto tmp = (expr);                        \
  if (!tmp.ok()) {                          \
    return std::move(tmp).status();         \
  }                                         \
  lhs = *std::move(tmp)
