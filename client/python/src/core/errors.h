// From absl::Status to the exceptions of stepback._errors. The GIL must be held.
#pragma once

#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace stepback::python {

// Raises the Python exception of `status`, which is not OK.
[[noreturn]] void Raise(const absl::Status& status);
// Raises stepback.DetachedError.
[[noreturn]] void RaiseDetached(const std::string& what);
// Raises what Python code (a callback, a signal handler) left pending during a call without the GIL.
void RaisePending();

inline void Check(const absl::Status& status) {
  RaisePending();
  if (!status.ok()) Raise(status);
}

template <class T>
T Check(absl::StatusOr<T> result) {
  Check(result.status());
  return *std::move(result);
}

}  // namespace stepback::python
